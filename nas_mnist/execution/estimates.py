"""What all runs of a study together say of its networks: which are on the front, and which to rerun
next. Test accuracies are not looked at."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from optuna.trial import FrozenTrial, TrialState

from nas_mnist.execution.optuna_internals import trial_id
from nas_mnist.execution.records import StudyRecord, TrialRecord, reading
from nas_mnist.execution.reruns import (
    RerunKey,
    Rung,
    diverged_trials,
    finished_reruns,
    rerun_rows,
    settled_rungs,
)
from nas_mnist.search.front import front_indices
from nas_mnist.search.space import DEFAULT

if TYPE_CHECKING:  # scikit-learn takes a second
    from nas_mnist.search.posterior import Network, Observation, Posterior


class Estimated(NamedTuple):
    """The validation accuracy that a network has on average over seeds, in percent, and how sure
    that is, as a standard deviation."""

    mean: float
    sd: float
    runs: int
    """its own: the trial, and its reruns"""

    def probability(self, accuracy: float) -> float:
        """That the network is at least so accurate."""
        return 0.5 * math.erfc((accuracy - self.mean) / self.sd / math.sqrt(2))


def estimates(record: StudyRecord) -> dict[int, Estimated]:
    """Of all completed trials, by number. StorageError if what they are of is damaged."""
    evidence = evidence_of(record)
    return _estimated(evidence) if evidence.networks else {}


def front(record: StudyRecord) -> list[TrialRecord]:
    """The networks that no other beats in size and estimated accuracy, from the fewest parameters
    up; those that diverged in a rerun are not on it."""
    # In this order: trials that end meanwhile are known too.
    evidence, known, left_out = evidence_of(record), estimates(record), diverged_trials(record)
    numbers = [number for number in evidence.networks if number not in left_out]
    points = [(evidence.networks[n].parameters, known[n].mean) for n in numbers]
    return record.records([numbers[index] for index in front_indices(points)])


def next_rung(record: StudyRecord, total: int) -> Rung | None:
    """The next reruns of a study, of `total` in all, without any if there is nothing to rerun;
    None if there are no more, or those of the last rung have not all ended."""
    import numpy as np

    from nas_mnist.search.selection import contenders, rungs

    settled, rows = settled_rungs(record), rerun_rows(record)
    keys = [key for rung in settled for key in rung.runs]
    if any(key not in rows or not rows[key].state.is_finished() for key in keys):
        return None
    if len(keys) >= total:
        return None
    bracket, index = (settled[-1].bracket, settled[-1].rung + 1) if settled else (0, 0)
    if index >= len(rungs(bracket)):
        bracket, index = total - len(keys), 0
    runs, most = rungs(bracket)[index]
    evidence, left_out = evidence_of(record), diverged_trials(record)
    numbers = [number for number in evidence.networks if number not in left_out]
    if not numbers:
        return Rung(len(settled), bracket, index, [])
    posterior = posterior_of(evidence)
    means, covariance = posterior.moments([evidence.networks[number] for number in numbers])
    sizes = np.log([float(evidence.networks[number].parameters) for number in numbers])
    runs = min(runs, total - len(keys))
    chosen: list[RerunKey] = []
    for at in contenders(sizes, means, covariance, posterior.noise, runs, most):
        before = sum(key[0] == numbers[at] for key in (*keys, *chosen))
        chosen.append((numbers[at], before + 1))
    return Rung(len(settled), bracket, index, chosen)


@dataclass(frozen=True)
class Evidence:
    """All that a study knows of its networks. Two of the same key are the same."""

    key: Any
    networks: dict[int, Network] = field(compare=False)
    """of the completed trials, by number"""
    observed: list[Observation] = field(compare=False)
    distributions: dict[str, Any] = field(compare=False)


def evidence_of(record: StudyRecord) -> Evidence:
    from nas_mnist.search.posterior import Network, Observation

    points = record.points()
    complete = [t for t in record.trials(TrialState.COMPLETE) if t.number in points]
    drawn: dict[str, Any] = {}
    for trial in reversed(complete):
        drawn |= {n: kind for n, kind in trial.distributions.items() if n not in drawn}
    # What an earlier version did not draw, its networks have as they would by default.
    missing = DEFAULT.point({})
    kinds = {
        name: kind
        for name, kind in drawn.items()
        if name in missing or all(name in trial.params for trial in complete)
    }

    def choices(trial: FrozenTrial) -> dict[str, Any]:
        return {name: trial.params.get(name, missing.get(name)) for name in kinds}

    def network(trial: FrozenTrial) -> Network:
        with reading(record.name, trial, "choices"):
            return Network(trial.number, choices(trial), points[trial.number][0])

    networks = {trial.number: network(trial) for trial in complete}
    observed = []
    finished = [*complete, *record.trials(TrialState.PRUNED)]
    ended = tuple((trial_id(trial), trial.state, trial.datetime_complete) for trial in finished)
    for trial, error, variance in _expected_ends(_Finished((record.url, ended), finished)):
        if kinds.keys() <= trial.params.keys() | missing.keys():
            own = Network(trial.number, choices(trial), trial.user_attrs["parameters"])
            observed.append(Observation(own, 100 - math.exp(error), variance=variance))
    observed += [Observation(networks[n], accuracy) for n, (_, accuracy) in points.items()]
    for rerun in finished_reruns(record):
        if rerun.trial in networks:
            observed.append(Observation(networks[rerun.trial], rerun.accuracy, rerun.fold))
    ids = tuple(trial_id(trial) for trial in complete)
    key = record.url, ids, tuple((own.accuracy, own.fold) for own in observed)
    return Evidence(key, networks, observed, kinds)


@dataclass(frozen=True)
class _Finished:
    key: Any
    trials: list[FrozenTrial] = field(compare=False)


@lru_cache(maxsize=4)  # who reports asks again and again
def _expected_ends(finished: _Finished) -> list[tuple[FrozenTrial, float, float]]:
    from nas_mnist.search.prediction import expected_ends

    return list(expected_ends(finished.trials))


@lru_cache(maxsize=4)
def posterior_of(evidence: Evidence) -> Posterior:
    """The model of accuracy; ValueError if nothing is observed."""
    from nas_mnist.search.posterior import Posterior

    return Posterior(evidence.observed, evidence.distributions)


@lru_cache(maxsize=4)
def _estimated(evidence: Evidence) -> dict[int, Estimated]:
    found = posterior_of(evidence).estimates([*evidence.networks.values()])
    counts = Counter(own.network.key for own in evidence.observed)
    return {
        number: Estimated(*own, counts[number])
        for number, own in zip(evidence.networks, found, strict=True)
    }

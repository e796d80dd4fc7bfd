"""Searches replayed in seconds: on recorded curves, and on a surrogate of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

import numpy as np
import optuna
from curves import Curve, Network
from optuna.trial import TrialState
from surrogate import Surrogate

from nas_mnist.execution.creation import DIRECTIONS
from nas_mnist.networks.architecture import Limit, format_notation
from nas_mnist.search.front import front_indices, hypervolume
from nas_mnist.search.pruner import EXEMPT_SHARE, LearningCurve, Pruner
from nas_mnist.search.sampler import SearchSampler
from nas_mnist.search.space import DEFAULT

# Hypervolume is measured against guessing one digit in ten, at twice the budget: so the small end
# of the front counts, and its largest network too.
REFERENCE_ACCURACY = 10.0


class _Completed(NamedTuple):
    parameters: int
    accuracy: float
    counted: float
    spared: bool


@dataclass(slots=True)
class Search:
    """What a search has done so far."""

    budget: int
    epochs: list[int] = field(default_factory=list)
    """spent by all trials together, after each of them"""
    trace: list[float] = field(default_factory=list)
    """the hypervolume after each trial, if it was kept"""
    repeats: int = 0
    """trials of a network already tried"""
    _curves: list[LearningCurve] = field(default_factory=list)
    _completed: list[_Completed] = field(default_factory=list)

    def run(
        self,
        parameters: int,
        curve: Curve,
        counted: float,
        pruner: Pruner,
        *,
        exempt: bool,
        point: Mapping[str, Any] | None = None,
    ) -> bool:
        """Run a trial along its recorded curve; whether it was stopped.

        `counted`: test accuracy in percent that counts if the network is on the front.
        """
        full = LearningCurve(len(self._curves), parameters, curve.validation, point or {})
        stop_at = next(
            (epoch for epoch in pruner.rungs if pruner.stop(_after(full, epoch), self._curves)),
            None,
        )
        stopped = stop_at is not None and not exempt
        spent = stop_at if stop_at is not None and stopped else len(curve.validation)
        self._curves.append(_after(full, spent))
        self.epochs.append(spent + (self.epochs[-1] if self.epochs else 0))
        if not stopped:
            spared = stop_at is not None
            self._completed.append(_Completed(parameters, curve.validation[-1], counted, spared))
        return stopped

    def front(self) -> list[_Completed]:
        """What the search would show now: chosen by validation accuracy."""
        points = [(trial.parameters, trial.accuracy) for trial in self._completed]
        return [self._completed[index] for index in front_indices(points)]

    def hypervolume(self) -> float:
        """Of the front, by what its networks are counted."""
        shown = [(trial.parameters, trial.counted) for trial in self.front()]
        return hypervolume(shown, (2 * self.budget, REFERENCE_ACCURACY))

    def spared(self) -> int:
        """Exempt trials that would have been stopped."""
        return sum(trial.spared for trial in self._completed)

    def wrongful(self) -> int:
        """Those of the spared that are on the front."""
        return sum(trial.spared for trial in self.front())


def replay(networks: Sequence[Network], pruner: Pruner, seed: int, budget: int) -> Search:
    """The recorded networks in an order of its own for each seed, under this pruner.

    Every network runs once, along one of its recorded curves; what counts of it is the test
    accuracy measured in that run.
    """
    random = Random(seed)
    search = Search(budget)
    for network in random.sample(networks, len(networks)):
        curve = random.choice(network.curves)
        exempt = random.random() < EXEMPT_SHARE
        search.run(network.parameters, curve, curve.test, pruner, exempt=exempt)
    return search


def simulate_search(
    surrogate: Surrogate,
    sampler: str,
    pruner: Pruner,
    trials: int,
    seed: int,
    *,
    distinct: bool = True,
    proven: bool = True,
) -> Search:
    """A whole search whose networks are not trained but predicted, with one seed's noise each.

    What counts of a network on the front is its expected test accuracy, without the noise that
    it was chosen by. `distinct`: whether a repeat is drawn again, and `proven`: whether it begins
    with `first_points`, both as `search` does.
    """
    budget = surrogate.table.budget
    limit = Limit(budget)
    study = optuna.create_study(
        directions=list(DIRECTIONS),
        sampler=SearchSampler(sampler, seed, DEFAULT, limit, distinct=distinct),
    )
    for point in DEFAULT.first_points(limit)[:trials] if proven else ():
        study.enqueue_trial(point)
    search = Search(budget)
    noise = np.random.default_rng(seed)
    tried: set[str] = set()
    for _ in range(trials):
        trial = study.ask()
        point = DEFAULT.suggest(trial)
        architecture = DEFAULT.decode(point, limit)
        notation = format_notation(architecture)
        trial.set_user_attr("notation", notation)
        trial.set_constraint("parameters", architecture.parameters - budget)
        search.repeats += notation in tried
        tried.add(notation)
        size = architecture.parameters
        curve, expected = surrogate.drawn(architecture, point["peak_learning_rate"], noise)
        exempt = noise.random() < EXEMPT_SHARE
        if search.run(size, curve, expected.test, pruner, exempt=exempt, point=point):
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, [size, curve.validation[-1]])
        search.trace.append(search.hypervolume())
    return search


def _after(full: LearningCurve, epoch: int) -> LearningCurve:
    return full._replace(accuracies=full.accuracies[:epoch])

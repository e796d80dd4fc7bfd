"""Reruns: networks of a search trained again with fresh seeds, judged on validation images, where
the search's own runs leave in doubt which are better.

They are a study of their own beside the search's, a trial for each run. Which networks are rerun is
settled rung by rung, when the rung before has ended, and kept as an attribute of that study: so a
search that was killed goes on with the same ones.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_mnist.execution.optuna_internals import describe_study, study_id
from nas_mnist.execution.records import StudyRecord, percent, reading
from nas_mnist.execution.spec import RERUNS
from nas_mnist.execution.store import storage_errors
from nas_mnist.training.recipe import FOLDS, derived_seed

RerunKey: TypeAlias = tuple[int, int]
"""of a run: its trial's number, and which rerun of that trial it is, from 1"""
_RUNG = "rung-{}"


class Rerun(NamedTuple):
    """A rerun that was trained to its end."""

    trial: int
    """whose network it is"""
    fold: int
    """which sixth of the training images was held out; the trial's own is 0"""
    accuracy: float
    """percent, on that sixth"""


class Rung(NamedTuple):
    """A rung of a bracket of successive halving."""

    number: int
    """how many the study had before"""
    bracket: int
    """reruns of the whole bracket"""
    rung: int
    """of it, from 0"""
    runs: list[RerunKey]


def fold_of(run: int) -> int:
    """The held-out sixth of a network's rerun, so that its runs are judged on different images."""
    return run % FOLDS


def rerun_seed(trial_seed: int, run: int) -> int:
    """A fresh seed for each rerun of a trial."""
    return derived_seed(trial_seed, run)


def rerun_rows(record: StudyRecord) -> dict[RerunKey, FrozenTrial]:
    """The runs by their keys; none before there are reruns. Two machines may have queued the same
    run: the first counts, and the other is never taken."""
    return rows_by_key(record.runs_beside(RERUNS)[0])


def rows_by_key(trials: Sequence[FrozenTrial]) -> dict[RerunKey, FrozenTrial]:
    rows: dict[RerunKey, FrozenTrial] = {}
    for row in trials:
        key = row.user_attrs.get("trial"), row.user_attrs.get("run")
        if all(isinstance(part, int) for part in key):
            rows.setdefault(key, row)  # type: ignore[arg-type]
    return rows


def finished_reruns(record: StudyRecord) -> list[Rerun]:
    """Those that were trained to their end."""
    found = []
    for (trial, run), row in rerun_rows(record).items():
        if row.state == TrialState.COMPLETE:
            with reading(record.name + RERUNS, row, "accuracy"):
                found.append(Rerun(trial, fold_of(run), percent((row.values or [None])[0])))
    return found


def diverged_trials(record: StudyRecord) -> set[int]:
    """Trials of which a rerun could not be trained: nobody should rely on their networks."""
    rows = rerun_rows(record).items()
    return {trial for (trial, _), row in rows if row.state == TrialState.FAIL}


def mean_accuracies(record: StudyRecord) -> Mapping[int, float]:
    """Of the trials that have reruns, by number: the mean validation accuracy of all their runs."""
    own, runs = record.points(), dict[int, list[float]]()
    for rerun in finished_reruns(record):
        if rerun.trial in own:
            runs.setdefault(rerun.trial, [own[rerun.trial][1]]).append(rerun.accuracy)
    return {trial: statistics.fmean(accuracies) for trial, accuracies in runs.items()}


def settled_rungs(record: StudyRecord) -> list[Rung]:
    """The rungs so far, in their order."""
    found: list[Rung] = []
    _, attrs = record.runs_beside(RERUNS)
    while (kept := attrs.get(_RUNG.format(len(found)))) is not None:
        found.append(Rung(**{**kept, "runs": [(trial, run) for trial, run in kept["runs"]]}))
    return found


def settle_rung(record: StudyRecord, rung: Rung) -> None:
    """Keep the next rung, unless another search has settled it meanwhile."""
    name, study = _RUNG.format(rung.number), record.study_beside(RERUNS)
    with storage_errors(record.url):
        describe_study(record.storage, study_id(study), {name: rung._asdict()}, unless=name)


def queue_reruns(record: StudyRecord) -> None:
    """A trial for every settled run that has none."""
    have = rerun_rows(record)
    wanted = [key for rung in settled_rungs(record) for key in rung.runs if key not in have]
    if not wanted:
        return
    numbers = sorted({trial for trial, _ in wanted})
    trials = dict(zip(numbers, record.records(numbers), strict=True))
    study = record.study_beside(RERUNS)
    with storage_errors(record.url):
        for number, run in wanted:
            trial = trials[number]
            seed = rerun_seed(trial.seed, run)
            attrs: dict[str, Any] = {"trial": number, "run": run, "seed": seed}
            attrs |= {"notation": trial.notation, "parameters": trial.architecture.parameters}
            attrs |= {"peak_learning_rate": trial.peak_learning_rate}
            study.add_trial(create_trial(state=TrialState.WAITING, user_attrs=attrs))

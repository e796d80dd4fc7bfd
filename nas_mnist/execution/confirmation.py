"""The confirmation: networks of a search, retrained with fresh seeds on all training images.

It is a study of its own beside the search's, a trial for each network and seed, so that it is
resumed, shared between processes and machines, and read just as the search is.
"""

from __future__ import annotations

import statistics
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_mnist.errors import StudyError
from nas_mnist.execution.artifacts import Weights
from nas_mnist.execution.launcher import Engine, LocalEngine
from nas_mnist.execution.spec import CONFIRMATION, SearchConfig
from nas_mnist.execution.store import Storage, storage_errors
from nas_mnist.execution.study import StudyRecord, TrialRecord, counts_of, finished, percent
from nas_mnist.execution.supervisor import Workers, supervise
from nas_mnist.networks.architecture import Architecture
from nas_mnist.training.runs import LAST_EPOCHS, mean_and_sd
from nas_mnist.training.seeds import derived_seed


@dataclass(frozen=True, slots=True)
class ConfirmedRun:
    """One network trained from scratch on all training images with one fresh seed."""

    seed: int
    curve: tuple[dict[str, float], ...]
    """one record an epoch: epoch, learning_rate, train_loss, train_accuracy, test_accuracy,
    seconds"""
    weights: Weights
    finished: str
    """date of completion, ISO 8601"""

    @property
    def test_accuracy(self) -> float:
        """Percent, after the final epoch."""
        return self.curve[-1]["test_accuracy"]

    @property
    def last4_min(self) -> float:
        """Percent: the lowest test accuracy of the last four epochs."""
        return min(entry["test_accuracy"] for entry in self.curve[-LAST_EPOCHS:])


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What may be quoted of a network."""

    trial: TrialRecord
    on_front: bool
    """whether no other network of the search beats it; else it was confirmed besides"""
    runs: tuple[ConfirmedRun, ...]
    """in the order of `confirmation_seeds`, at least one"""
    diverged: int
    """seeds with which it could not be trained"""
    goal: float

    @property
    def architecture(self) -> Architecture:
        return self.trial.architecture

    @property
    def mean(self) -> float:
        """Percent: of the test accuracies after the final epoch."""
        return statistics.fmean(run.test_accuracy for run in self.runs)

    @property
    def sd(self) -> float | None:
        """Sample standard deviation of the same; None for a single run."""
        return mean_and_sd([run.test_accuracy for run in self.runs])[1]

    @property
    def last4_min(self) -> float:
        """Percent: the lowest test accuracy of the last four epochs of any run."""
        return min(run.last4_min for run in self.runs)

    @property
    def goal_met(self) -> bool:
        """Whether every run held the goal over its last four epochs."""
        return not self.diverged and self.last4_min >= self.goal

    @property
    def gap(self) -> float:
        """What the mean is above the validation accuracy that the search claimed."""
        return self.mean - self.trial.val_accuracy


class ConfirmationProgress(NamedTuple):
    """How far a confirmation is."""

    runs_done: int
    runs: int
    epochs_done: int
    epochs: int
    diverged: int
    seconds: float
    """since this run of the command began"""
    seconds_left: float | None
    """by this run's pace; None until it has trained an epoch"""

    @property
    def steps(self) -> int:
        return self.epochs_done + self.runs_done

    @property
    def done(self) -> bool:
        return self.runs_done >= self.runs


def confirmation_seeds(seed: int, count: int) -> list[int]:
    """The fresh seeds of a search with this seed: none of its trials had one of them."""
    return [derived_seed(seed, -1 - place) for place in range(count)]


def confirmed(record: StudyRecord) -> list[Confirmed]:
    """The networks that have been retrained, from the fewest parameters up."""
    storage = record.storage
    with storage_errors(record.url):
        study_id = find_confirmation(storage, record.name)
        if study_id is None:
            return []
        rows = _rows(storage.get_all_trials(study_id, deepcopy=False))
    by_trial: dict[int, list[FrozenTrial]] = {}
    for (number, _), row in rows.items():
        by_trial.setdefault(number, []).append(row)
    on_front = {trial.number for trial in record.front()}
    result = []
    for trial in record.complete():
        mine = by_trial.get(trial.number, [])
        runs = tuple(_run(row) for row in mine if row.state == TrialState.COMPLETE)
        diverged = sum(row.state == TrialState.FAIL for row in mine)
        if runs:
            is_on_front = trial.number in on_front
            result.append(Confirmed(trial, is_on_front, runs, diverged, record.config.goal))
    return sorted(result, key=lambda found: (found.architecture.parameters, found.trial.number))


def networks_to_confirm(record: StudyRecord, config: SearchConfig) -> list[TrialRecord]:
    """The front, and the `config.most_accurate` networks most accurate on the validation images,
    whatever their size, the most accurate of all first.

    One lucky run of a small network keeps all larger ones off the front, the better ones too.
    """
    best_first = sorted(
        record.complete(), key=lambda trial: (-trial.val_accuracy, trial.architecture.parameters)
    )
    chosen = {trial.number for trial in (*record.front(), *best_first[: config.most_accurate])}
    return [trial for trial in best_first if trial.number in chosen]


def prepare_confirmation(
    record: StudyRecord, config: SearchConfig, engine: Engine | None = None
) -> int:
    """Check all that the workers will need; how many images they will train on.

    Raises StudyError if the study has no front, or was made on other images.
    """
    if not record.front():
        raise StudyError(f"study {record.name!r} has no completed trial yet; let search run on")
    (engine or LocalEngine()).check(config)
    from nas_mnist.training.datasets import load_dataset

    dataset = load_dataset(config.dataset, Path(config.data_dir) if config.data_dir else None)
    if tuple(dataset.normalization) != record.normalization:
        raise StudyError(f"study {record.name!r} was made on other images of {config.dataset}")
    return len(dataset.train)


def run_confirmation(
    record: StudyRecord, config: SearchConfig, engine: Engine | None = None
) -> Generator[ConfirmationProgress]:
    """Retrain `networks_to_confirm` with `config.seeds` seeds, with a progress about twice a
    second.

    What has been trained is kept: with more seeds, or a front that has grown, only what is
    missing is run. Closing the iterator stops the workers. Raises the first error of a worker
    once all have ended and runs still wait. `engine`: this machine, unless given.
    """
    study_id = _prepare(record, config)
    wanted = wanted_runs(record, config)
    epochs_before: int | None = None

    def look(seconds: float) -> ConfirmationProgress:
        nonlocal epochs_before
        rows = _rows(_trials(record, study_id))
        mine = [rows[key] for key in wanted if key in rows]
        counts = counts_of(mine)
        epochs_done = sum(
            config.epochs if row.state == TrialState.FAIL else len(row.user_attrs.get("curve", ()))
            for row in mine
            if row.state != TrialState.WAITING
        )
        if epochs_before is None:
            epochs_before = epochs_done
        epochs = len(wanted) * config.epochs
        trained = epochs_done - epochs_before
        return ConfirmationProgress(
            counts.finished,
            len(wanted),
            epochs_done,
            epochs,
            counts.failed,
            seconds,
            seconds / trained * (epochs - epochs_done) if trained > 0 else None,
        )

    def waiting() -> int:
        rows = _rows(_trials(record, study_id))
        # A worker takes all that wait of a network.
        return len(
            {key[0] for key in wanted if key in rows and rows[key].state == TrialState.WAITING}
        )

    return supervise(
        record.storage, study_id, Workers(engine or LocalEngine(), config, "confirm"), look, waiting
    )


def find_confirmation(storage: Storage, name: str) -> int | None:
    """The confirmation of the study of that name, if it has begun."""
    with suppress(KeyError):
        return storage.get_study_id_from_name(name + CONFIRMATION)
    return None


def wanted_runs(record: StudyRecord, config: SearchConfig) -> list[tuple[int, int]]:
    """Trial and seed of every run that the confirmation consists of, in the order of
    `networks_to_confirm`."""
    seeds = confirmation_seeds(config.seed, config.seeds)
    return [(trial.number, seed) for trial in networks_to_confirm(record, config) for seed in seeds]


def choose_run(
    trials: list[FrozenTrial], wanted: Sequence[tuple[int, int]], network: int | None
) -> FrozenTrial | None:
    """The waiting run to take next: of that network if one is given, else of a network that
    nobody trains yet, so that one process has all its seeds."""
    rows = _rows(trials)
    mine = [(key, rows[key]) for key in wanted if key in rows]
    waiting = [(number, row) for (number, _), row in mine if row.state == TrialState.WAITING]
    if network is not None:
        return next((row for number, row in waiting if number == network), None)
    busy = {number for (number, _), row in mine if row.state == TrialState.RUNNING}
    free = [row for number, row in waiting if number not in busy]
    return next(iter(free or [row for _, row in waiting]), None)


def _prepare(record: StudyRecord, config: SearchConfig) -> int:
    """The confirmation's study, with a trial for every run that is wanted and not there yet."""
    name = record.name + CONFIRMATION
    with storage_errors(record.url):
        try:
            study = optuna.create_study(
                study_name=name, storage=record.storage, direction=StudyDirection.MAXIMIZE
            )
            study.set_user_attr("confirms", record.name)
        except DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=record.storage)
        have = _rows(study.get_trials(deepcopy=False))
        networks = {trial.number: trial for trial in networks_to_confirm(record, config)}
        for number, seed in wanted_runs(record, config):
            if (number, seed) not in have:
                trial = networks[number]
                attrs: dict[str, Any] = {
                    "trial": number,
                    "seed": seed,
                    "notation": trial.notation,
                    "parameters": trial.architecture.parameters,
                    "peak_learning_rate": trial.peak_learning_rate,
                }
                study.add_trial(create_trial(state=TrialState.WAITING, user_attrs=attrs))
        return study._study_id


def _trials(record: StudyRecord, study_id: int) -> list[FrozenTrial]:
    with storage_errors(record.url):
        return record.storage.get_all_trials(study_id, deepcopy=False)


def _rows(trials: Sequence[FrozenTrial]) -> dict[tuple[int, int], FrozenTrial]:
    """The runs by their trial and seed. Two machines may have queued the same run: the first
    counts, and the other is never taken."""
    rows: dict[tuple[int, int], FrozenTrial] = {}
    for trial in trials:
        key = trial.user_attrs.get("trial"), trial.user_attrs.get("seed")
        if isinstance(key[0], int) and isinstance(key[1], int):
            rows.setdefault((key[0], key[1]), trial)
    return rows


def _run(row: FrozenTrial) -> ConfirmedRun:
    """A run, read from a database that may be anyone's."""
    attrs = row.user_attrs
    try:
        curve = tuple(
            {str(name): float(value) for name, value in entry.items()} for entry in attrs["curve"]
        )
        for entry in curve:
            percent(entry["test_accuracy"])
        if not curve:
            raise ValueError("no curve")
        return ConfirmedRun(int(attrs["seed"]), curve, Weights.of(attrs["weights"]), finished(row))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise StudyError(
            f"confirmation run {row.number}: not a record of nas-mnist ({error})"
        ) from None

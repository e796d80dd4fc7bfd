"""A search and a confirmation from their start to their end, and how far they are."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_mnist.errors import StudyError
from nas_mnist.execution.confirmation import (
    networks_to_confirm,
    runs_by_key,
    wanted_runs,
)
from nas_mnist.execution.creation import fill_queue, make_study
from nas_mnist.execution.launcher import Launcher, LocalLauncher
from nas_mnist.execution.optuna_internals import study_id
from nas_mnist.execution.records import Counts, StudyRecord, counts_of
from nas_mnist.execution.spec import AUTO, CONFIRMATION, SearchConfig
from nas_mnist.execution.store import storage_errors
from nas_mnist.execution.supervisor import Workers, supervise
from nas_mnist.search.front import front_indices


class Progress(NamedTuple):
    """How far a search is."""

    counts: Counts
    total: int
    seconds: float
    """since this run of the command began"""
    seconds_left: float | None
    """by this run's pace; None until a trial has finished in it"""
    best: list[tuple[int, float]]
    """the front so far: parameters, and validation accuracy in percent"""

    @property
    def steps(self) -> int:
        return self.counts.finished

    @property
    def done(self) -> bool:
        return self.counts.finished >= self.total


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


def prepare_search(
    config: SearchConfig,
    first: Sequence[dict[str, Any]] | None = None,
    launcher: Launcher | None = None,
) -> StudyRecord:
    """Check all that the workers will need, then make or continue the study.

    What is wrong with data or device is said before anything is made.

    Args:
        config: the request.
        first: see `make_study`.
        launcher: of the workers; this machine, unless given.
    """
    launcher = launcher or LocalLauncher()
    launcher.check(config)
    from nas_mnist.training.datasets import load_dataset, split_dataset
    from nas_mnist.training.device import best_precision

    dataset = load_dataset(config.dataset, Path(config.data_dir) if config.data_dir else None)
    split_dataset(dataset, config.seed, config.train_samples)
    precision = best_precision(launcher.device(config))
    return make_study(config, dataset.normalization, first, precision)


def run_search(
    record: StudyRecord, config: SearchConfig, launcher: Launcher | None = None
) -> Generator[Progress]:
    """Run the study's trials to their total, with a Progress about twice a second.

    Trials that another search of this study is running are waited for. Closing the iterator
    stops the workers; their trials go back to the queue.

    Args:
        record: what `prepare_search` gave.
        config: the same request.
        launcher: of the workers; this machine, unless given.

    Raises:
        WorkerError: the first error of a worker, once all have ended and trials still wait.
    """
    done_before = record.counts().finished
    return supervise(
        record.storage,
        record.study_id,
        Workers(launcher or LocalLauncher(), _at_its_precision(record, config), "search"),
        lambda seconds: _progress(record, config, done_before, seconds),
        lambda: fill_queue(record, config),
    )


def prepare_confirmation(
    record: StudyRecord, config: SearchConfig, launcher: Launcher | None = None
) -> int:
    """Check all that the workers will need; how many images they will train on.

    Raises:
        StudyError: if the study has no front, or was made on other images.
    """
    if not record.front():
        raise StudyError(f"study {record.name!r} has no completed trial yet; let search run on")
    (launcher or LocalLauncher()).check(config)
    from nas_mnist.training.datasets import load_dataset

    dataset = load_dataset(config.dataset, Path(config.data_dir) if config.data_dir else None)
    if tuple(dataset.normalization) != record.normalization:
        raise StudyError(f"study {record.name!r} was made on other images of {config.dataset}")
    return len(dataset.train)


def run_confirmation(
    record: StudyRecord, config: SearchConfig, launcher: Launcher | None = None
) -> Generator[ConfirmationProgress]:
    """Retrain `networks_to_confirm` with `config.seeds` seeds, with a progress about twice a
    second.

    What has been trained is kept: with more seeds, or a front that has grown, only what is
    missing is run. Closing the iterator stops the workers. Arguments and errors are those of
    `run_search`.
    """
    confirmation = _queue_confirmation(record, config)
    wanted = wanted_runs(record, config)
    epochs_before: int | None = None

    def runs() -> dict[tuple[int, int], FrozenTrial]:
        with storage_errors(record.url):
            return runs_by_key(record.storage.get_all_trials(confirmation, deepcopy=False))

    def read_progress(seconds: float) -> ConfirmationProgress:
        nonlocal epochs_before
        rows = runs()
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
        rows = runs()
        # A worker takes all that wait of a network.
        return len(
            {key[0] for key in wanted if key in rows and rows[key].state == TrialState.WAITING}
        )

    return supervise(
        record.storage,
        confirmation,
        Workers(launcher or LocalLauncher(), _at_its_precision(record, config), "confirm"),
        read_progress,
        waiting,
    )


def _at_its_precision(record: StudyRecord, config: SearchConfig) -> SearchConfig:
    """The request, at the precision that is part of the study."""
    return config.changed(precision=record.spec.precision) if config.precision == AUTO else config


def _queue_confirmation(record: StudyRecord, config: SearchConfig) -> int:
    """The id of the confirmation's study, with a trial for every run that is wanted and not there
    yet."""
    name = record.name + CONFIRMATION
    with storage_errors(record.url):
        try:
            study = optuna.create_study(
                study_name=name, storage=record.storage, direction=StudyDirection.MAXIMIZE
            )
            study.set_user_attr("confirms", record.name)
        except DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=record.storage)
        have = runs_by_key(study.get_trials(deepcopy=False))
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
        return study_id(study)


def _progress(
    record: StudyRecord, config: SearchConfig, done_before: int, seconds: float
) -> Progress:
    trials = record.trials()
    counts = counts_of(trials)
    done = counts.finished - done_before
    left = max(0, config.trials - counts.finished)
    points = [
        (int(trial.values[0]), trial.values[1])
        for trial in trials
        if trial.state == TrialState.COMPLETE
    ]
    return Progress(
        counts=counts,
        total=config.trials,
        seconds=seconds,
        seconds_left=seconds / done * left if done else None,
        best=[points[index] for index in front_indices(points)],
    )

"""A search and a confirmation from their start to their end."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from nas_mnist.errors import StudyError
from nas_mnist.execution.confirmation import RunKey, runs_by_key, wanted_runs
from nas_mnist.execution.creation import fill_queue, make_study, queue_confirmation
from nas_mnist.execution.launcher import Launcher
from nas_mnist.execution.records import StudyRecord, counts_of
from nas_mnist.execution.spec import AUTO, SearchConfig
from nas_mnist.execution.store import storage_errors
from nas_mnist.execution.supervisor import Progress, Workers, supervise
from nas_mnist.search.front import front_indices

if TYPE_CHECKING:
    from nas_mnist.training.datasets import Dataset


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
    launcher = launcher or Launcher()
    launcher.check(config)
    from nas_mnist.training.datasets import split_dataset
    from nas_mnist.training.device import best_precision

    dataset = _dataset(config)
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

    def read_progress(seconds: float) -> Progress:
        trials = record.trials()
        counts = counts_of(trials)
        done, left = counts.finished - done_before, max(0, config.trials - counts.finished)
        points = [
            (int(trial.values[0]), trial.values[1])
            for trial in trials
            if trial.state == TrialState.COMPLETE
        ]
        best = [points[index] for index in front_indices(points)]
        seconds_left = seconds / done * left if done else None
        return Progress(counts, config.trials, seconds, seconds_left, best)

    workers = _workers(record, config, launcher, "search")
    return supervise(
        record, record.study_id, workers, read_progress, lambda: fill_queue(record, config)
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
    (launcher or Launcher()).check(config)
    from nas_mnist.training.datasets import first_train_samples

    dataset = _dataset(config)
    if tuple(dataset.normalization) != record.normalization:
        raise StudyError(f"study {record.name!r} was made on other images of {config.dataset}")
    return len(first_train_samples(dataset, config.confirmation_images()).train)


def run_confirmation(
    record: StudyRecord, config: SearchConfig, launcher: Launcher | None = None
) -> Generator[Progress]:
    """Retrain `networks_to_confirm` with `config.seeds` seeds; otherwise as `run_search`.

    What has been trained is kept: with more seeds, or a front that has grown, only what is
    missing is run.
    """
    confirmation = queue_confirmation(record, config)
    wanted = wanted_runs(record, config)
    epochs = len(wanted) * config.epochs

    def wanted_rows() -> dict[RunKey, FrozenTrial]:
        with storage_errors(record.url):
            rows = runs_by_key(record.storage.get_all_trials(confirmation, deepcopy=False))
        return {key: rows[key] for key in wanted if key in rows}

    def epochs_of(run: FrozenTrial) -> int:
        if run.state == TrialState.WAITING:
            return 0
        if run.state == TrialState.FAIL:  # there is no more to wait for
            return config.epochs
        return len(run.user_attrs.get("curve", ()))

    before = sum(map(epochs_of, wanted_rows().values()))

    def read_progress(seconds: float) -> Progress:
        rows = wanted_rows().values()
        done = sum(map(epochs_of, rows))
        seconds_left = seconds / (done - before) * (epochs - done) if done > before else None
        return Progress(counts_of(rows), len(wanted), seconds, seconds_left, epochs=(done, epochs))

    def waiting() -> int:  # a worker takes all that wait of a network
        rows = wanted_rows()
        return len({key[0] for key, run in rows.items() if run.state == TrialState.WAITING})

    workers = _workers(record, config, launcher, "confirm")
    return supervise(record, confirmation, workers, read_progress, waiting)


def _dataset(config: SearchConfig) -> Dataset:
    from nas_mnist.training.datasets import load_dataset

    return load_dataset(config.dataset, Path(config.data_dir) if config.data_dir else None)


def _workers(
    record: StudyRecord, config: SearchConfig, launcher: Launcher | None, job: str
) -> Workers:
    if config.precision == AUTO:  # it is part of the study
        config = config.changed(precision=record.spec.precision)
    return Workers(launcher or Launcher(), config, job)

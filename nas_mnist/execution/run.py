"""A search and a confirmation from their start to their end: workers started, replaced, stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial, TrialState

from nas_mnist.errors import INTERRUPTED, StorageError, StudyError, WorkerError, reason
from nas_mnist.execution.confirmation import (
    RunKey,
    confirmation_rows,
    confirmation_seconds,
    wanted_runs,
)
from nas_mnist.execution.creation import fill_queue, make_study, queue_confirmation
from nas_mnist.execution.launcher import Launcher, Worker
from nas_mnist.execution.queue import give_back_abandoned
from nas_mnist.execution.records import Counts, StudyRecord, counts_of
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.processes import interrupts_noted
from nas_mnist.search.front import front_indices

_POLL_SECONDS = 0.5
_POLL_SHARE = 0.03
_STOP_SECONDS = 30.0
_MOST_KILLED = 4
_WHY_KILLED = "perhaps for want of memory; try fewer --workers"


class Progress(NamedTuple):
    """How far a search or a confirmation is."""

    counts: Counts
    """of the trials, or the runs"""
    total: int
    seconds: float
    """since this run of the command began"""
    before: int
    """what of a search's trials, or a confirmation's epochs, was done then"""
    best: Sequence[tuple[int, float]] = ()
    """a search's front so far: parameters, and validation accuracy in percent"""
    epochs: tuple[int, int] | None = None
    """a confirmation's: done, and in all"""
    time_left: float = math.inf
    """seconds, until it stops whatever is not done"""

    @property
    def seconds_left(self) -> float | None:
        """By this run's pace, and no more than `time_left`; None until something has finished."""
        done, total = self.epochs or (self.counts.finished, self.total)
        new, left = done - self.before, max(0, total - done)
        seconds = self.seconds / new * left if new > 0 else self.time_left
        return min(seconds, max(0.0, self.time_left)) if seconds < math.inf else None

    @property
    def steps(self) -> int:
        return self.counts.finished + (self.epochs[0] if self.epochs else 0)

    @property
    def done(self) -> bool:
        return self.counts.finished >= self.total


def prepare_search(
    config: SearchConfig,
    first: Sequence[dict[str, Any]] | None = None,
    launcher: Launcher | None = None,
) -> StudyRecord:
    """Check all that the workers will need, then make or continue the study: what is wrong with
    data or device is said before anything is made. `first`: see `make_study`."""
    device = (launcher or Launcher()).check(config)
    from nas_mnist.training.datasets import load_dataset, split_dataset
    from nas_mnist.training.device import best_precision

    dataset = load_dataset(config.dataset, config.data_dir)
    split_dataset(dataset, config.seed, config.train_samples)
    config = config.changed(classes=dataset.classes)
    record = make_study(config, dataset.normalization, first, best_precision(device))
    record.front()  # a damaged trial is told now, not after training
    return record


def run_search(
    record: StudyRecord,
    config: SearchConfig,
    launcher: Launcher | None = None,
    deadline: float | None = None,
) -> Generator[Progress]:
    """Run the trials of what `prepare_search` gave to their total, with a Progress about twice a
    second; trials that another search of this study is running are waited for. It ends earlier,
    as if closed, in time for the confirmation before the `deadline`, `config.timeout` from now on
    unless it is given (of `time.monotonic`).

    Closing the iterator stops the workers; their trials go back to the queue. WorkerError is the
    first error of a worker, once all have ended and trials still wait.
    """
    before, until = record.counts().finished, config.deadline() if deadline is None else deadline

    def read_progress(seconds: float) -> Progress:
        trials = record.trials()
        complete = [trial.values for trial in trials if trial.state == TrialState.COMPLETE]
        points = [(int(parameters), accuracy) for parameters, accuracy in complete]
        best = [points[index] for index in front_indices(points)]
        left = until - time.monotonic()
        left -= confirmation_seconds(record, config) if left < math.inf else 0
        return Progress(counts_of(trials), config.trials, seconds, before, best, time_left=left)

    config = config.changed(classes=record.spec.classes)  # which its images told
    workers = Workers(launcher or Launcher(), config, "search")
    fill = partial(fill_queue, record, config)
    return supervise(record, record.study_id, workers, read_progress, fill)


def prepare_confirmation(
    record: StudyRecord, config: SearchConfig, launcher: Launcher | None = None
) -> int:
    """Check all that the workers will need; how many images they will train on. StudyError if the
    study has no front, or was made on other images."""
    if not record.front():
        raise StudyError(f"study {record.name!r} has no completed trial yet; let search run on")
    (launcher or Launcher()).check(config)
    from nas_mnist.training.datasets import first_train_samples, load_dataset

    dataset = load_dataset(config.dataset, config.data_dir)
    if tuple(dataset.normalization) != record.normalization:
        raise StudyError(f"study {record.name!r} was made on other images of {config.dataset}")
    return len(first_train_samples(dataset, config.confirmation_images()).train)


def run_confirmation(
    record: StudyRecord,
    config: SearchConfig,
    launcher: Launcher | None = None,
    deadline: float | None = None,
) -> Generator[Progress]:
    """Retrain `networks_to_confirm` with `config.seeds` seeds; otherwise as `run_search`. With
    more seeds, or a front that has grown, only what is missing is run."""
    study_id = queue_confirmation(record, config)
    wanted = wanted_runs(record, config)
    epochs = len(wanted) * config.epochs
    until = config.deadline() if deadline is None else deadline

    def wanted_rows() -> dict[RunKey, FrozenTrial]:
        rows = confirmation_rows(record)
        return {key: rows[key] for key in wanted if key in rows}

    def epochs_of(run: FrozenTrial) -> int:
        known = {TrialState.WAITING: 0, TrialState.FAIL: config.epochs}  # no more to wait for
        return known.get(run.state, len(run.user_attrs.get("curve", ())))

    before = sum(map(epochs_of, wanted_rows().values()))

    def read_progress(seconds: float) -> Progress:
        rows = wanted_rows().values()
        done = sum(map(epochs_of, rows))
        counts, ran, left = counts_of(rows), (done, epochs), until - time.monotonic()
        return Progress(counts, len(wanted), seconds, before, epochs=ran, time_left=left)

    def waiting() -> int:  # a worker takes all that wait of a network
        rows = wanted_rows()
        return len({key[0] for key, run in rows.items() if run.state == TrialState.WAITING})

    config = config.changed(classes=record.spec.classes)
    workers = Workers(launcher or Launcher(), config, "confirm")
    return supervise(record, study_id, workers, read_progress, waiting)


def supervise(
    record: StudyRecord,
    study_id: int,
    workers: Workers,
    read_progress: Callable[[float], Progress],
    fill: Callable[[], int],
) -> Generator[Progress]:
    """Keep workers at the trials of a study, the search of `record` or its confirmation: see
    `run_search`. `read_progress` is asked how far it is, after so many seconds; `fill` keeps its
    queue filled, and gives how many trials wait. It ends when all is done or no time is left."""
    start = time.monotonic()
    give_back = partial(give_back_abandoned, record.storage, study_id)
    with interrupts_noted() as raise_if_interrupted:
        try:
            with closing(workers):
                used = 0.0
                while True:
                    before, began = used, time.thread_time()
                    give_back()
                    progress = read_progress(time.monotonic() - start)
                    yield progress
                    if progress.done:
                        return
                    if progress.time_left <= 0:
                        break
                    raise_if_interrupted()
                    workers.keep(fill(), progress.steps)
                    # Reading a large study must not take the workers' cores; one round alone that
                    # took long, as the first may, does not tell of a large one.
                    used = time.thread_time() - began
                    rest = max(_POLL_SECONDS, min(used, before) / _POLL_SHARE)
                    until = time.monotonic() + min(rest, progress.time_left)
                    while (left := until - time.monotonic()) > 0:
                        time.sleep(min(left, _POLL_SECONDS))
                        raise_if_interrupted()
        finally:
            with suppress(StorageError):  # what a worker could not give back itself
                give_back()
        raise_if_interrupted()
    yield read_progress(time.monotonic() - start)  # trials may have ended as the workers stopped


class Workers:
    """Workers at one job, `search` or `confirm`."""

    def __init__(self, launcher: Launcher, config: SearchConfig, job: str) -> None:
        self._launcher, self._config, self._job = launcher, config, job
        self._running: list[Worker] = []
        self._steps, self._killed, self._failed, self._error = 0, 0, False, ""

    def keep(self, waiting: int, steps: int) -> None:
        """Start workers for the trials that wait, up to the configured number at a time.

        A worker that was killed is replaced, a few times between one of the job's `steps` and the
        next; one that ended in an error is not: the next would meet the same. Raises the first
        error once no worker is left.
        """
        if steps != self._steps:
            self._steps, self._killed = steps, 0
        for worker in list(self._running):
            if ended := worker.ended():
                self._running.remove(worker)
                code, said = ended
                if code < 0 or code == INTERRUPTED:  # nobody but their parent should stop it
                    self._killed += 1
                    said = said or f"a worker was killed, {_WHY_KILLED}"
                elif code:
                    self._failed = True
                    said = said or f"a worker ended with code {code}"
                self._error = self._error or said
        if not self._failed and self._killed <= _MOST_KILLED:
            try:
                for _ in range(min(waiting, self._config.workers - len(self._running))):
                    self._running.append(self._launcher.start(self._config, self._job))
            except OSError as error:
                raise WorkerError(f"no worker can be started: {reason(error)}") from None
        elif waiting and not self._running and self._error:
            raise WorkerError(self._error)

    def close(self) -> None:
        """Stop those still running."""
        for worker in self._running:
            worker.stop()
        deadline = time.monotonic() + _STOP_SECONDS
        while self._running and time.monotonic() < deadline:
            self._running = [worker for worker in self._running if worker.ended() is None]
            time.sleep(0.05 if self._running else 0)
        for worker in self._running:
            worker.kill()

"""The workers of a search or a confirmation, started, replaced and stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import NamedTuple, Self

from nas_mnist.errors import StorageError, WorkerError, reason
from nas_mnist.execution.launcher import Launcher, Worker
from nas_mnist.execution.queue import give_back_abandoned
from nas_mnist.execution.records import Counts, StudyRecord
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.execution.store import storage_errors
from nas_mnist.processes import interrupts_noted

_POLL_SECONDS = 0.5
_POLL_SHARE = 0.03
_STOP_SECONDS = 30.0
_MOST_KILLED = 4


class Progress(NamedTuple):
    """How far a search or a confirmation is."""

    counts: Counts
    """of the trials, or the runs"""
    total: int
    seconds: float
    """since this run of the command began"""
    seconds_left: float | None
    """by this run's pace; None until something has finished in it"""
    best: Sequence[tuple[int, float]] = ()
    """a search's front so far: parameters, and validation accuracy in percent"""
    epochs: tuple[int, int] | None = None
    """a confirmation's: done, and in all"""

    @property
    def steps(self) -> int:
        return self.counts.finished + (self.epochs[0] if self.epochs else 0)

    @property
    def done(self) -> bool:
        return self.counts.finished >= self.total


def supervise(
    record: StudyRecord,
    study_id: int,
    workers: Workers,
    read_progress: Callable[[float], Progress],
    fill: Callable[[], int],
) -> Generator[Progress]:
    """Keep workers at the trials of a study, with a progress about twice a second.

    Trials whose process is gone go back to the queue. Closing the iterator stops the workers.

    Args:
        record: of the search.
        study_id: of the study that the trials are of: the search, or its confirmation.
        workers: none of them started.
        read_progress: of the seconds since the start, how far the study is.
        fill: keeps the study's queue filled, and gives how many trials wait.

    Raises:
        WorkerError: the first error of a worker, once all have ended and trials still wait.
    """
    start = time.monotonic()

    def give_back() -> None:
        with storage_errors(record.url):
            give_back_abandoned(record.storage, study_id)

    with interrupts_noted() as raise_if_interrupted:
        try:
            with workers:
                used = 0.0
                while True:
                    before, began = used, time.thread_time()
                    give_back()
                    progress = read_progress(time.monotonic() - start)
                    yield progress
                    if progress.done:
                        return
                    raise_if_interrupted()
                    workers.keep(fill(), progress.steps)
                    # Reading a large study must not take the workers' cores; one round alone that
                    # took long, as the first may, does not tell of a large one.
                    used = time.thread_time() - began
                    _pause(
                        max(_POLL_SECONDS, min(used, before) / _POLL_SHARE), raise_if_interrupted
                    )
        finally:
            with suppress(StorageError):  # what a worker could not give back itself
                give_back()


def _pause(seconds: float, raise_if_interrupted: Callable[[], None]) -> None:
    """Sleep that long; an interrupt ends it within half a second."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _POLL_SECONDS))
        raise_if_interrupted()


class Workers:
    """Workers at one job; leaving the block stops those still running."""

    def __init__(self, launcher: Launcher, config: SearchConfig, job: str) -> None:
        """`job`: what they do, `search` or `confirm`."""
        self.config = config
        self._launcher = launcher
        self._job = job
        self._workers: list[Worker] = []
        self._steps = 0
        self._killed = 0
        self._failed = False
        self._error: WorkerError | None = None

    def __enter__(self) -> Self:
        return self

    def keep(self, waiting: int, steps: int) -> None:
        """Start workers for the trials that wait, up to the configured number at a time.

        `steps`: how far the job is. A worker that was killed is replaced, a few times between
        one step and the next; one that ended in an error is not, for the next would meet the
        same. Raises the error once no worker is left.
        """
        if steps != self._steps:
            self._steps, self._killed = steps, 0
        self._reap()
        if not self._failed and self._killed <= _MOST_KILLED:
            try:
                for _ in range(min(waiting, self.config.workers - len(self._workers))):
                    self._workers.append(self._launcher.start(self.config, self._job))
            except OSError as error:
                raise WorkerError(f"no worker can be started: {reason(error)}") from None
        elif waiting and not self._workers and self._error is not None:
            raise self._error

    def _reap(self) -> None:
        """Forget the workers that have ended, but not what they ended in."""
        for worker in list(self._workers):
            ended = worker.ended()
            if ended is None:
                continue
            self._workers.remove(worker)
            self._killed += ended.killed
            self._failed |= bool(ended.error) and not ended.killed
            if ended.error:
                self._error = self._error or WorkerError(ended.error)

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            worker.stop()
        deadline = time.monotonic() + _STOP_SECONDS
        running = self._workers
        while running and time.monotonic() < deadline:
            running = [worker for worker in running if worker.ended() is None]
            time.sleep(0.05 if running else 0)
        for worker in running:
            worker.kill()

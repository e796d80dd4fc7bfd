"""Workers started, replaced and stopped, until the trials of a study are done."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import NamedTuple

from nas_mnist.errors import INTERRUPTED, StorageError, WorkerError, reason
from nas_mnist.execution.launcher import Launcher, Worker
from nas_mnist.execution.queue import give_back_abandoned
from nas_mnist.execution.records import Counts, StudyRecord
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.processes import interrupts_noted

_POLL_SECONDS = 0.5
_POLL_SHARE = 0.03
_STOP_SECONDS = 30.0
_MOST_KILLED = 4
_WHY_KILLED = "perhaps for want of memory; try fewer --workers"


class Progress(NamedTuple):
    """How far a search is, its reruns or its confirmation."""

    counts: Counts
    """of the trials, or the runs"""
    total: int
    seconds: float
    """since this run of the command began"""
    before: int
    """what of a search's trials, or of the others' epochs, was done then"""
    best: Sequence[tuple[int, float]] = ()
    """a search's front so far: parameters, and validation accuracy in percent"""
    epochs: tuple[int, int] | None = None
    """of reruns and a confirmation: done, and in all"""
    job: str = "search"
    """or "reruns", or "confirmation\""""
    time_left: float = math.inf
    """seconds, until it stops whatever is not done"""
    running: Sequence[int] = ()
    """epochs that each running trial, or run, has done"""
    epochs_each: int = 1
    """of a trial, or run, that is not pruned"""

    @property
    def seconds_left(self) -> float | None:
        """By this run's pace, and no more than `time_left`; None until an epoch has ended."""
        begun = sum(self.running) / self.epochs_each
        done, total = self.epochs or (self.counts.finished + begun, self.total)
        new, left = done - self.before, max(0, total - done)
        seconds = self.seconds / new * left if new > 0 else self.time_left
        return min(seconds, max(0.0, self.time_left)) if seconds < math.inf else None

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
    """Keep workers at the trials of a study, the search of `record` or one beside it: see
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
    """Workers at one job, `search`, `rerun` or `confirm`."""

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

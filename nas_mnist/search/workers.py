"""The worker processes of a search or a confirmation, started, replaced and stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import IO, Protocol, Self, TypeVar

from nas_mnist.errors import INTERRUPTED, StorageError, WorkerError, reason
from nas_mnist.search.config import SearchConfig
from nas_mnist.search.queue import give_back_abandoned
from nas_mnist.search.storage import Storage, storage_errors

_POLL_SECONDS = 0.5
_POLL_SHARE = 0.03
_STOP_SECONDS = 30.0
_MOST_KILLED = 4


class _Progress(Protocol):
    @property
    def done(self) -> bool: ...


P = TypeVar("P", bound=_Progress)


def supervise(
    storage: Storage,
    study_id: int,
    workers: Workers,
    look: Callable[[float], P],
    fill: Callable[[], int],
) -> Generator[P]:
    """Keep workers at the trials of a study, with a progress about twice a second.

    `look` gives, after that many seconds, how far the study is; `fill` keeps its queue, and
    gives how many trials wait. Trials whose process is gone go back to the queue. Closing the
    iterator stops the workers. Raises the first error of a worker once all have ended and trials
    still wait.
    """
    start = time.monotonic()

    def give_back() -> None:
        with storage_errors(workers.config.storage):
            give_back_abandoned(storage, study_id)

    try:
        with workers:
            while True:
                poll = time.monotonic()
                give_back()
                progress = look(poll - start)
                yield progress
                if progress.done:
                    return
                workers.keep(fill())
                # Reading a large study must not take the workers' cores.
                seconds = time.monotonic() - poll
                time.sleep(max(_POLL_SECONDS, seconds / _POLL_SHARE))
    finally:
        with suppress(StorageError):  # what a worker could not give back itself
            give_back()


class Workers:
    """Worker processes; leaving the block stops those still running."""

    def __init__(self, config: SearchConfig, job: str) -> None:
        """`job`: what they do, one of `worker.JOBS`."""
        self.config = config
        self._job = job
        self._workers: list[tuple[subprocess.Popen[str], IO[str]]] = []
        self._killed = 0
        self._failed = False
        self._error: WorkerError | None = None

    def __enter__(self) -> Self:
        return self

    def keep(self, waiting: int) -> None:
        """Start workers for the trials that wait, up to the configured number at a time.

        A worker that was killed is replaced, a few times; one that ended in an error is not,
        for the next would meet the same. Raises the error once no worker is left.
        """
        self._reap()
        if not self._failed and self._killed <= _MOST_KILLED:
            try:
                self._start(min(waiting, self.config.workers - len(self._workers)))
            except OSError as error:
                raise WorkerError(f"no worker can be started: {reason(error)}") from None
        elif waiting and not self._workers and self._error is not None:
            raise self._error

    def _start(self, count: int) -> None:
        # A worker is one thread: two that spin on one core slow each other down many times.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        for _ in range(count):
            errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
            process = subprocess.Popen(
                [sys.executable, "-m", "nas_mnist.search.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=environment,
                text=True,
                start_new_session=True,  # Ctrl-C reaches their parent alone, which tells them
            )
            self._workers.append((process, errors))
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it died at once; its error says of what
                request = {
                    "parent": os.getpid(),
                    "job": self._job,
                    "config": self.config.as_dict(),
                }
                process.stdin.write(json.dumps(request))
                process.stdin.close()

    def _reap(self) -> None:
        """Forget the workers that have ended, but not what they ended in."""
        for process, errors in list(self._workers):
            code = process.poll()  # each one: a child not asked for stays in the process table
            if code is None:
                continue
            self._workers.remove((process, errors))
            with errors:
                errors.seek(0)
                lines = errors.read().strip().splitlines()
            if code < 0 or code == INTERRUPTED:  # nobody but their parent should stop it
                self._killed += 1
                killed = "a worker was killed, perhaps for want of memory; try fewer --workers"
                self._error = self._error or WorkerError(killed)
            elif code > 0:
                self._failed = True
                said = lines[-1] if lines else f"a worker ended with code {code}"
                self._error = self._error or WorkerError(said)

    def __exit__(self, *exception: object) -> None:
        for process, _ in self._workers:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for process, errors in self._workers:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            errors.close()

"""A whole search: its study, its workers, and how far they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from optuna.trial import TrialState

from nas_mnist.errors import INTERRUPTED, StorageError, WorkerError, reason
from nas_mnist.search.config import SearchConfig
from nas_mnist.search.pareto import front_places
from nas_mnist.search.storage import give_back_abandoned, storage_errors
from nas_mnist.search.study import Counts, StudyRecord, counts_of, fill_queue, make_study

_POLL_SECONDS = 0.5
_POLL_SHARE = 0.03
_STOP_SECONDS = 30.0
_MOST_KILLED = 4


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


def prepare_search(
    config: SearchConfig, first: Sequence[dict[str, Any]] | None = None
) -> StudyRecord:
    """Check all that the workers will need, then make or continue the study.

    What is wrong with data or device is said before anything is made. `first`: see `fill_queue`.
    """
    from nas_mnist.training.datasets import load_dataset, split_dataset
    from nas_mnist.training.device import resolve_device

    resolve_device(config.device)
    dataset = load_dataset(config.dataset, Path(config.data_dir) if config.data_dir else None)
    split_dataset(dataset, config.seed, config.train_samples)
    return make_study(config, dataset.normalization, first)


def run_search(
    record: StudyRecord, config: SearchConfig, first: Sequence[dict[str, Any]] | None = None
) -> Generator[Progress]:
    """Run the study's trials to their total, with a Progress about twice a second.

    Trials that another search of this study is running are waited for. Closing the iterator
    stops the workers; their trials go back to the queue. Raises the first error of a worker
    once all have ended and trials still wait. `first`: see `fill_queue`.
    """
    start = time.monotonic()
    done_before = record.counts().finished
    try:
        with _Workers(config) as workers:
            while True:
                poll = time.monotonic()
                _give_back_abandoned(record)
                progress = _progress(record, config, done_before, time.monotonic() - start)
                yield progress
                if progress.counts.finished >= config.trials:
                    return
                workers.keep(fill_queue(record, config, first))
                # Reading a large study must not take the workers' cores.
                seconds = time.monotonic() - poll
                time.sleep(max(_POLL_SECONDS, seconds / _POLL_SHARE))
    finally:
        with suppress(StorageError):  # what a worker could not give back itself
            _give_back_abandoned(record)


def _give_back_abandoned(record: StudyRecord) -> None:
    with storage_errors(record.url):
        give_back_abandoned(record.storage, record.study._study_id)


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
        best=[points[place] for place in front_places(points)],
    )


class _Workers:
    """The search's worker processes; leaving the block stops those still running."""

    def __init__(self, config: SearchConfig) -> None:
        self._config = config
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
                self._start(min(waiting, self._config.workers - len(self._workers)))
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
                start_new_session=True,  # Ctrl-C reaches the search alone, which tells them
            )
            self._workers.append((process, errors))
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it died at once; its error says of what
                request = {"search": os.getpid(), "config": self._config.as_dict()}
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
            if code < 0 or code == INTERRUPTED:  # nobody but the search itself should stop it
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

"""What places the worker processes of a search: this machine, unless a cluster is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import IO, NamedTuple, Protocol

from nas_mnist.errors import INTERRUPTED
from nas_mnist.search.config import SearchConfig, available_cores

# A worker is one thread: two that spin on one core slow each other down many times.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Ended(NamedTuple):
    """How a worker ended; without an error when no trial waited any more."""

    killed: bool
    error: str


class Worker(Protocol):
    """A worker process, wherever it is."""

    def ended(self) -> Ended | None:
        """How it ended; None as long as it runs or waits for its place."""

    def stop(self) -> None:
        """Ask it to give its trials back and end."""

    def kill(self) -> None:
        """End it at once, and free what it holds."""


class Engine(Protocol):
    """Places workers."""

    @property
    def places(self) -> int:
        """How many workers there is room for."""

    def check(self, config: SearchConfig) -> None:
        """Raise RequestError if workers of this request could not run."""

    def start(self, config: SearchConfig, job: str) -> Worker:
        """A new worker at the study's trials; `job` is one of `worker.JOBS`. Raises OSError."""


def ended_with(code: int, error: str) -> Ended:
    """How a worker ended whose exit code and last line are these."""
    if code < 0 or code == INTERRUPTED:  # nobody but their parent should stop it
        return Ended(True, "a worker was killed, perhaps for want of memory; try fewer --workers")
    return Ended(False, error or f"a worker ended with code {code}" if code else "")


class LocalEngine:
    """Processes of this machine."""

    @property
    def places(self) -> int:
        return available_cores()

    def check(self, config: SearchConfig) -> None:
        from nas_mnist.training.device import resolve_device

        resolve_device(config.device)

    def start(self, config: SearchConfig, job: str) -> Worker:
        return _Process(config, job)


class _Process:
    def __init__(self, config: SearchConfig, job: str) -> None:
        self._errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by ended, kill
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nas_mnist.search.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env={**os.environ, **ONE_THREAD},
            text=True,
            start_new_session=True,  # Ctrl-C reaches their parent alone, which tells them
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died at once; its error says of what
            request = {"parent": os.getpid(), "job": job, "config": config.as_dict()}
            # By its standard input: the storage's password is nobody's to read in a command line.
            self._process.stdin.write(json.dumps(request))
            self._process.stdin.close()

    def ended(self) -> Ended | None:
        code = self._process.poll()
        if code is None:
            return None
        with self._errors:
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines()
        return ended_with(code, lines[-1] if lines else "")

    def stop(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()

"""What places the worker processes of a search: this machine, unless a cluster is named."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

from nas_mnist.errors import INTERRUPTED
from nas_mnist.execution.spec import SearchConfig, available_cores
from nas_mnist.processes import exit_code, prepare, start_process


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
        prepare()  # before torch is imported here too
        from nas_mnist.training.device import resolve_device

        resolve_device(config.device)

    def start(self, config: SearchConfig, job: str) -> Worker:
        return _Process(config, job)


class _Process:
    def __init__(self, config: SearchConfig, job: str) -> None:
        self._error, theirs = multiprocessing.Pipe(duplex=False)
        with theirs:
            self._process = start_process(_work, config.as_dict(), job, theirs)

    def ended(self) -> Ended | None:
        code = exit_code(self._process)
        if code is None:
            return None
        error = ""
        with self._error, suppress(EOFError, OSError):  # it was killed, and says nothing
            error = self._error.recv()
        return ended_with(code, error)

    def stop(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._error.close()


def _work(config: dict[str, Any], job: str, said: Connection) -> None:
    """A worker's whole life, in its own process."""
    os.setsid()  # what a terminal sends reaches its parent alone, which tells it
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    try:
        from nas_mnist.execution.worker import main

        code, error = main(config, job)
    except Exception as failure:  # a defect; its line goes to who can show it
        code, error = 1, traceback.format_exception_only(failure)[-1].strip()
    said.send(error)
    sys.exit(code)

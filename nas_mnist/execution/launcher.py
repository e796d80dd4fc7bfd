"""What starts the worker processes of a search: this machine, unless a cluster is named."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, NamedTuple

import cloudpickle

from nas_mnist import lookup
from nas_mnist.errors import INTERRUPTED, RequestError
from nas_mnist.execution.spec import SearchConfig, available_cores
from nas_mnist.processes import exit_code, prepare, start_process

if TYPE_CHECKING:
    from nas_mnist.execution.worker import Order

# What the processes of this machine are forked from imports it once for all of them.
_WORKER_MODULE = "nas_mnist.execution.worker"


class WorkerExit(NamedTuple):
    """How a worker ended; without an error when no trial waited any more."""

    killed: bool
    error: str


def order_of(config: SearchConfig, job: str) -> Order:
    """What a worker is told; RequestError for an object that cannot be sent to it."""
    from nas_mnist.execution.worker import Order

    try:
        given = cloudpickle.dumps(lookup.given())
    except Exception as error:  # pickling may fail in any way
        said = " ".join(str(error).split())
        raise RequestError(f"an object cannot be sent to worker processes: {said}") from None
    return Order(config.as_dict(), job, given)


def exit_of(code: int, error: str) -> WorkerExit:
    """How a worker ended whose exit code and last line are these."""
    if code < 0 or code == INTERRUPTED:  # nobody but their parent should stop it
        said = "a worker was killed, perhaps for want of memory; try fewer --workers"
        return WorkerExit(True, said)
    return WorkerExit(False, error or f"a worker ended with code {code}" if code else "")


class Worker:
    """A worker process."""

    def __init__(self, order: Order) -> None:
        self._error, theirs = multiprocessing.Pipe(duplex=False)
        with theirs:
            self._process = start_process(_WORKER_MODULE, _work, order, theirs)

    def ended(self) -> WorkerExit | None:
        """How it ended; None as long as it runs or waits for its slot."""
        code = exit_code(self._process)
        if code is None:
            return None
        error = ""
        with self._error, suppress(EOFError, OSError):  # it was killed, and says nothing
            error = self._error.recv()
        return exit_of(code, error)

    def stop(self) -> None:
        """Ask it to give its trials back and end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, and free what it holds."""
        self._process.kill()
        self._process.join()
        self._error.close()


class Launcher:
    """Starts workers, as processes of this machine."""

    @property
    def slots(self) -> int:
        """How many workers there is room for."""
        return available_cores()

    def check(self, config: SearchConfig) -> None:
        """Raise RequestError if workers of this request could not run."""
        prepare(_WORKER_MODULE)  # before torch is imported here too
        from nas_mnist.training.device import resolve_device

        resolve_device(config.device)

    def device(self, config: SearchConfig) -> str:
        """The device that workers of this request train on."""
        return config.device

    def start(self, config: SearchConfig, job: str) -> Worker:
        """A new worker at the study's trials; `job` is `search` or `confirm`. Raises OSError."""
        return Worker(order_of(config, job))


def _work(order: Order, said: Connection) -> None:
    """A worker's life, in its own process."""
    os.setsid()  # what a terminal sends reaches its parent alone, which tells it
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    try:
        from nas_mnist.execution.worker import main

        code, error = main(order)
    except Exception as failure:  # a defect; its line goes to who can show it
        code, error = 1, traceback.format_exception_only(failure)[-1].strip()
    said.send(error)
    sys.exit(code)

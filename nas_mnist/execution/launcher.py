"""Workers, which take waiting trials of a study and train them: as processes of this machine.

A worker ends with 0 when no trial waits, 130 when it was told to stop, and otherwise with an
error's exit code and one line that says what. A trial that it had begun goes back to the queue
whenever it does not end by itself.
"""

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TypeAlias

import cloudpickle

from nas_mnist import lookup
from nas_mnist.errors import INTERRUPTED, NasMnistError, RequestError, is_out_of_memory
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.processes import available_cores, exit_code, prepare, start_process

# What the processes of this machine are forked from imports these once for all of them. Optuna
# imports alembic only when it is needed: a third of a second in each worker.
_PRELOAD = "nas_mnist.execution.jobs", "alembic"

Order: TypeAlias = tuple[SearchConfig, str, bytes]
"""What a worker is told: the request, its job, and the objects that the request names, pickled."""


class Worker:
    def __init__(self, order: Order) -> None:
        self._error, theirs = multiprocessing.Pipe(duplex=False)
        with theirs:
            self._process = start_process(_PRELOAD, _main, order, theirs)

    def ended(self) -> tuple[int, str] | None:
        """Its exit code, negative if it was killed, and its error's line; None until it has one."""
        code, error = exit_code(self._process), ""
        if code is None:
            return None
        with self._error, suppress(EOFError, OSError):  # it was killed, and says nothing
            error = self._error.recv()
        return code, error

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
    def slots(self) -> int:  # how many workers there is room for
        return available_cores()

    def check(self, config: SearchConfig) -> str:
        """The device that workers of this request train on; RequestError if they could not."""
        prepare(_PRELOAD)  # before torch is imported here too
        from nas_mnist.training.device import resolve_device

        resolve_device(config.device)
        return config.device

    def start(self, config: SearchConfig, job: str) -> Worker:
        """A new worker at the study's trials. Raises OSError."""
        return Worker(order_of(config, job))


def order_of(config: SearchConfig, job: str) -> Order:
    """RequestError for an object that cannot be sent to a worker."""
    named = config.dataset, config.sampler, config.pruner, config.space
    given = {label: lookup.GIVEN[label] for label in named if label in lookup.GIVEN}
    try:
        return config, job, cloudpickle.dumps(given)
    except Exception as error:  # pickling may fail in any way
        said = " ".join(str(error).split())
        raise RequestError(f"an object cannot be sent to worker processes: {said}") from None


def work(order: Order, keep_going: Callable[[], None]) -> tuple[int, str]:
    """Run the study's waiting trials until none is left; an exit code, and its error's line.
    `keep_going` is called at every step; it raises KeyboardInterrupt to stop."""
    import optuna
    import torch

    from nas_mnist.execution.jobs import JOBS
    from nas_mnist.execution.store import storage_errors
    from nas_mnist.training.device import keep_freed_memory

    config, job, given = order
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        for module in config.plugins:
            lookup.import_plugin(module)
        lookup.GIVEN.update(cloudpickle.loads(given))
        with storage_errors(config.storage):
            JOBS[job](config, keep_going).run()
    except KeyboardInterrupt:
        return INTERRUPTED, ""
    except NasMnistError as error:
        return error.exit_code, str(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return 1, "a worker ran out of memory; try fewer --workers"
    return 0, ""


def _main(order: Order, said: Connection) -> None:
    """A worker's life in its own process, until its parent is gone or sends SIGTERM."""
    os.setsid()  # what a terminal sends reaches its parent alone, which tells it
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    told: list[int] = []
    parent, forked_from = multiprocessing.parent_process(), os.getppid()  # the template, if any
    assert parent is not None
    # It only leaves a note: an exception out of a handler can come between two halves of a claim,
    # or where Python swallows it.
    signal.signal(signal.SIGTERM, lambda signum, frame: told.append(signum))

    def keep_going() -> None:
        if told or os.getppid() != forked_from or not parent.is_alive():
            raise KeyboardInterrupt

    try:
        code, error = work(order, keep_going)
    except Exception as failure:  # a defect; its line goes to who can show it
        code, error = 1, traceback.format_exception_only(failure)[-1].strip()
    said.send(error)
    sys.exit(code)

"""A worker: takes waiting trials of a study and trains them.

It ends with 0 when no trial waits, 130 when it was told to stop, and otherwise with an error's exit
code and one line that says what. A trial that it had begun goes back to the queue whenever it does
not end by itself.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

import cloudpickle
import optuna
import torch

from nas_mnist import lookup
from nas_mnist.errors import INTERRUPTED, NasMnistError, is_out_of_memory
from nas_mnist.execution.jobs import JOBS
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.execution.store import storage_errors
from nas_mnist.processes import make_orphaned
from nas_mnist.training.device import keep_freed_memory


class Order(NamedTuple):
    """What a worker is to do, as it is sent to its process."""

    config: dict[str, Any]
    """of a SearchConfig"""
    job: str
    """one of JOBS"""
    given: bytes
    """objects of the user's own, by their labels, pickled"""


def work(order: Order, keep_going: Callable[[], None]) -> tuple[int, str]:
    """Run the study's waiting trials until none is left.

    Args:
        order: the request.
        keep_going: called at every step; it raises KeyboardInterrupt to stop.

    Returns:
        An exit code, and its error's line.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        for module in order.config["plugins"]:
            lookup.import_plugin(module)
        for label, value in cloudpickle.loads(order.given).items():
            lookup.give(label, value)
        config = SearchConfig(**order.config)
        with storage_errors(config.storage):
            JOBS[order.job](config, keep_going).run()
    except KeyboardInterrupt:
        return INTERRUPTED, ""
    except NasMnistError as error:
        return error.exit_code, str(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return 1, "a worker ran out of memory; try fewer --workers"
    return 0, ""


def main(order: Order) -> tuple[int, str]:
    """Be a worker of this request until its parent says to stop; as `work`."""
    return work(order, _stop_on_request())


def _stop_on_request() -> Callable[[], None]:
    """What raises KeyboardInterrupt once SIGTERM has come, or once the parent is gone.

    The signal only leaves a note: an exception out of a handler can come between two halves of a
    claim, or where Python swallows it.
    """
    told: list[int] = []
    orphaned = make_orphaned()

    def leave_note(signum: int, frame: FrameType | None) -> None:
        told.append(signum)

    signal.signal(signal.SIGTERM, leave_note)

    def keep_going() -> None:
        if told or orphaned():
            raise KeyboardInterrupt

    return keep_going

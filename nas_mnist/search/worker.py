"""A worker process: takes waiting trials of a study and trains them.

Its parent starts it as `python -m nas_mnist.search.worker`, with the request as JSON on standard
input. It ends with 0 when no trial waits, 130 when it was told to stop, and otherwise with an
error's exit code and one line on standard error. A trial that it had begun goes back to the
queue whenever it does not end by itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

import optuna
import torch

from nas_mnist.errors import INTERRUPTED, NasMnistError, is_out_of_memory
from nas_mnist.search.config import SearchConfig
from nas_mnist.search.confirm_job import ConfirmJob
from nas_mnist.search.job import Job
from nas_mnist.search.search_job import SearchJob
from nas_mnist.search.storage import storage_errors
from nas_mnist.training.device import keep_freed_memory

JOBS: dict[str, Callable[[SearchConfig, Callable[[], None]], Job]] = {
    "search": SearchJob,
    "confirm": ConfirmJob,
}


def _stop_on_request(parent: int) -> Callable[[], None]:
    """What raises KeyboardInterrupt once SIGTERM has come, or once the parent is gone.

    `parent`: its process number. The signal only leaves a note: an exception out of a
    handler can strike between two halves of a claim, or where Python swallows it.
    """
    told: list[int] = []

    def leave_note(signum: int, frame: FrameType | None) -> None:
        told.append(signum)

    signal.signal(signal.SIGTERM, leave_note)

    def keep_going() -> None:
        if told or os.getppid() != parent:
            raise KeyboardInterrupt

    return keep_going


def main() -> int:
    try:
        request = json.load(sys.stdin)
        keep_going = _stop_on_request(request["parent"])
        config = SearchConfig(**request["config"])
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        torch.set_num_threads(1)
        keep_freed_memory()
        with storage_errors(config.storage):
            JOBS[request["job"]](config, keep_going).run()
    except KeyboardInterrupt:
        return INTERRUPTED
    except NasMnistError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print("a worker ran out of memory; try fewer --workers", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

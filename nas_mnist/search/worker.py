"""A worker: takes waiting trials of a study and trains them.

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


def work(config: SearchConfig, job: str, keep_going: Callable[[], None]) -> tuple[int, str]:
    """Run the study's waiting trials until none is left; an exit code, and its error's line.

    `job` is one of JOBS; `keep_going` is called at every step, and raises KeyboardInterrupt to
    stop.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
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


def main() -> int:
    request = json.load(sys.stdin)
    keep_going = _stop_on_request(request["parent"])
    code, error = work(SearchConfig(**request["config"]), request["job"], keep_going)
    if error:
        print(error, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

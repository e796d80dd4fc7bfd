"""What reaches the terminal: data on standard output, all else on standard error."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nas_mnist.errors import StorageError, reason
from nas_mnist.execution.spec import default_storage
from nas_mnist.report import note as note

if TYPE_CHECKING:
    from rich.table import Table

    from nas_mnist.execution.records import StudyRecord


@contextmanager
def output_written() -> Iterator[None]:
    """StorageError if standard output cannot be written in the block, as on a full disk."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # What is left in the buffer must go somewhere at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise StorageError(f"standard output: {reason(error)}") from None


def print_result(values: Any, *tables: Table, as_json: bool) -> None:
    """What a command has found, for programs or for people."""
    from rich.console import Console

    with output_written():
        if as_json:
            print(json.dumps(values, indent=2, allow_nan=False))
        else:  # a residual's brackets in a notation are no markup
            Console(width=_terminal_width() or 1000, markup=False).print(*tables, sep="")


def _terminal_width() -> int | None:
    """In characters; a file or a pipe has none: long notations stay whole there."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_front(record: StudyRecord, as_json: bool) -> None:
    from nas_mnist.report.front_table import front_table, front_values

    print_result(front_values(record), front_table(record, _terminal_width()), as_json=as_json)


def quiet_optuna() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_study(name: str, storage: str | None, artifact_dir: str | None = None) -> StudyRecord:
    from nas_mnist.execution.records import load_study

    quiet_optuna()
    return load_study(name, storage or default_storage(name), artifact_dir or "")

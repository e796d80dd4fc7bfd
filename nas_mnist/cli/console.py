"""What reaches the terminal: data on standard output, all else on standard error."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nas_mnist.errors import StorageError, reason
from nas_mnist.execution.spec import default_storage
from nas_mnist.report import note as note

if TYPE_CHECKING:
    from rich.table import Table

    from nas_mnist.execution.records import StudyRecord

_WIDE = 10_000  # characters: more than any table takes


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


def print_result(values: Any, *shown: Table | str, as_json: bool) -> None:
    """What a command has found, for programs or for people: tables, and sentences or notations,
    whose words are never cut."""
    from rich.console import Console

    from nas_mnist.report.tables import fitted

    width = terminal_width()
    with output_written():
        if as_json:
            return print(json.dumps(values, indent=2, allow_nan=False))
        # A residual's brackets in a notation are no markup.
        console = Console(width=width or _WIDE, markup=False)
        whole: Any = {"break_long_words": False, "break_on_hyphens": False}
        for part in shown:
            for own in [part] if isinstance(part, str) else fitted(part, width or _WIDE):
                if isinstance(own, str):
                    for line in own.splitlines():
                        print(textwrap.fill(line, width or _WIDE, **whole))
                else:
                    console.print(own)


def terminal_width() -> int | None:
    """In characters; a file or a pipe has none, unless $COLUMNS says so: tables are as wide there
    as they need to be."""
    known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal()
    return shutil.get_terminal_size().columns if known else None


def print_front(
    record: StudyRecord, as_json: bool, within: int | None = None, *, all_columns: bool = False
) -> None:
    """The front, or what of it has at most `within` parameters."""
    from nas_mnist.report.front_table import front_table, front_values
    from nas_mnist.report.overview import front_overview

    if as_json:
        return print_result(front_values(record, within), as_json=True)
    if all_columns:
        return print_result(None, front_table(record, within), as_json=False)
    print_result(None, *front_overview(record, within, terminal_width()), as_json=False)


def quiet_optuna() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_study(name: str, storage: str | None, artifact_dir: str | None = None) -> StudyRecord:
    from nas_mnist.execution.records import load_study

    quiet_optuna()
    return load_study(name, storage or default_storage(name), artifact_dir or "")

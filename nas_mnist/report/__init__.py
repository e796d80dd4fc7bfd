"""Tables, figures and files made from studies. It decides nothing."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nas_mnist.errors import StorageError, reason


def note(text: str) -> None:
    """A line for the person at the terminal, on standard error; if that cannot be written any more,
    as when a pipe's reader has gone, work goes on without such lines."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # what is left in the buffer must go somewhere at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Make the file's folder, and say in one line if `file` could not be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise StorageError(f"{file}: {reason(error)}") from None


def replace_files(contents: Mapping[Path, bytes]) -> None:
    """Write the files aside, then put all in their places; StorageError if one cannot be."""
    made = {}
    try:
        for file, content in contents.items():
            with writing(file):
                if file.is_dir():
                    raise StorageError(f"{file}: Is a directory")
                made[file] = file.with_name(f"{file.name}.part")
                made[file].write_bytes(content)
        for file, part in made.items():
            with writing(file):
                part.replace(file)
    finally:
        for part in made.values():
            part.unlink(missing_ok=True)

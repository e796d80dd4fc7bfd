"""Tables, figures and files made from studies. It decides nothing."""

import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nas_mnist.errors import RequestError, StorageError, reason

EXPORTED = b'"""A network of '  # the first words of an exported file


def note(text: str) -> None:
    """A line for the person at the terminal, on standard error; if that cannot be written any more,
    as when a pipe's reader has gone, work goes on without such lines. A terminal's lines break
    between words."""
    try:
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns
            text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
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


def check_export(file: Path, *beside: str) -> None:
    """RequestError unless a network can be written as `file` (.py), and its weights and files of
    the endings `beside` next to it: not to learn of it after hours. Nobody's own files are
    overwritten."""
    if file.suffix != ".py":
        raise RequestError(f"{file} must end in .py")
    others = [file.with_suffix(ending) for ending in (".pt", *beside)]
    try:
        there = [made for made in (file, *others) if made.exists()]
        folder = next(folder for folder in file.absolute().parents if folder.exists())
        if not _may_make_files(folder):
            raise RequestError(f"{file}: nothing can be made in {folder}; choose another folder")
        for made in there:
            if not made.is_file():
                raise RequestError(f"{made} is there and is not a file; choose another name")
        if there and not (file in there and file.read_bytes().startswith(EXPORTED)):
            said = "is there and was not exported by nas-mnist"
            raise RequestError(f"{there[0]} {said}; choose another name, or remove it")
    except OSError as error:
        raise RequestError(f"{file}: {reason(error)}; choose another name") from None


def _may_make_files(folder: Path) -> bool:
    """Tried: permissions alone do not tell of read-only disks, or of what is no real folder."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


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

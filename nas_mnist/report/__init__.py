"""Tables, figures and files made from studies. It decides nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nas_mnist.errors import StorageError, reason


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

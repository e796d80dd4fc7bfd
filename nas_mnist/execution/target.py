"""A network as a person names it on the command line."""

from __future__ import annotations

import difflib

from nas_mnist.errors import ArchitectureError, RequestError
from nas_mnist.execution.records import load_study
from nas_mnist.execution.spec import default_storage
from nas_mnist.networks.architecture import Architecture, format_notation, parse_notation
from nas_mnist.networks.references import references


def resolve_target(text: str, storage: str | None = None) -> tuple[str, Architecture]:
    """Name and architecture of a reference's name, a notation, or `STUDY:TRIAL` (of a study in that
    storage, if it is not where `search` puts it). RequestError if the text names no network."""
    if text in references():
        return text, references()[text].architecture
    if ":" in text:
        study, _, number = text.rpartition(":")
        if not study or not number.isdecimal() or len(number) > 9:
            raise RequestError(f"{text!r} is not STUDY:TRIAL, such as mnist-8000:12")
        record = load_study(study, storage or default_storage(study))
        return text, record.architecture(int(number))
    try:
        architecture = parse_notation(text)
    except ArchitectureError:
        close = [name for name in references() if text and name.startswith(text)]
        close += difflib.get_close_matches(text, references(), n=1, cutoff=0.7)
        if not close:
            raise
        said = f"{text!r} is no reference; `nas-mnist references` lists them, such as {close[0]}"
        raise RequestError(said) from None
    return format_notation(architecture), architecture

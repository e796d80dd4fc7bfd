"""A network as a Python module file that needs nothing but torch, its weights beside it."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import torch

from nas_mnist.errors import StorageError, reason
from nas_mnist.execution.artifacts import read_weights
from nas_mnist.execution.confirmation import Candidate, chosen
from nas_mnist.execution.records import StudyRecord
from nas_mnist.networks.architecture import Architecture, build_network, format_notation
from nas_mnist.report.figures import front_figure, write_figure
from nas_mnist.report.front_table import write_front_csv
from nas_mnist.report.source import Provenance, module_source


def export_network(record: StudyRecord, network: Candidate, file: Path) -> Path:
    """Write the network as `file` (.py), its weights beside it (.pt); the weights' path. Of a
    confirmed network the weights are those of its first seed.

    Both are whole before either replaces what was there. Raises StorageError if the weights are
    missing or not this network's, or if a file cannot be written.
    """
    weights = stored_weights(record, network)
    provenance = Provenance.of(record, network)
    source = module_source(
        network.trial.architecture, record.spec.dataset, record.normalization, provenance
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _replace({file.with_suffix(".pt"): weights, file: source.encode()})
    except OSError as error:
        raise StorageError(f"{error.filename or file}: {reason(error)}") from None
    return file.with_suffix(".pt")


def stored_weights(record: StudyRecord, network: Candidate) -> bytes:
    """The file of the network's weights, checked; of a confirmed network those of its first seed.

    Raises StorageError if they are missing or not this network's.
    """
    architecture, kept = network.trial.architecture, network.trial.weights
    if network.confirmed is not None:
        kept = network.confirmed.runs[0].weights
    try:
        weights = read_weights(
            kept, record.artifact_dir, record.name, record.storage, _most_bytes(architecture)
        )
        check_weights(architecture, weights)
    except StorageError as error:
        raise StorageError(
            f"trial {network.trial.number} of study {record.name!r}: {error}"
        ) from None
    return weights


def write_results(record: StudyRecord, folder: Path) -> list[Path]:
    """Write front.csv, front.html, winner.py and winner.pt; their paths.

    The winner is the front's most accurate network. Raises StorageError if the folder cannot
    be written.
    """
    csv, html, winner = folder / "front.csv", folder / "front.html", folder / "winner.py"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_front_csv(record, csv)
        write_figure(front_figure(record), html)
    except OSError as error:
        raise StorageError(f"{error.filename or folder}: {reason(error)}") from None
    weights = export_network(record, chosen(record), winner)
    return [csv, html, winner, weights]


def check_weights(architecture: Architecture, weights: bytes) -> None:
    """Raise StorageError unless these are the weights of this network, as torch saves them."""
    try:
        state = torch.load(io.BytesIO(weights), weights_only=True)
        build_network(architecture).load_state_dict(state)
    except Exception as error:  # torch.load has no one error for a file that is not weights
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise StorageError(
            f"the stored weights are not those of {format_notation(architecture)} ({said[0]})"
        ) from None


def _most_bytes(architecture: Architecture) -> int:
    """More than any file of this network's weights has: float32 parameters, as many buffers, and
    16 kB a layer for what torch writes around its tensors."""
    return 8 * architecture.parameters + 16_384 * len(architecture.layers)


def _replace(contents: dict[Path, bytes]) -> None:
    """Write the files aside, then put all in their places."""
    for file in contents:
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, "Is a directory", str(file))
    made = {file: file.with_name(file.name + ".part") for file in contents}
    try:
        for file, part in made.items():
            part.write_bytes(contents[file])
        for file, part in made.items():
            part.replace(file)
    finally:
        for part in made.values():
            part.unlink(missing_ok=True)

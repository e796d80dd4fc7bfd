"""Trained weights in Optuna's artifact store: kept by workers, read by the export."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound

from nas_mnist.errors import StorageError, reason
from nas_mnist.search.config import SearchConfig, artifact_folder

if TYPE_CHECKING:  # what reads a study need not wait for torch
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial
    from torch import nn


class Weights(NamedTuple):
    """Where a network's weights are."""

    artifact: str
    """id in the artifact store"""
    artifact_dir: str
    """the store's folder, as `SearchConfig` gives it"""

    @classmethod
    def of(cls, attribute: Any) -> Weights:
        """From a study's attribute; KeyError or TypeError for one of another kind."""
        return cls(str(attribute["artifact"]), str(attribute["artifact_dir"]))


def keep_weights(
    network: nn.Module, config: SearchConfig, storage: BaseStorage, trial: FrozenTrial
) -> Weights:
    """Put the network's weights into the artifact store, under the trial that they are of.

    Raises StorageError if the store cannot be written.
    """
    import torch

    folder = artifact_folder(config.artifact_dir, config.study, config.storage)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            weights = io.BytesIO()  # torch's own writer has no word for a full disk
            torch.save({name: w.cpu() for name, w in network.state_dict().items()}, weights)
            file = Path(scratch) / "weights.pt"
            file.write_bytes(weights.getvalue())
            artifact = upload_artifact(
                artifact_store=FileSystemArtifactStore(folder),
                file_path=str(file),
                study_or_trial=trial,
                storage=storage,
            )
            return Weights(artifact, config.artifact_dir)
    except OSError as error:
        raise StorageError(
            f"artifacts {folder}: {reason(error)}; make room or name another folder with "
            "--artifact-dir"
        ) from None


def read_weights(weights: Weights, study: str, url: str, most_bytes: int) -> bytes:
    """The weights' file, of a study in that storage.

    Raises StorageError if it is missing, unreadable or larger than `most_bytes`.
    """
    folder = artifact_folder(weights.artifact_dir, study, url)
    try:
        with FileSystemArtifactStore(folder).open_reader(weights.artifact) as file:
            content = file.read(most_bytes + 1)
    except (ArtifactNotFound, ValueError):
        raise StorageError(f"its weights are not in {folder}") from None
    except OSError as error:
        raise StorageError(f"{error.filename or folder}: {reason(error)}") from None
    if len(content) > most_bytes:
        raise StorageError(f"{folder}: {weights.artifact} is no weights file")
    return content

"""Trained weights in Optuna's artifact store: kept by workers, read by the export.

The store of a study in an SQLite file is a folder beside it; that of a study on a database
server, which several machines share, is a table of that database. `--artifact-dir` names a
folder instead.
"""

from __future__ import annotations

import io
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import sqlalchemy
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from sqlalchemy import Column, LargeBinary, MetaData, String, Table
from sqlalchemy.exc import IntegrityError, ProgrammingError

from nas_mnist.errors import StorageError, reason
from nas_mnist.execution.optuna_internals import Storage
from nas_mnist.execution.spec import SearchConfig, artifact_folder
from nas_mnist.execution.store import storage_errors

if TYPE_CHECKING:  # what reads a study need not wait for torch
    from torch import nn

_ARTIFACTS = Table(
    "nas_mnist_artifacts",
    MetaData(),
    Column("artifact_id", String(64), primary_key=True),
    # MySQL's plain BLOB ends at 64 KiB.
    Column("content", LargeBinary(2**24 - 1), nullable=False),
)


class DatabaseArtifactStore(NamedTuple):
    """Optuna's protocol of an artifact store, in a table beside the studies."""

    engine: sqlalchemy.Engine

    def open_reader(self, artifact_id: str) -> BinaryIO:
        content, wanted = None, _ARTIFACTS.c.artifact_id == artifact_id
        if sqlalchemy.inspect(self.engine).has_table(_ARTIFACTS.name):
            with self.engine.connect() as connection:
                content = connection.scalar(sqlalchemy.select(_ARTIFACTS.c.content).where(wanted))
        if content is None:
            raise ArtifactNotFound("not found")
        return io.BytesIO(content)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        with suppress(ProgrammingError, IntegrityError):  # another process makes it just now
            _ARTIFACTS.create(self.engine, checkfirst=True)
        row = {"artifact_id": artifact_id, "content": content_body.read()}
        with self.engine.begin() as connection:
            connection.execute(_ARTIFACTS.insert().values(row))

    def remove(self, artifact_id: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(_ARTIFACTS.delete().where(_ARTIFACTS.c.artifact_id == artifact_id))


class _Folder(FileSystemArtifactStore):
    """A folder that is made when it is first written to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        super().write(artifact_id, content_body)


def artifact_store(
    artifact_dir: str, study: str, storage: Storage
) -> DatabaseArtifactStore | _Folder:
    """The store of a study's artifacts; `artifact_dir` as `SearchConfig` gives it."""
    folder = artifact_folder(artifact_dir, study, storage.engine.url)
    return DatabaseArtifactStore(storage.engine) if folder is None else _Folder(folder)


def keep_weights(network: nn.Module, config: SearchConfig, storage: Storage, trial_id: int) -> str:
    """Put a trial's weights into the artifact store; their id there. StorageError if it cannot be
    written."""
    import torch

    try:
        with tempfile.TemporaryDirectory() as scratch:
            weights = io.BytesIO()  # torch's own writer has no word for a full disk
            torch.save({name: w.cpu() for name, w in network.state_dict().items()}, weights)
            file = Path(scratch) / "weights.pt"
            file.write_bytes(weights.getvalue())
            return upload_artifact(
                artifact_store=artifact_store(config.artifact_dir, config.study, storage),
                file_path=str(file),
                study_or_trial=storage.get_trial(trial_id),  # else it wants no storage
                storage=storage,
                mimetype="application/octet-stream",  # Optuna's guess from .pt is wrong
            )
    except OSError as error:
        where = f"artifacts {error.filename or ''}"
        way_out = "make room or name another folder with --artifact-dir"
        raise StorageError(f"{where}: {reason(error)}; {way_out}") from None


def read_weights(
    artifact: str, artifact_dir: str, study: str, storage: Storage, most_bytes: int
) -> bytes:
    """A weights file of a study, by its id; StorageError if it is missing, unreadable or larger
    than `most_bytes`."""
    where = artifact_folder(artifact_dir, study, storage.engine.url) or "the database"
    try:
        store = artifact_store(artifact_dir, study, storage)
        with storage_errors(storage.engine.url), store.open_reader(artifact) as file:
            content: bytes = file.read(most_bytes + 1)
    except (ArtifactNotFound, ValueError):
        raise StorageError(
            f"its weights are not in {where}, where they belong; say with --artifact-dir where "
            "they are, or let `front` show the study without"
        ) from None
    except OSError as error:
        raise StorageError(f"{error.filename or where}: {reason(error)}") from None
    if len(content) > most_bytes:
        raise StorageError(f"{where}: {artifact} is no weights file")
    return content

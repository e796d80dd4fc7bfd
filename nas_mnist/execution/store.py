"""Where a study is kept: its database, whose errors are told in one line without a password, and
the weights of its trials, kept by workers and read by the export.

The weights of a study in an SQLite file are in a folder beside it; those of a study on a database
server, which several machines share, in a table of that database. `--artifact-dir` names a folder
instead.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import optuna
import sqlalchemy
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.exceptions import StorageInternalError
from sqlalchemy import Column, LargeBinary, MetaData, String, Table
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError, NoSuchModuleError, ProgrammingError, SQLAlchemyError

from nas_mnist.errors import OthersError, RequestError, StorageError, StudyError, reason
from nas_mnist.execution.optuna_internals import NO_TABLES, Storage
from nas_mnist.execution.spec import SearchConfig, artifact_folder, default_storage, parse_url

if TYPE_CHECKING:  # what reads a study need not wait for torch
    from torch import nn

# How long to wait for another process's write to an SQLite file; `?timeout=` in the URL sets it.
_LOCK_SECONDS = 60
_CREATIONS = 10
_DAMAGED = ("file is not a database", "malformed", "Could not decode")
_IS_DAMAGED = (
    "it is damaged, or no database of studies; restore a copy of it, or name another with --storage"
)
_MADE_MEANWHILE = ("already exists", "duplicate key", "unique constraint")
_ARTIFACTS = Table(
    "nas_mnist_artifacts",
    MetaData(),
    Column("artifact_id", String(64), primary_key=True),
    # MySQL's plain BLOB ends at 64 KiB.
    Column("content", LargeBinary(2**24 - 1), nullable=False),
)


def open_storage(url: str, *, create: bool, kind: type[Storage] = Storage) -> Storage:
    """The relational storage at `url`; with `create`, an SQLite file, its folder and Optuna's
    tables are made if they are missing, else StudyError. RequestError for a URL that no driver
    here reads, StorageError if the database does not answer."""
    parsed = parse_url(url)
    # A worker trains for minutes between a few writes: it must neither keep one of a server's
    # hundred connections meanwhile, nor find that the server has dropped it.
    engine_kwargs: dict[str, Any] = {"poolclass": sqlalchemy.NullPool}
    if parsed.get_backend_name() == "sqlite":
        _prepare_sqlite(Path(parsed.database or ""), create=create)
        own = "timeout" in parsed.query
        engine_kwargs = {} if own else {"connect_args": {"timeout": _LOCK_SECONDS}}
    with storage_errors(url):
        for patience in range(_CREATIONS, 0, -1):
            try:
                return kind(url, engine_kwargs, create=create)
            except (ImportError, NoSuchModuleError):
                said = f"--storage {shown(url)}: no driver for {parsed.drivername!r} is installed"
                way_out = "for PostgreSQL pip install 'nas-mnist[postgresql]' and write"
                raise RequestError(f"{said}; {way_out} postgresql+psycopg://") from None
            except (SQLAlchemyError, StorageInternalError) as error:
                said = str(_root(error))
                if not create and NO_TABLES in said:
                    nothing = f"storage {shown(url)}: there are no studies in it"
                    tables = sqlalchemy.inspect(sqlalchemy.create_engine(url)).get_table_names()
                    if not tables or "studies" in tables:  # another search makes them just now
                        raise StudyError(nothing) from None
                    way_out = "choose another --study, or name a database with --storage"
                    raise OthersError(f"{nothing}, but another program's; {way_out}") from None
                # Another search makes the same tables just now: Optuna looks, then creates.
                made = any(word in said.lower() for word in _MADE_MEANWHILE)
                if not (create and made and patience > 1):
                    raise
                time.sleep(0.2)
    raise AssertionError("the last try returns or raises")


@contextmanager
def storage_errors(url: str | URL) -> Iterator[None]:
    """Tell a database's errors as StorageError: one line, without the URL's password."""
    try:
        yield
        return
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error) as error:
        told = str(_root(error)).strip().splitlines()[0]
        if any(word in told for word in _DAMAGED):
            told = _IS_DAMAGED
        else:
            way_out = "check the disk, the file and the server, then run the same command again"
            told += f"; {way_out}: finished trials are kept"
    except (UnicodeDecodeError, json.JSONDecodeError):
        told = _IS_DAMAGED
    except LookupError as error:  # a state that there is not, or one of a trial's values is lost
        if type(error) is not LookupError and "list assignment" not in str(error):
            raise
        told = _IS_DAMAGED
    except RuntimeError as error:  # Optuna's word for a database of another version
        if "runtime optuna version" not in str(error):
            raise
        told = f"made by another version of Optuna than {optuna.__version__}; for a newer one"
        told += " pip install -U optuna, for an older one copy the database, then"
        told += f" `optuna storage upgrade --storage {shown(url)}`"
    raise StorageError(f"storage {shown(url)}: {told}") from None


def shown(url: str | URL) -> str:
    """The URL without its password."""
    return parse_url(url).render_as_string(hide_password=True)


def storage_option(study: str, url: str) -> str:
    """The --storage that a command on this study needs, behind a space; "" where it needs none."""
    known = default_storage(study), os.environ.get("NAS_MNIST_STORAGE")
    return "" if url in known else f" --storage {shown(url)}"


def _prepare_sqlite(file: Path, *, create: bool) -> None:
    if str(file) in ("", ".", ":memory:"):
        raise RequestError("--storage: SQLite needs a file, as in sqlite:///studies/my.db")
    if not create and not os.path.lexists(file):
        way_out = "name the study's database with --storage, or run the command from the folder"
        raise StudyError(f"storage {file}: no such file; {way_out} that search was run in")
    try:
        if create:
            file.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(file) and not file.is_file():
            raise StorageError(f"storage {file}: it is not a file; name another with --storage")
    except OSError as error:
        raise StorageError(f"storage {file}: {reason(error)}") from None


def _root(error: BaseException) -> BaseException:
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig is not None:
        return error.orig
    return error if error.__cause__ is None else _root(error.__cause__)


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


def weights_file(network: nn.Module) -> bytes:
    """The network's weights, as torch saves them."""
    import torch

    weights = io.BytesIO()  # torch's own writer has no word for a full disk
    torch.save({name: w.cpu() for name, w in network.state_dict().items()}, weights)
    return weights.getvalue()


def keep_weights(network: nn.Module, config: SearchConfig, storage: Storage, trial_id: int) -> str:
    """Put a trial's weights into the artifact store; their id there. StorageError if it cannot be
    written."""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "weights.pt"
            file.write_bytes(weights_file(network))
            return upload_artifact(
                artifact_store=artifact_store(config.artifact_dir, config.study, storage),
                file_path=str(file),
                study_or_trial=storage.get_trial(trial_id),  # else it wants no storage
                storage=storage,
                mimetype="application/octet-stream",  # Optuna's guess from .pt is wrong
            )
    except OSError as error:
        said = f"artifacts {error.filename or ''}: {reason(error)}"
        way_out = "make room or name another folder with --artifact-dir"
        raise StorageError(f"{said}; {way_out}") from None


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
        way_out = "say with --artifact-dir where they are; `export --no-weights` needs none"
        said = f"its weights are not in {where}, where they belong"
        raise StorageError(f"{said}; {way_out}") from None
    except OSError as error:
        raise StorageError(f"{error.filename or where}: {reason(error)}") from None
    if len(content) > most_bytes:
        raise StorageError(f"{where}: {artifact} is no weights file")
    return content

"""The study's database: opened, and its errors told in one line without a password."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from sqlalchemy.engine import URL
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from nas_mnist.errors import RequestError, StorageError, StudyError, reason
from nas_mnist.execution.optuna_internals import Storage, has_no_tables, make_storage
from nas_mnist.execution.spec import parse_url

HEARTBEAT_SECONDS = 15
"""A running trial's sign of life; one that misses four is taken to be dead."""
_GRACE_SECONDS = 4 * HEARTBEAT_SECONDS
# How long to wait for another process's write to an SQLite file; `?timeout=` in the URL sets it.
_LOCK_SECONDS = 60
_CREATIONS = 10
_DAMAGED = ("file is not a database", "malformed", "Could not decode")
_MADE_MEANWHILE = ("already exists", "duplicate key", "unique constraint")


def open_storage(url: str, *, create: bool) -> Storage:
    """The relational storage at `url`.

    Args:
        url: as SQLAlchemy reads it.
        create: make an SQLite file, its folder and Optuna's tables if they are missing.

    Raises:
        StudyError: if something is missing, without `create`.
        RequestError: for a URL that no driver here reads.
        StorageError: if the database does not answer.
    """
    parsed = parse_url(url)
    engine_kwargs: dict[str, Any] = {}
    if parsed.get_backend_name() == "sqlite":
        _prepare_sqlite(Path(parsed.database or ""), create=create)
        if "timeout" not in parsed.query:
            engine_kwargs = {"connect_args": {"timeout": _LOCK_SECONDS}}
    else:
        # A worker trains for minutes between a few writes: it must neither keep one of a server's
        # hundred connections meanwhile, nor find that the server has dropped it.
        engine_kwargs = {"poolclass": sqlalchemy.NullPool}
    with storage_errors(url):
        try:
            return _opened(url, engine_kwargs, create)
        except (ImportError, NoSuchModuleError):
            raise RequestError(
                f"--storage {shown(url)}: no driver for {parsed.drivername!r} is installed; for "
                "PostgreSQL pip install 'nas-mnist[postgresql]' and write postgresql+psycopg://"
            ) from None
        except (UnicodeDecodeError, json.JSONDecodeError):
            raise
        except ValueError as error:  # an option of the URL, such as ?timeout=abc
            raise RequestError(f"--storage {shown(url)}: {error}") from None
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            if create or not has_no_tables(_root(error)):
                raise
            raise StudyError(f"storage {shown(url)}: there are no studies in it") from None


def _opened(url: str, engine_kwargs: dict[str, Any], create: bool) -> Storage:
    for patience in range(_CREATIONS, 0, -1):
        try:
            return make_storage(
                url,
                engine_kwargs,
                heartbeat=HEARTBEAT_SECONDS,
                grace=_GRACE_SECONDS,
                create=create,
            )
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            # Another search makes the same tables just now: Optuna looks, then creates.
            made = any(word in str(_root(error)).lower() for word in _MADE_MEANWHILE)
            if not (create and made and patience > 1):
                raise
            time.sleep(0.2)
    raise AssertionError("the last try returns or raises")


@contextmanager
def storage_errors(url: str | URL) -> Iterator[None]:
    """Tell a database's errors as StorageError: one line, without the URL's password."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, sqlite3.Error) as error:
        said = str(_root(error)).strip().splitlines()[0]
        if any(word in said for word in _DAMAGED):
            raise _damaged(url, said) from None
        raise StorageError(
            f"storage {shown(url)}: {said}; check the disk, the file and the server, then run the "
            "same command again: finished trials are kept"
        ) from None
    except UnicodeDecodeError as error:
        raise _damaged(url, error.reason) from None
    except json.JSONDecodeError as error:
        raise _damaged(url, error.msg) from None
    except LookupError as error:  # a state that there is not
        if type(error) is not LookupError:
            raise
        raise _damaged(url, str(error)) from None
    except RuntimeError as error:  # Optuna's word for a database of another version
        if "runtime optuna version" not in str(error):
            raise
        raise StorageError(f"storage {shown(url)}: made by another version of Optuna") from None


def _damaged(url: str | URL, said: str) -> StorageError:
    return StorageError(
        f"storage {shown(url)}: {said[:80]}; it is damaged, or no database of studies: restore "
        "a copy of it, or name another with --storage"
    )


def shown(url: str | URL) -> str:
    """The URL without its password."""
    return parse_url(url).render_as_string(hide_password=True)


def _prepare_sqlite(file: Path, *, create: bool) -> None:
    if str(file) in ("", ".", ":memory:"):
        raise RequestError("--storage: SQLite needs a file, as in sqlite:///studies/my.db")
    if not create:
        if not file.exists():
            raise StudyError(
                f"storage {file}: no such file; name the study's database with --storage, or "
                "run the command from the folder that search was run in"
            )
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"storage {file}: {reason(error)}") from None


def _root(error: BaseException) -> BaseException:
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig is not None:
        return error.orig
    if error.__cause__ is not None:
        return _root(error.__cause__)
    return error

"""The study's database: opened, and its errors told in one line without a password."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import URL
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from nas_mnist.errors import RequestError, StorageError, StudyError, reason
from nas_mnist.execution.optuna_internals import NO_TABLES, Storage
from nas_mnist.execution.spec import parse_url

# How long to wait for another process's write to an SQLite file; `?timeout=` in the URL sets it.
_LOCK_SECONDS = 60
_CREATIONS = 10
_DAMAGED = ("file is not a database", "malformed", "Could not decode")
_MADE_MEANWHILE = ("already exists", "duplicate key", "unique constraint")


def open_storage(url: str, *, create: bool) -> Storage:
    """The relational storage at `url`; with `create`, an SQLite file, its folder and Optuna's
    tables are made if they are missing.

    Raises:
        StudyError: if something is missing, without `create`.
        RequestError: for a URL that no driver here reads.
        StorageError: if the database does not answer.
    """
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
                return Storage(url, engine_kwargs, create=create)
            except (ImportError, NoSuchModuleError):
                raise RequestError(
                    f"--storage {shown(url)}: no driver for {parsed.drivername!r} is installed; "
                    "for PostgreSQL pip install 'nas-mnist[postgresql]' and write "
                    "postgresql+psycopg://"
                ) from None
            except (UnicodeDecodeError, json.JSONDecodeError):
                raise
            except ValueError as error:  # an option of the URL, such as ?timeout=abc
                raise RequestError(f"--storage {shown(url)}: {error}") from None
            except (SQLAlchemyError, StorageInternalError) as error:
                said = str(_root(error))
                if not create and NO_TABLES in said:
                    nothing = f"storage {shown(url)}: there are no studies in it"
                    raise StudyError(nothing) from None
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
            told = _damaged(told)
        else:
            told += "; check the disk, the file and the server, then run the same command again: "
            told += "finished trials are kept"
    except UnicodeDecodeError as error:
        told = _damaged(error.reason)
    except json.JSONDecodeError as error:
        told = _damaged(error.msg)
    except LookupError as error:  # a state that there is not
        if type(error) is not LookupError:
            raise
        told = _damaged(str(error))
    except RuntimeError as error:  # Optuna's word for a database of another version
        if "runtime optuna version" not in str(error):
            raise
        told = "made by another version of Optuna"
    raise StorageError(f"storage {shown(url)}: {told}") from None


def _damaged(said: str) -> str:
    return (
        f"{said[:80]}; it is damaged, or no database of studies: restore a copy of it, or name "
        "another with --storage"
    )


def shown(url: str | URL) -> str:
    """The URL without its password."""
    return parse_url(url).render_as_string(hide_password=True)


def _prepare_sqlite(file: Path, *, create: bool) -> None:
    if str(file) in ("", ".", ":memory:"):
        raise RequestError("--storage: SQLite needs a file, as in sqlite:///studies/my.db")
    if not create and not file.exists():
        raise StudyError(
            f"storage {file}: no such file; name the study's database with --storage, or run the "
            "command from the folder that search was run in"
        )
    try:
        if create:
            file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"storage {file}: {reason(error)}") from None


def _root(error: BaseException) -> BaseException:
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig is not None:
        return error.orig
    if error.__cause__ is not None:
        return _root(error.__cause__)
    return error

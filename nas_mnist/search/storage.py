"""The study's database: opened, its errors told in one line, and its trials handed out.

The trials of a search are made up front, waiting, as many as were asked for. A worker takes one
by setting it running, which the storage lets only one process do; a trial that was interrupted
goes back to waiting under its own number. So the total is exact, whatever happens in between.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias, cast

import optuna
import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from nas_mnist.errors import RequestError, StorageError, reason

HEARTBEAT_SECONDS = 15
"""A running trial's sign of life; one that misses four is taken to be dead."""
_GRACE_SECONDS = 4 * HEARTBEAT_SECONDS
# How long to wait for another process's write to an SQLite file; `?timeout=` in the URL sets it.
_LOCK_SECONDS = 60
_OWNER = "worker"


class Storage(BaseStorage, BaseHeartbeat):
    """What `open_storage` gives: an Optuna storage that records heartbeats."""


def open_storage(url: str, *, create: bool) -> Storage:
    """The relational storage at `url`, behind Optuna's cache of finished trials.

    With `create`, an SQLite file, its folder and Optuna's tables are made if missing; otherwise
    what is missing is a StorageError, and nothing is made.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise RequestError(
            "--storage must be a database URL such as sqlite:///studies/my.db"
        ) from None
    engine_kwargs = {}
    if parsed.get_backend_name() == "sqlite":
        _prepare_sqlite(Path(parsed.database or ""), create=create)
        if "timeout" not in parsed.query:
            engine_kwargs = {"connect_args": {"timeout": _LOCK_SECONDS}}
    with storage_errors(url), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats
        try:
            storage = RDBStorage(
                url,
                engine_kwargs=engine_kwargs,
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=_GRACE_SECONDS,
                skip_table_creation=not create,
            )
        except (ImportError, NoSuchModuleError):
            raise RequestError(
                f"--storage {shown(url)}: no driver for {parsed.drivername!r} is installed"
            ) from None
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            if create or "version_info" not in str(_root(error)):
                raise
            raise StorageError(f"storage {shown(url)}: there are no studies in it") from None
        sqlalchemy.event.listen(storage.engine, "begin", _begin)
        return cast("Storage", get_storage(storage))


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Tell a database's errors as StorageError: one line, without the URL's password."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, sqlite3.Error) as error:
        cause = _root(error)
        raise StorageError(
            f"storage {shown(url)}: {str(cause).strip().splitlines()[0]}; check the disk, the "
            "file and the server, then run the same command again: finished trials are kept"
        ) from None
    except RuntimeError as error:  # Optuna's word for a database of another version
        if "runtime optuna version" not in str(error):
            raise
        raise StorageError(f"storage {shown(url)}: made by another version of Optuna") from None


def shown(url: str) -> str:
    """The URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


Choose: TypeAlias = Callable[[list[FrozenTrial]], FrozenTrial | None]
"""Of a study's trials, the waiting one to take next; None for none."""


def first_waiting(total: int) -> Choose:
    """What chooses the first waiting trial among the study's first `total`."""

    def choose(trials: list[FrozenTrial]) -> FrozenTrial | None:
        waiting = (trial for trial in trials if trial.state == TrialState.WAITING)
        return next((trial for trial in waiting if trial.number < total), None)

    return choose


def claim(storage: Storage, study_id: int, choose: Choose) -> int | None:
    """Take a waiting trial of the study; its id, or None if there is none to take."""
    while True:
        trial = choose(storage.get_all_trials(study_id, deepcopy=False))
        if trial is None:
            return None
        trial_id = trial._trial_id
        try:
            # The last owner may have left a heartbeat that is long stale: beat before taking.
            storage.record_heartbeat(trial_id)
            with _exclusively():
                won = storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            continue
        if won:
            storage.set_trial_user_attr(trial_id, _OWNER, _this_process())
            return trial_id


def is_held(storage: BaseStorage, trial_id: int) -> bool:
    """Whether the trial is still this process's to finish."""
    trial = storage.get_trial(trial_id)
    return trial.state == TrialState.RUNNING and trial.user_attrs.get(_OWNER) == _this_process()


def give_back(storage: Storage, trial_id: int) -> None:
    """Return a running trial to the queue; a finished one stays finished."""
    try:
        storage.set_trial_user_attr(trial_id, _OWNER, None)
        storage.set_trial_state_values(trial_id, TrialState.WAITING)
    except UpdateFinishedTrialError:
        return


def give_back_abandoned(storage: Storage, study_id: int) -> int:
    """Return running trials whose process is gone to the queue; how many there were.

    A process of this machine is gone when its number is free, however long it slept; one of
    another machine when its heartbeat stops.
    """
    # Optuna's public fail_stale_trials would end the trial as failed and start another number.
    stale = set(storage._get_stale_trial_ids(study_id))
    running = storage.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
    abandoned = [trial for trial in running if _is_gone(trial, trial._trial_id in stale)]
    for trial in abandoned:
        give_back(storage, trial._trial_id)
    return len(abandoned)


@contextmanager
def heartbeat(storage: Storage, trial_ids: Sequence[int]) -> Iterator[None]:
    """Go on with the heartbeats that `claim` began, from a thread, as long as the block runs."""
    stopped = threading.Event()

    def beat() -> None:
        while not stopped.wait(HEARTBEAT_SECONDS):
            # A storage that fails here fails in the trial's own thread too, which reports it.
            try:
                for trial_id in trial_ids:
                    storage.record_heartbeat(trial_id)
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError):
                continue

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


_exclusive = threading.local()


@contextmanager
def _exclusively() -> Iterator[None]:
    """Make the block's transactions on SQLite take the write lock before they read.

    Optuna reads a trial's state, then writes it. Servers lock the row in between; SQLite would
    let two processes read "waiting" and both take the trial.
    """
    _exclusive.on = True
    try:
        yield
    finally:
        _exclusive.on = False


def _begin(connection: sqlalchemy.Connection) -> None:
    if connection.dialect.name == "sqlite" and getattr(_exclusive, "on", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare_sqlite(file: Path, *, create: bool) -> None:
    if str(file) in ("", ".", ":memory:"):
        raise RequestError("--storage: SQLite needs a file, as in sqlite:///studies/my.db")
    if not create:
        if not file.exists():
            raise StorageError(
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


def _this_process() -> dict[str, str | int]:
    return {"machine": _machine(), "pid": os.getpid()}


def _is_gone(trial: FrozenTrial, stale: bool) -> bool:
    owner = trial.user_attrs.get(_OWNER)
    if not isinstance(owner, dict):  # taken, but not yet signed: a moment, or a kill in it
        started = trial.datetime_start
        age = datetime.now() - started if started else timedelta.max
        return age > timedelta(seconds=_GRACE_SECONDS)
    if owner.get("machine") != _machine():
        return stale
    pid = owner.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _machine() -> str:
    """This boot of this machine: names alone repeat, in containers and clusters."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()}/{boot.read_text().strip() if boot.exists() else ''}"

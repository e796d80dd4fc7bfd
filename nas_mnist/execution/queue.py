"""The queue of a study's trials: handed out once each, and taken back when their process is gone.

The trials of a search are made up front, waiting. A worker takes one by setting it running and
signing it, in one transaction; a trial that was interrupted goes back to waiting under its own
number. So the total is exact, whatever happens in between.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb.models import TrialModel, TrialUserAttributeModel
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from nas_mnist.execution.store import HEARTBEAT_SECONDS, Storage
from nas_mnist.processes import started

_OWNER = "worker"

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
        # The last owner may have left a heartbeat that is long stale: beat before taking.
        storage.record_heartbeat(trial._trial_id)
        with _row(storage, trial._trial_id) as row:
            if row.trial.state == TrialState.WAITING:
                row.trial.state = TrialState.RUNNING
                row.trial.datetime_start = datetime.now()
                row.write(_OWNER, _this_process())
                return trial._trial_id


def is_held(storage: Storage, trial_id: int) -> bool:
    """Whether the trial is still this process's to finish."""
    return _is_ours(storage.get_trial(trial_id))


def write_held(storage: Storage, trial_id: int, name: str, value: Any) -> bool:
    """Set a user attribute if the trial is still this process's; whether it is."""
    with _row(storage, trial_id) as row:
        held = row.is_running() and row.read(_OWNER) == _this_process()
        if held:
            row.write(name, value)
        return held


def finish(
    storage: Storage, trial_id: int, state: TrialState, values: Sequence[float] | None = None
) -> bool:
    """End the trial if it is still this process's; whether it is."""
    # One that was taken for dead meanwhile, and handed to another, is the other's to finish.
    if not is_held(storage, trial_id):
        return False
    try:
        return storage.set_trial_state_values(trial_id, state, values)
    except UpdateFinishedTrialError:
        return False


def give_back(storage: Storage, trial_id: int) -> bool:
    """Return a trial to the queue if it is this process's; whether it was."""
    trial = storage.get_trial(trial_id)
    return _is_ours(trial) and _return(storage, trial)


def give_back_abandoned(storage: Storage, study_id: int) -> int:
    """Return running trials whose process is gone to the queue; how many there were.

    A process of this machine is gone when none that lives has its number and starting time,
    however long it sleeps; one of another machine when its heartbeat stops.
    """
    # Optuna's public fail_stale_trials would end the trial as failed and start another number.
    stale = set(storage._get_stale_trial_ids(study_id))
    running = storage.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
    abandoned = [trial for trial in running if _is_gone(trial, trial._trial_id in stale)]
    return sum(_return(storage, trial) for trial in abandoned)


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


class _Row(NamedTuple):
    """A trial's row in the database, in a transaction that nobody else changes it in."""

    session: Session
    trial: TrialModel

    def is_running(self) -> bool:
        return bool(self.trial.state == TrialState.RUNNING)

    def read(self, name: str) -> Any:
        found = TrialUserAttributeModel.find_by_trial_and_key(self.trial, name, self.session)
        return None if found is None else json.loads(str(found.value_json))

    def write(self, name: str, value: Any) -> None:
        found = TrialUserAttributeModel.find_by_trial_and_key(self.trial, name, self.session)
        if found is None:
            found = TrialUserAttributeModel(trial_id=self.trial.trial_id, key=name)
            self.session.add(found)
        found.value_json = json.dumps(value)


@contextmanager
def _row(storage: Storage, trial_id: int) -> Iterator[_Row]:
    """Optuna's storages compare and set nothing but "waiting" with "running"."""
    with Session(storage.engine) as session, session.begin():
        if storage.engine.dialect.name == "sqlite":
            # SQLite locks no rows: take its one lock before reading, not at the first write.
            session.connection().exec_driver_sql("BEGIN IMMEDIATE")
        yield _Row(session, TrialModel.find_or_raise_by_id(trial_id, session, for_update=True))


def _return(storage: Storage, seen: FrozenTrial) -> bool:
    """Set a running trial waiting, unless it has changed hands since it was seen."""
    with _row(storage, seen._trial_id) as row:
        same = (
            row.is_running()
            and row.trial.datetime_start == seen.datetime_start
            and row.read(_OWNER) == seen.user_attrs.get(_OWNER)
        )
        if same:
            row.trial.state = TrialState.WAITING
            row.write(_OWNER, None)
        return same


def _is_ours(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.RUNNING and trial.user_attrs.get(_OWNER) == _this_process()


def _is_gone(trial: FrozenTrial, stale: bool) -> bool:
    owner = trial.user_attrs.get(_OWNER)
    if not isinstance(owner, dict) or owner.get("machine") != _machine():
        return stale
    pid = owner.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return stale
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return bool(owner.get("started") != started(pid))  # its number went to another process


def _this_process() -> dict[str, str | int | None]:
    return {"machine": _machine(), "pid": os.getpid(), "started": started(os.getpid())}


def _machine() -> str:
    """This boot of this machine, as far as its processes see each other: names and process
    numbers repeat, in containers and clusters."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    if boot.exists():
        parts.append(boot.read_text().strip())
    if space.is_symlink():
        parts.append(str(space.readlink()))
    return "/".join(parts)

"""The queue of a study's trials: handed out once each, and taken back when their process is gone.

The trials of a search are made up front, waiting. A worker takes one by setting it running and
signing it, in one transaction; a trial that was interrupted goes back to waiting under its own
number. So the total is exact, whatever happens in between. Whatever is written of a trial is
written in a transaction that first checks whose it is.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from nas_mnist.execution import optuna_internals as internals
from nas_mnist.execution.optuna_internals import Storage, locked_trial
from nas_mnist.execution.store import storage_errors
from nas_mnist.processes import started

_OWNER = "worker"
_NOBODYS = {_OWNER: None}

Choose: TypeAlias = Callable[[list[FrozenTrial]], FrozenTrial | None]
"""Of a study's trials, the waiting one to take next; None for none."""


def first_waiting(total: int) -> Choose:
    """What chooses the first waiting trial among the study's first `total`. They are counted, for
    numbers have gaps where someone has deleted a trial."""
    return lambda trials: next((t for t in trials[:total] if t.state == TrialState.WAITING), None)


def claim(storage: Storage, study_id: int, choose: Choose) -> int | None:
    """Take a waiting trial of the study; its id, or None if there is none to take."""
    while True:
        trial = choose(storage.get_all_trials(study_id, deepcopy=False))
        if trial is None:
            return None
        chosen = internals.trial_id(trial)
        # The last owner may have left a heartbeat that is long stale: beat before taking.
        storage.record_heartbeat(chosen)
        with locked_trial(storage, chosen) as row:
            if row.state == TrialState.WAITING:
                row.become(TrialState.RUNNING)
                row.write(**{_OWNER: _this_process()})
                return chosen


def finish(
    storage: Storage,
    trial_id: int,
    state: TrialState | None,
    values: Sequence[float] = (),
    attributes: Mapping[str, Any] | None = None,
) -> bool:
    """End the trial, with its last attributes, if it is still this process's; whether it is. One
    that was taken for dead, and handed to another, is the other's. With no state, it goes on."""
    with locked_trial(storage, trial_id) as row:
        held = row.state == TrialState.RUNNING and bool(row.read(_OWNER) == _this_process())
        if held:
            row.write(**(attributes or {}))
            if state is not None:
                row.become(state, values)
        return held


def write_held(storage: Storage, trial_id: int, attributes: Mapping[str, Any]) -> bool:
    """Set user attributes if the trial is still this process's; whether it is."""
    return finish(storage, trial_id, None, attributes=attributes)


def give_back(storage: Storage, trial_id: int) -> bool:
    """Return a trial to the queue if it is this process's; whether it was."""
    return finish(storage, trial_id, TrialState.WAITING, attributes=_NOBODYS)


def give_back_abandoned(storage: Storage, study_id: int) -> int:
    """Return running trials whose process is gone to the queue; how many there were.

    A process of this machine is gone when none that lives has its number and starting time,
    however long it sleeps; one of another machine when its heartbeat stops.
    """
    given_back = 0
    with storage_errors(storage.engine.url):
        stale = internals.stale_trials(storage, study_id)
        for seen in storage.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,)):
            seen_id, owner = internals.trial_id(seen), seen.user_attrs.get(_OWNER)
            if not _is_gone(owner, seen_id in stale):
                continue
            with locked_trial(storage, seen_id) as row:
                # Unless it has changed hands since it was seen.
                same = row.state == TrialState.RUNNING and row.started == seen.datetime_start
                if same and row.read(_OWNER) == owner:
                    row.write(**_NOBODYS)
                    row.become(TrialState.WAITING)
                    given_back += 1
    return given_back


@contextmanager
def heartbeat(storage: Storage, trial_ids: Sequence[int]) -> Iterator[None]:
    """Go on with the heartbeats that `claim` began, from a thread, as long as the block runs."""
    stopped = threading.Event()

    def beat() -> None:
        while not stopped.wait(internals.HEARTBEAT_SECONDS):
            # A storage that fails here fails in the trial's own thread too, which reports it.
            with suppress(SQLAlchemyError, optuna.exceptions.StorageInternalError):
                for trial_id in trial_ids:
                    storage.record_heartbeat(trial_id)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _is_gone(owner: Any, stale: bool) -> bool:
    pid = owner.get("pid") if isinstance(owner, dict) else None
    if not isinstance(pid, int) or pid <= 0 or owner.get("machine") != _machine():
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
    parts += [boot.read_text().strip()] if boot.exists() else []
    parts += [str(space.readlink())] if space.is_symlink() else []
    return "/".join(parts)

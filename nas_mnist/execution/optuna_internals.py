"""All that this package uses of Optuna beyond its public interface, in one file.

`tests/execution/test_optuna_internals.py` holds Optuna to it.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.orm import Session

HEARTBEAT_SECONDS = 15
"""A running trial's sign of life; one that misses four is taken to be dead."""
NO_TABLES = "version_info"
"""what the error names when a database lacks Optuna's tables"""
_FIXED_POINT = "fixed_params"


class Storage(_CachedStorage):
    """A relational storage, which records heartbeats, behind Optuna's cache of finished trials;
    with `create`, Optuna's tables are made if they are missing."""

    def __init__(self, url: str, engine_kwargs: dict[str, Any], *, create: bool) -> None:
        beats = {"heartbeat_interval": HEARTBEAT_SECONDS, "grace_period": 4 * HEARTBEAT_SECONDS}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            own: Any = {"skip_table_creation": not create, **beats}
            backend = RDBStorage(url, engine_kwargs, **own)
        super().__init__(backend)
        self.engine: sqlalchemy.Engine = backend.engine


def study_id(study: optuna.Study) -> int:
    return study._study_id


def trial_id(trial: FrozenTrial) -> int:
    """Its id in the storage; numbers count within a study."""
    return trial._trial_id


def open_trial(study: optuna.Study, trial_id: int) -> Trial:
    """A trial that runs, to be sampled."""
    return Trial(study, trial_id)


def fix_point(storage: Storage, trial_id: int, values: Mapping[str, Any]) -> None:
    """Let a trial have these values where it is sampled, unless it has some already."""
    if _FIXED_POINT not in storage.get_trial(trial_id).system_attrs:
        storage.set_trial_system_attr(trial_id, _FIXED_POINT, dict(values))


def stale_trials(storage: Storage, study_id: int) -> set[int]:
    """Ids of running trials whose heartbeat has stopped."""
    # Optuna's public fail_stale_trials would end them as failed, and start other numbers.
    return set(storage._get_stale_trial_ids(study_id))


def forget_artifact(study: optuna.Study, storage: Storage, artifact: str) -> None:
    """Take an artifact off a study's list, as the dashboard does when its user deletes it."""
    storage.set_study_system_attr(study_id(study), f"artifacts:{artifact}", json.dumps(None))


def store_figure(storage: Storage, study_id: int, name: str, figure: str) -> None:
    """Store a figure in plotly's JSON for the dashboard, in one piece: its own function stores
    pieces of 2,045 characters one after another, and who reads meanwhile joins new with old."""
    pieces = f"dashboard:plot_data:{name}:"
    storage.set_study_system_attr(study_id, f"{pieces}0", figure)
    for key, piece in storage.get_study_system_attrs(study_id).items():
        if key.startswith(pieces) and key != f"{pieces}0" and piece:
            storage.set_study_system_attr(study_id, key, "")


def describe_study(
    storage: Storage, study_id: int, attributes: Mapping[str, Any], unless: str
) -> None:
    """Set a study's user attributes, all or none: none if it has the one called `unless`."""
    with _transaction(storage) as session:
        study = models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
        if models.StudyUserAttributeModel.find_by_study_and_key(study, unless, session) is not None:
            return
        for name, value in attributes.items():
            row = models.StudyUserAttributeModel.find_by_study_and_key(study, name, session)
            row = row or models.StudyUserAttributeModel(study_id=study_id, key=name)
            row.value_json = json.dumps(value)
            session.add(row)


def add_waiting(storage: Storage, study_id: int, most: int, total: int) -> int:
    """Add up to `most` waiting trials to a study, and no more than make `total`; how many.

    Optuna counts a study's trials and adds one in two steps, and gives a number twice once a
    trial has been deleted.
    """
    own: dict[str, Any] = {"study_id": study_id}
    with _transaction(storage) as session:
        models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
        numbers = [n for (n,) in session.query(models.TrialModel.number).filter_by(**own)]
        first = max(numbers, default=-1) + 1
        added = range(first, first + max(0, min(most, total - len(numbers))))
        session.add_all(models.TrialModel(**own, number=n, state=TrialState.WAITING) for n in added)
    return len(added)


class TrialRow(NamedTuple):
    """A trial's row in the database, as a transaction found it that nobody else changes it in."""

    session: Session
    trial: models.TrialModel
    state: TrialState
    started: datetime | None

    def become(self, state: TrialState, values: Sequence[float] = ()) -> None:
        """Start the trial, return it to the queue, or end it with these values. What it had of an
        earlier end, which someone has undone by hand, is gone."""
        self.session.query(models.TrialValueModel).filter_by(trial_id=self.trial.trial_id).delete()
        for objective, value in enumerate(values):
            stored, kind = models.TrialValueModel.value_to_stored_repr(value)
            own = {"trial_id": self.trial.trial_id, "objective": objective}
            self.session.add(models.TrialValueModel(**own, value=stored, value_type=kind))
        self.trial.state = state
        if state == TrialState.RUNNING:
            self.trial.datetime_start = datetime.now()
        self.trial.datetime_complete = datetime.now() if state.is_finished() else None

    def read(self, name: str) -> Any:
        """A user attribute; None if there is none."""
        found = self._find(name)
        return None if found is None else json.loads(str(found.value_json))

    def write(self, **attributes: Any) -> None:
        """Set user attributes."""
        for name, value in attributes.items():
            row = self._find(name)
            row = row or models.TrialUserAttributeModel(trial_id=self.trial.trial_id, key=name)
            row.value_json = json.dumps(value)
            self.session.add(row)

    def _find(self, name: str) -> models.TrialUserAttributeModel | None:
        return models.TrialUserAttributeModel.find_by_trial_and_key(self.trial, name, self.session)


@contextmanager
def locked_trial(storage: Storage, trial_id: int) -> Iterator[TrialRow]:
    """One transaction on a trial. Optuna's storages compare and set nothing but "waiting" with
    "running"."""
    with _transaction(storage) as session:
        trial = models.TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
        state: Any = trial.state
        yield TrialRow(session, trial, state, trial.datetime_start)


@contextmanager
def _transaction(storage: Storage) -> Iterator[Session]:
    with Session(storage.engine) as session, session.begin():
        if storage.engine.dialect.name == "sqlite":
            # SQLite locks no rows: take its one lock before reading, not at the first write.
            session.connection().exec_driver_sql("BEGIN IMMEDIATE")
        yield session

"""All that this package uses of Optuna beyond its public interface, in one file.

`tests/execution/test_optuna_internals.py` holds Optuna to it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import (
    StudyModel,
    StudyUserAttributeModel,
    TrialModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore as ArtifactStore

_FIXED_POINT = "fixed_params"
_ARTIFACT = "artifacts:"
_NO_STUDIES = "version_info"

AnyTrial: TypeAlias = FrozenTrial | Trial


class Storage(_CachedStorage):
    """A relational storage, which records heartbeats, behind Optuna's cache of finished trials."""

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self.engine: sqlalchemy.Engine = backend.engine


def make_storage(
    url: str, engine_kwargs: Mapping[str, Any], *, heartbeat: int, grace: int, create: bool
) -> Storage:
    """The storage at that URL; `heartbeat` and `grace` in seconds, `create`: its tables too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return Storage(
            RDBStorage(
                url,
                engine_kwargs=dict(engine_kwargs),
                heartbeat_interval=heartbeat,
                grace_period=grace,
                skip_table_creation=not create,
            )
        )


def has_no_tables(error: BaseException) -> bool:
    """Whether a storage could not be opened for want of Optuna's tables."""
    return _NO_STUDIES in str(error)


def study_id(study: optuna.Study) -> int:
    return study._study_id


def trial_id(trial: AnyTrial) -> int:
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
    """Ids of running trials whose heartbeat has stopped.

    Optuna's public fail_stale_trials would end them as failed, and start other numbers.
    """
    return set(storage._get_stale_trial_ids(study_id))


def forget_artifact(study: optuna.Study, storage: Storage, artifact: str) -> None:
    """Take an artifact off a study's list, as the dashboard does when its user deletes it."""
    storage.set_study_system_attr(study_id(study), f"{_ARTIFACT}{artifact}", json.dumps(None))


def describe_study(
    storage: Storage, study_id: int, attributes: Mapping[str, Any], unless: str
) -> None:
    """Set a study's user attributes, all or none: none if it has the one called `unless`."""
    with _transaction(storage) as session:
        study = StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
        if StudyUserAttributeModel.find_by_study_and_key(study, unless, session) is not None:
            return
        for name, value in attributes.items():
            row = StudyUserAttributeModel.find_by_study_and_key(study, name, session)
            row = row or StudyUserAttributeModel(study_id=study_id, key=name)
            row.value_json = json.dumps(value)
            session.add(row)


def add_waiting(storage: Storage, study_id: int, most: int, total: int) -> int:
    """Add up to `most` waiting trials to a study, and no more than make `total`; how many.

    Optuna counts a study's trials and adds one in two steps, and gives a number twice once a
    trial has been deleted.
    """
    with _transaction(storage) as session:
        StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
        rows = session.query(TrialModel.number).filter(TrialModel.study_id == study_id)
        numbers = [number for (number,) in rows]
        first = max(numbers, default=-1) + 1
        added = range(first, first + max(0, min(most, total - len(numbers))))
        for number in added:
            row = TrialModel(study_id=study_id, number=number, state=TrialState.WAITING)
            session.add(row)
    return len(added)


class TrialRow(NamedTuple):
    """A trial's row in the database, in a transaction that nobody else changes it in."""

    session: Session
    trial: TrialModel

    @property
    def state(self) -> TrialState:
        return self.trial.state  # type: ignore[return-value]

    @property
    def started(self) -> datetime | None:
        return self.trial.datetime_start

    def start(self) -> None:
        self.trial.state = TrialState.RUNNING
        self.trial.datetime_start = datetime.now()

    def wait(self) -> None:
        self.trial.state = TrialState.WAITING

    def finish(self, state: TrialState, values: Sequence[float] | None) -> None:
        for objective, value in enumerate(values or ()):
            stored, kind = TrialValueModel.value_to_stored_repr(value)
            row = TrialValueModel(
                trial_id=self.trial.trial_id, objective=objective, value=stored, value_type=kind
            )
            self.session.add(row)
        self.trial.state = state
        self.trial.datetime_complete = datetime.now()

    def read(self, name: str) -> Any:
        """A user attribute; None if there is none."""
        found = self._find(name)
        return None if found is None else json.loads(str(found.value_json))

    def write(self, name: str, value: Any) -> None:
        """Set a user attribute."""
        found = self._find(name)
        if found is None:
            found = TrialUserAttributeModel(trial_id=self.trial.trial_id, key=name)
            self.session.add(found)
        found.value_json = json.dumps(value)

    def _find(self, name: str) -> TrialUserAttributeModel | None:
        return TrialUserAttributeModel.find_by_trial_and_key(self.trial, name, self.session)


@contextmanager
def locked_trial(storage: Storage, trial_id: int) -> Iterator[TrialRow]:
    """One transaction on a trial. Optuna's storages compare and set nothing but "waiting" with
    "running"."""
    with _transaction(storage) as session:
        yield TrialRow(session, TrialModel.find_or_raise_by_id(trial_id, session, for_update=True))


@contextmanager
def _transaction(storage: Storage) -> Iterator[Session]:
    with Session(storage.engine) as session, session.begin():
        if storage.engine.dialect.name == "sqlite":
            # SQLite locks no rows: take its one lock before reading, not at the first write.
            session.connection().exec_driver_sql("BEGIN IMMEDIATE")
        yield session

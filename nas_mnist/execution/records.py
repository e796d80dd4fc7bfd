"""A study as its storage has it: read safely, whoever's database it is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas_mnist.errors import ArchitectureError, RequestError, StudyError
from nas_mnist.execution.optuna_internals import Storage, study_id
from nas_mnist.execution.spec import (
    ASKED,
    AUTO,
    CONFIG,
    CONFIRMATION,
    SearchConfig,
    StudySpec,
)
from nas_mnist.execution.store import open_storage, shown, storage_errors
from nas_mnist.networks.architecture import Architecture, format_notation, parse_notation
from nas_mnist.search.front import front_indices

# What studies of every version have in their configuration.
_ASKED_LAST = "asked"
"""user attribute of a study: what of ASKED was last asked of it, unless as when it was made"""
_ALWAYS = {"dataset", "budget", "epochs", "train_samples", "seed", "pruner", "recipe"}


class Counts(NamedTuple):
    """Trials by how they ended; `failed` are networks that diverged."""

    complete: int
    pruned: int
    failed: int
    running: int
    waiting: int
    """in the queue: not begun, or returned to it"""

    @property
    def finished(self) -> int:
        return self.complete + self.pruned + self.failed


def counts_of(trials: Iterable[FrozenTrial]) -> Counts:
    """The trials by how they ended."""
    states = [trial.state for trial in trials]
    return Counts(
        complete=states.count(TrialState.COMPLETE),
        pruned=states.count(TrialState.PRUNED),
        failed=states.count(TrialState.FAIL),
        running=states.count(TrialState.RUNNING),
        waiting=states.count(TrialState.WAITING),
    )


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A completed trial."""

    number: int
    architecture: Architecture
    val_accuracy: float
    """percent, final epoch: what the search maximized"""
    test_accuracy: float
    """percent, measured once after the final epoch; nothing was chosen by it"""
    seed: int
    peak_learning_rate: float
    curve: tuple[dict[str, float], ...]
    """one record an epoch: epoch, learning_rate, train_loss, train_accuracy, val_accuracy,
    seconds"""
    weights: str
    """id in the artifact store"""
    finished: str
    """date of completion, ISO 8601"""

    @property
    def notation(self) -> str:
        return format_notation(self.architecture)


@dataclass(frozen=True)
class StudyRecord:
    """An existing study, as its storage has it now."""

    study: optuna.Study
    storage: Storage
    url: str
    artifact_dir: str
    """folder of the weights, as the user says; "" for where `search` keeps them"""
    spec: StudySpec
    versions: dict[str, str]
    """of Python and the packages that made it"""
    normalization: tuple[float, float]
    """mean and standard deviation of the training pixels, as shares of full brightness"""

    @classmethod
    def load(cls, name: str, url: str, artifact_dir: str = "") -> Self:
        """An existing study, by its name, its database and, if they are not where `search` keeps
        them, the folder of its weights.

        Raises:
            StorageError: if the database does not answer.
            StudyError: if there is no such study in it.
        """
        storage = open_storage(url, create=False)
        with storage_errors(url):
            names = [summary.study_name for summary in storage.get_all_studies()]
            if name not in names:
                names = [known for known in names if not known.endswith(CONFIRMATION)]
                known = f"; it has {', '.join(map(repr, sorted(names)))}" if names else ""
                raise StudyError(f"no study {name!r} in this storage{known}")
            study = optuna.load_study(study_name=name, storage=storage)
            return cls.read(study, storage, url, artifact_dir)

    @classmethod
    def read(cls, study: optuna.Study, storage: Storage, url: str, artifact_dir: str) -> Self:
        """The study's record, checked: the database may be anyone's."""
        attrs = study.user_attrs
        try:
            mean, std = map(float, attrs["normalization"])
            if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
                raise ValueError("normalization")
            stored = attrs[CONFIG]
            # What an earlier version kept of the machine that ran it is not read.
            if not _ALWAYS <= stored.keys() <= SearchConfig.model_fields.keys():
                raise ValueError("config")
            settings = {name: stored[name] for name in StudySpec.model_fields if name in stored}
            settings.setdefault("precision", _recorded_precision(study))
            settings |= {name: attrs[_ASKED_LAST][name] for name in ASKED if _ASKED_LAST in attrs}
            versions = {str(name): str(text) for name, text in attrs["versions"].items()}
            spec = StudySpec(**settings)
            return cls(study, storage, url, artifact_dir, spec, versions, (mean, std))
        except (KeyError, TypeError, ValueError, AttributeError, RequestError):
            raise StudyError(
                f"study {study.study_name!r} was not made by nas-mnist search, or by another "
                "version"
            ) from None

    @property
    def name(self) -> str:
        return self.study.study_name

    @property
    def study_id(self) -> int:
        return study_id(self.study)

    def ask(self, **asked: Any) -> Self:
        """The study with other settings of ASKED, which it remembers."""
        before = {name: getattr(self.spec, name) for name in ASKED}
        if before | asked == before:
            return self
        with storage_errors(self.url):
            self.study.set_user_attr(_ASKED_LAST, before | asked)
        return self.read(self.study, self.storage, self.url, self.artifact_dir)

    def request(self, **machine: Any) -> SearchConfig:
        """A request for this study, run as `machine` says: the fields that SearchConfig adds."""
        where = {"study": self.name, "storage": self.url, "artifact_dir": self.artifact_dir}
        return SearchConfig(**{**self.spec.as_dict(), **where, **machine})

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Optuna's own records of the trials, by number; all if no state is given."""
        with storage_errors(self.url):
            return self.study.get_trials(deepcopy=False, states=states or None)

    def counts(self) -> Counts:
        return counts_of(self.trials())

    def complete(self) -> list[TrialRecord]:
        """All completed trials, by number."""
        return [_record(trial) for trial in self._kept()]

    def front(self) -> list[TrialRecord]:
        """The trials that no other beats in size and accuracy, from the fewest parameters up."""
        trials = self._kept()
        points = [_point(trial) for trial in trials]
        # Of thousands of trials only the front's are read whole.
        return [_record(trials[index]) for index in front_indices(points)]

    def _kept(self) -> list[FrozenTrial]:
        """The completed trials with weights. Versions before 0.2 could complete a trial in the
        moment that it was handed to another process, which cleared its weights."""
        trials = self.trials(TrialState.COMPLETE)
        return [trial for trial in trials if trial.user_attrs.get("weights") is not None]

    def trial(self, number: int) -> TrialRecord:
        """A completed trial and its weights; StudyError if there is none of this number."""
        for record in self.complete():
            if record.number == number:
                return record
        if any(trial.number == number for trial in self.trials(TrialState.COMPLETE)):
            raise StudyError(
                f"trial {number} of study {self.name!r} lost its weights to another process, as "
                "versions before 0.2 allowed; it is not shown"
            )
        raise StudyError(
            f"study {self.name!r} has no completed trial {number}; `front {self.name}` lists the "
            "front's"
        )

    def architecture(self, number: int) -> Architecture:
        """The network of any trial that has begun; StudyError if there is none of this number."""
        for trial in self.trials():
            if trial.number == number and "notation" in trial.user_attrs:
                return parse_notation(str(trial.user_attrs["notation"]))
        raise StudyError(f"study {self.name!r} has no network of a trial {number}")


load_study = StudyRecord.load


def load_studies(url: str, artifact_dir: str = "") -> list[StudyRecord]:
    """All searches of a storage, by name; StudyError if there is none."""
    storage = open_storage(url, create=False)
    records = []
    with storage_errors(url):
        for summary in sorted(storage.get_all_studies(), key=lambda found: found.study_name):
            study = optuna.load_study(study_name=summary.study_name, storage=storage)
            with suppress(StudyError):  # another tool's, or a confirmation
                records.append(StudyRecord.read(study, storage, url, artifact_dir))
    if not records:
        raise StudyError(f"storage {shown(url)}: there are no studies of nas-mnist in it")
    return records


def _recorded_precision(study: optuna.Study) -> str:
    """That of a study's trials, for a study made before it was kept as a setting."""
    for trial in study.get_trials(deepcopy=False):
        if "precision" in trial.user_attrs:
            return str(trial.user_attrs["precision"])
    return AUTO


def _point(trial: FrozenTrial) -> tuple[int, float]:
    """Parameters, and validation accuracy in percent."""
    try:
        parameters, accuracy = trial.values
        return int(parameters), percent(accuracy)
    except (TypeError, ValueError, OverflowError) as error:
        raise _no_record(trial, error) from None


def _no_record(trial: FrozenTrial, error: Exception) -> StudyError:
    return StudyError(f"trial {trial.number}: not a record of nas-mnist ({error})")


def _record(trial: FrozenTrial) -> TrialRecord:
    """A trial's record, read from a database that may be anyone's."""
    attrs = trial.user_attrs
    try:
        architecture = parse_notation(str(attrs["notation"]))
        if architecture.parameters != trial.values[0]:
            raise ValueError(f"{trial.values[0]:g} parameters")
        return TrialRecord(
            number=trial.number,
            architecture=architecture,
            val_accuracy=percent(trial.values[1]),
            test_accuracy=percent(attrs["test_accuracy"]),
            seed=int(attrs["seed"]),
            peak_learning_rate=float(trial.params["peak_learning_rate"]),
            curve=tuple(attrs["curve"]),
            weights=str(attrs["weights"]["artifact"]),
            finished=finished(trial),
        )
    except (KeyError, TypeError, ValueError, OverflowError, ArchitectureError) as error:
        raise _no_record(trial, error) from None


def finished(trial: FrozenTrial) -> str:
    """Date and time at which the trial ended, ISO 8601."""
    ended = trial.datetime_complete
    return ended.isoformat(timespec="seconds") if ended else ""


def percent(value: Any) -> float:
    """An accuracy from a database; ValueError outside 0 to 100."""
    number = float(value)
    if not 0 <= number <= 100:
        raise ValueError(f"accuracy {number}")
    return number

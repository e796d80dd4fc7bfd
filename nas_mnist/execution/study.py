"""The study record: made or continued by a search, read by everything else."""

from __future__ import annotations

import math
import platform
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import Any, NamedTuple

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_mnist.errors import ArchitectureError, RequestError, StudyError
from nas_mnist.execution.artifacts import Weights
from nas_mnist.execution.spec import CONFIRMATION, IDENTITY, SearchConfig
from nas_mnist.execution.store import Storage, open_storage, shown, storage_errors
from nas_mnist.networks.architecture import Architecture
from nas_mnist.networks.notation import format_notation, parse_notation
from nas_mnist.search.front import front_places
from nas_mnist.search.space import first_points, space_version

OBJECTIVES = ("parameters", "val_accuracy")
DIRECTIONS = (StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE)
# Every process reads a trial that has not ended again and again: only so many wait at a time,
# not a search's thousands.
_QUEUED = 16
FIRST = "first"
"""user attribute of a study: points of the space for its first trials, by their numbers"""
_PACKAGES = ("nas-mnist", "torch", "torchvision", "optuna")


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


def counts_of(trials: Sequence[FrozenTrial]) -> Counts:
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
    weights: Weights
    finished: str
    """date of completion, ISO 8601"""

    @property
    def notation(self) -> str:
        return format_notation(self.architecture)


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """An existing study, as its storage has it now."""

    study: optuna.Study
    storage: Storage
    url: str
    config: SearchConfig
    """what the study was made with, but for the storage's password"""
    versions: dict[str, str]
    """of Python and the packages that made it"""
    normalization: tuple[float, float]
    """mean and standard deviation of the training pixels, as shares of full brightness"""

    @property
    def name(self) -> str:
        return self.study.study_name

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Optuna's own records of the trials, by number; all if no state is given."""
        with storage_errors(self.url):
            return self.study.get_trials(deepcopy=False, states=states or None)

    def counts(self) -> Counts:
        return counts_of(self.trials())

    def complete(self) -> list[TrialRecord]:
        """All completed trials, by number."""
        return [_record(trial) for trial in self.trials(TrialState.COMPLETE)]

    def front(self) -> list[TrialRecord]:
        """The study's `best_trials`, from the fewest parameters up."""
        trials = self.trials(TrialState.COMPLETE)
        points = [_point(trial) for trial in trials]
        # Of thousands of trials only the front's are read whole.
        return [_record(trials[place]) for place in front_places(points)]

    def trial(self, number: int) -> TrialRecord:
        """A completed trial; StudyError if there is none of this number."""
        for record in self.complete():
            if record.number == number:
                return record
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


def make_study(
    config: SearchConfig,
    normalization: tuple[float, float],
    first: Sequence[dict[str, Any]] | None = None,
) -> StudyRecord:
    """The study of this request, made or continued, with trials in its queue.

    `normalization` is the mean and standard deviation of the dataset's training pixels, which
    an exported network needs. `first` are points of the space for the first trials,
    `first_points` unless given; the sampler draws the others. Raises StudyError if a study
    of this name was made under other settings.
    """
    storage = open_storage(config.storage, create=True)
    with storage_errors(config.storage):
        try:
            study = optuna.create_study(
                study_name=config.study, storage=storage, directions=list(DIRECTIONS)
            )
        except DuplicatedStudyError:
            study = optuna.load_study(study_name=config.study, storage=storage)
        # A search makes its trials last: whoever sees one finds the rest of the study there.
        used = len(study.get_trials(deepcopy=False)) > 0
        if "config" not in study.user_attrs:
            if used:
                raise StudyError(
                    f"study {study.study_name!r} was not made by nas-mnist search; choose another "
                    "--study"
                )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(list(OBJECTIVES))
            study.set_user_attr("versions", _versions())
            study.set_user_attr("split_seed", config.seed)
            study.set_user_attr("normalization", list(normalization))
            study.set_user_attr("space", space_version())
            study.set_user_attr(FIRST, first_points(config.budget))
            # Last: a study with a configuration is a whole one.
            stored = {**config.as_dict(), "storage": shown(config.storage)}
            study.set_user_attr("config", stored)
        record = _open_record(study, storage, config.storage)
        _check_identity(record, config)
        if first is not None:
            study.set_user_attr(FIRST, list(first))
    fill_queue(record, config)
    return record


def fill_queue(record: StudyRecord, config: SearchConfig) -> int:
    """Keep some of the study's total of trials waiting for workers; how many there are now.

    Searches that do so at the same instant make more; those beyond the total are never run.
    """
    with storage_errors(record.url):
        trials = record.study.get_trials(deepcopy=False)
        waiting = sum(
            trial.state == TrialState.WAITING and trial.number < config.trials for trial in trials
        )
        ahead = _QUEUED + 2 * config.workers - waiting
        missing = max(0, min(config.trials - len(trials), ahead))
        for _ in range(missing):
            record.study.add_trial(create_trial(state=TrialState.WAITING))
    return waiting + missing


def load_study(name: str, url: str) -> StudyRecord:
    """An existing study. Raises StorageError or StudyError if there is none."""
    storage = open_storage(url, create=False)
    with storage_errors(url):
        names = [summary.study_name for summary in storage.get_all_studies()]
        if name not in names:
            names = [known for known in names if not known.endswith(CONFIRMATION)]
            known = f"; it has {', '.join(map(repr, sorted(names)))}" if names else ""
            raise StudyError(f"no study {name!r} in this storage{known}")
        study = optuna.load_study(study_name=name, storage=storage)
        return _open_record(study, storage, url)


def load_studies(url: str) -> list[StudyRecord]:
    """All searches of a storage, by name; StudyError if there is none."""
    storage = open_storage(url, create=False)
    records = []
    with storage_errors(url):
        for summary in sorted(storage.get_all_studies(), key=lambda found: found.study_name):
            study = optuna.load_study(study_name=summary.study_name, storage=storage)
            with suppress(StudyError):  # another tool's, or a confirmation
                records.append(_open_record(study, storage, url))
    if not records:
        raise StudyError(f"storage {shown(url)}: there are no studies of nas-mnist in it")
    return records


def _open_record(study: optuna.Study, storage: Storage, url: str) -> StudyRecord:
    """The study's record, checked: the database may be anyone's."""
    attrs = study.user_attrs
    try:
        mean, std = map(float, attrs["normalization"])
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise ValueError("normalization")
        # A study made before a setting existed has its default.
        known = {item.name for item in fields(SearchConfig)}
        if not set(IDENTITY) <= attrs["config"].keys() <= known:
            raise ValueError("config")
        return StudyRecord(
            study,
            storage,
            url,
            config=SearchConfig(**attrs["config"]),
            versions={str(name): str(text) for name, text in attrs["versions"].items()},
            normalization=(mean, std),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RequestError):
        raise StudyError(
            f"study {study.study_name!r} was not made by nas-mnist search, or by another version"
        ) from None


def _check_identity(record: StudyRecord, config: SearchConfig) -> None:
    made = record.config.identity()
    for name, asked in config.identity().items():
        if made[name] != asked:
            flag = name.replace("_", "-")
            before, now = _first_difference(made[name], asked)
            raise StudyError(
                f"study {record.name!r} was made with {flag} {before}, not {now}; give the same "
                f"--{flag} to continue it, or another --study"
            )
    if record.study.user_attrs.get("space") != space_version():
        raise StudyError(
            f"study {record.name!r} was made in another version's search space "
            f"(nas-mnist {record.versions.get('nas-mnist')!r}); choose another --study"
        )


def _first_difference(before: Any, now: Any) -> tuple[str, str]:
    """Two settings as text; of two tables, their first entry that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            if name not in before:  # another version's
                return f"without {name}", f"{name}={now[name]}"
            if name not in now:
                return f"{name}={before[name]}", f"without {name}"
            if before[name] != now[name]:
                old, new = _first_difference(before[name], now[name])
                joint = "." if isinstance(before[name], dict) else "="
                return f"{name}{joint}{old}", f"{name}{joint}{new}"
    return ("all" if before is None else str(before), "all" if now is None else str(now))


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
            weights=Weights.of(attrs["weights"]),
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


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}

"""A study as its storage has it, read safely, whoever's database it is."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas_mnist.errors import ArchitectureError, OthersError, RequestError, StorageError, StudyError
from nas_mnist.execution import spec
from nas_mnist.execution.optuna_internals import Storage, study_id, trial_id
from nas_mnist.execution.spec import SearchConfig, StudySpec, parse_url
from nas_mnist.execution.store import open_storage, shown, storage_errors
from nas_mnist.networks.architecture import Architecture, format_notation, parse_notation
from nas_mnist.search.front import front_indices

_ASKED_LAST = "asked"
"""user attribute of a study: what of ASKED was last asked of it, unless as when it was made"""
TIME = "%Y-%m-%dT%H:%M:%S"
# What studies of every version have in their configuration.
_ALWAYS = {"dataset", "budget", "epochs", "train_samples", "seed", "pruner", "recipe"}
# What comes of reading values that are not as they are written here.
_NONSENSE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RequestError)
# In the order of Counts.
_STATES = [TrialState[name] for name in ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")]


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
    return Counts(*map([trial.state for trial in trials].count, _STATES))


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A completed trial; its accuracies in percent, after the final epoch."""

    number: int
    architecture: Architecture
    val_accuracy: float
    test_accuracy: float
    """measured once; nothing was chosen by it"""
    seed: int
    peak_learning_rate: float
    curve: tuple[dict[str, float], ...] = field(repr=False)
    """one record an epoch: epoch, learning_rate, train_loss, train_accuracy, val_accuracy, ..."""
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
    class_names: tuple[str, ...] = ()
    """of class 0, 1, ...; none if they have but numbers"""

    @classmethod
    def load(cls, name: str, url: str, artifact_dir: str = "") -> Self:
        """An existing study; StudyError if the storage has none of that name."""
        storage = open_storage(url, create=False)
        with storage_errors(url):
            names = optuna.get_all_study_names(storage)
            if name not in names:
                names = [known for known in names if not known.endswith(spec.BESIDE)]
                said = f"no study {name!r} in {parse_url(url).database}"
                if not names:
                    raise StudyError(said)
                known, where = ", ".join(map(repr, sorted(names))), f"--storage {shown(url)}"
                raise OthersError(f"{said}; it has {known}: name a study of it with {where}")
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
            stored, asked = attrs[spec.CONFIG], attrs.get(_ASKED_LAST)
            # What an earlier version kept of the machine that ran it is not read.
            if not _ALWAYS <= stored.keys() <= SearchConfig.model_fields.keys():
                raise ValueError("config")
            settings = {name: stored[name] for name in StudySpec.model_fields if name in stored}
            if "precision" not in settings:  # made before it was one: that of its trials
                known = (trial.user_attrs.get("precision") for trial in study.get_trials(False))
                settings["precision"] = next(filter(None, known), spec.AUTO)
            settings |= {name: asked[name] for name in spec.ASKED if asked is not None}
            versions = {str(name): str(text) for name, text in attrs["versions"].items()}
            own, names = StudySpec(**settings), tuple(map(str, attrs.get("class_names", ())))
            if names and len(names) != own.classes:
                raise ValueError("class_names")
            return cls(study, storage, url, artifact_dir, own, versions, (mean, std), names)
        except _NONSENSE:
            made = "was not made by nas-mnist search, or by another version"
            raise StudyError(f"study {study.study_name!r} {made}") from None

    @property
    def name(self) -> str:
        return self.study.study_name

    @property
    def study_id(self) -> int:
        return study_id(self.study)

    def ask(self, **asked: Any) -> Self:
        """The study with other settings of ASKED, which it remembers."""
        before = {name: getattr(self.spec, name) for name in spec.ASKED}
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
        return [_record(self.name, trial) for trial in self._kept()]

    def points(self) -> dict[int, tuple[int, float]]:
        """Parameters, and validation accuracy in percent, of all completed trials, by number.
        StorageError if one is damaged."""
        return {trial.number: _point(self.name, trial) for trial in self._kept()}

    def runs_beside(self, ending: str) -> tuple[list[FrozenTrial], dict[str, Any]]:
        """The trials of the study beside this one whose name has that ending, and its attributes;
        none before it is made."""
        with storage_errors(self.url):
            try:
                found = self.storage.get_study_id_from_name(self.name + ending)
            except KeyError:
                return [], {}
            trials = self.storage.get_all_trials(found, deepcopy=False)
            return trials, self.storage.get_study_user_attrs(found)

    def study_beside(self, ending: str) -> optuna.Study:
        """That study, which is made if it is missing; an accuracy is its objective."""
        own: dict[str, Any] = {"direction": StudyDirection.MAXIMIZE, "load_if_exists": True}
        with storage_errors(self.url):
            return optuna.create_study(study_name=self.name + ending, storage=self.storage, **own)

    def mean_seconds(self) -> float:
        """Of a completed trial; 0 if there is none."""
        taken = [trial.duration for trial in self.trials(TrialState.COMPLETE)]
        seconds = [duration.total_seconds() for duration in taken if duration is not None]
        return sum(seconds) / len(seconds) if seconds else 0.0

    def check(self) -> None:
        """StorageError if a completed trial is damaged: of those that no other beats the whole."""
        points = self.points()
        numbers = [*points]
        self.records([numbers[index] for index in front_indices([*points.values()])])

    def records(self, numbers: Sequence[int]) -> list[TrialRecord]:
        """Completed trials by their numbers, in that order: of thousands, few are read whole."""
        kept = {trial.number: trial for trial in self._kept()}
        return [_record(self.name, kept[number]) for number in numbers]

    def _kept(self) -> list[FrozenTrial]:
        """The completed trials with weights. Versions before 0.2 could complete a trial in the
        moment that it was handed to another process, which cleared its weights."""
        trials = self.trials(TrialState.COMPLETE)
        return [trial for trial in trials if trial.user_attrs.get("weights") is not None]

    def trial(self, number: int) -> TrialRecord:
        """A completed trial and its weights; StudyError if there is none of this number."""
        found = [trial for trial in self.trials(TrialState.COMPLETE) if trial.number == number]
        if not found:
            others = f"`front {self.name}` lists the front's"
            raise StudyError(f"study {self.name!r} has no completed trial {number}; {others}")
        if found[0].user_attrs.get("weights") is None:
            lost = "lost its weights to another process, as versions before 0.2 allowed"
            raise StudyError(f"trial {number} of study {self.name!r} {lost}; it is not shown")
        return _record(self.name, found[0])

    def begun(self, number: int) -> FrozenTrial:
        """Any trial that has a network; StudyError if there is none of this number."""
        for trial in self.trials():
            if trial.number == number and "notation" in trial.user_attrs:
                return trial
        raise StudyError(f"study {self.name!r} has no network of a trial {number}")


load_study = StudyRecord.load


def load_studies(url: str, artifact_dir: str = "") -> list[StudyRecord]:
    """All searches of a storage, by name; StudyError if there is none."""
    storage = open_storage(url, create=False)
    records = []
    with storage_errors(url):
        for name in sorted(optuna.get_all_study_names(storage)):
            study = optuna.load_study(study_name=name, storage=storage)
            with suppress(StudyError):  # another tool's, or a confirmation
                records.append(StudyRecord.read(study, storage, url, artifact_dir))
    if not records:
        raise StudyError(f"storage {shown(url)}: there are no studies of nas-mnist in it")
    return records


@contextmanager
def reading(study: str, trial: FrozenTrial, part: str) -> Iterator[None]:
    """Tell of a part of a trial that is not there, or is nonsense, as StorageError."""
    try:
        yield
    except _NONSENSE as error:
        said = f"study {study!r}, trial {trial.number}: its {part} is missing or damaged"
        again = f"UPDATE trials SET state = 'WAITING' WHERE trial_id = {trial_id(trial)}"
        way_out = f"restore a copy of the database, or let search run the trial again, by `{again}`"
        if isinstance(error, ArchitectureError):
            way_out = f"if it has layers of your own, add --plugin MODULE; else {way_out}"
        raise StorageError(f"{said}; {way_out}") from None


def _point(study: str, trial: FrozenTrial) -> tuple[int, float]:
    """Parameters, and validation accuracy in percent."""
    with reading(study, trial, "pair of values"):
        parameters, accuracy = trial.values
        return int(parameters), percent(accuracy)


def _record(study: str, trial: FrozenTrial) -> TrialRecord:
    attrs = trial.user_attrs
    parameters, accuracy = _point(study, trial)
    with reading(study, trial, "notation"):
        architecture = parse_notation(str(attrs["notation"]))
        if architecture.parameters != parameters:
            raise ValueError(parameters)
    with reading(study, trial, "peak_learning_rate"):
        rate = float(trial.params["peak_learning_rate"])
    with reading(study, trial, "date of completion"):
        finished = f"{trial.datetime_complete:{TIME}}"
    own: dict[str, Any] = {"test_accuracy": percent, "seed": int, "curve": tuple}
    own["weights"] = lambda kept: str(kept["artifact"])
    for part, read in own.items():
        with reading(study, trial, part):
            own[part] = read(attrs[part])
    own |= {"val_accuracy": accuracy, "peak_learning_rate": rate, "finished": finished}
    return TrialRecord(number=trial.number, architecture=architecture, **own)


def percent(value: Any) -> float:
    """An accuracy from a database; ValueError outside 0 to 100."""
    number = float(value)
    if not 0 <= number <= 100:
        raise ValueError(f"accuracy {number}")
    return number

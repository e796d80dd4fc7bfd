"""Studies made or continued, and trials put into their queues."""

import platform
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from math import isclose
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from nas_mnist.errors import OthersError, StudyError
from nas_mnist.execution import spec
from nas_mnist.execution.confirmation import RunKey, confirmation_rows
from nas_mnist.execution.optuna_internals import add_waiting, describe_study, study_id
from nas_mnist.execution.records import StudyRecord, TrialRecord, load_study
from nas_mnist.execution.spec import SearchConfig, StudySpec, resolve_config
from nas_mnist.execution.store import open_storage, storage_errors
from nas_mnist.search.space import find_space

DIRECTIONS = (StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE)
"""of a search's objectives: parameters and validation accuracy"""
FIRST = "first"
"""user attribute of a study: points of the space for its first trials, by their numbers"""
# Every process reads a trial that has not ended again and again: only so many wait at a time,
# not a search's thousands.
_QUEUED = 16
# Settings whose defaults have changed: the command that made a study goes on with it.
_AS_MADE = ("pruner",)
# The options that say a setting, where they are not called as it is.
_FLAGS = {"limits": "limit", "classes": "dataset and --data-dir"}
# What a setting that is None means, where it is not all.
_UNSET = {"smallest": "a tenth of the budget"}
_PACKAGES = ("nas-mnist", "torch", "torchvision", "optuna")


def make_study(
    config: SearchConfig,
    normalization: tuple[float, float],
    first: Sequence[dict[str, Any]] | None = None,
    precision: str = spec.AUTO,
    class_names: Sequence[str] = (),
) -> StudyRecord:
    """The study of this request, made or continued, with trials in its queue. StudyError if a
    study of this name was made under other settings.

    `first` are points of the space for the first trials, `Space.first_points` unless given;
    `precision` is a new study's unless the request names one; `class_names` tell its images apart.
    """
    space = find_space(config.space, config.classes)
    sized = space.from_size(config.smallest, config.budget)
    storage = open_storage(config.storage, create=True)
    with storage_errors(config.storage):
        own: dict[str, Any] = {"directions": list(DIRECTIONS), "load_if_exists": True}
        study = optuna.create_study(study_name=config.study, storage=storage, **own)
        # A search makes its trials last: whoever sees one finds the rest of the study there.
        used = bool(study.get_trials(deepcopy=False))
        if spec.CONFIG not in study.user_attrs:
            if used:
                said = "was not made by nas-mnist search; choose another --study"
                raise StudyError(f"study {study.study_name!r} {said}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(["parameters", "val_accuracy"])
            settings = config.spec().as_dict()
            if config.precision == spec.AUTO:
                settings["precision"] = precision
            own_versions = {name: version(name) for name in _PACKAGES}
            description = {
                **{spec.CONFIG: settings, "split_seed": config.seed, "space": space.version()},
                "versions": {"python": platform.python_version(), **own_versions},
                "normalization": list(normalization),
                "class_names": list(class_names),
                FIRST: sized.first_points(config.limit()),
            }
            # Of several that make the study at once, one describes it, and all read that back.
            describe_study(storage, study_id(study), description, unless=spec.CONFIG)
        record = StudyRecord.read(study, storage, config.storage, config.artifact_dir)
        check_identity(record, config)
        check_images(record, normalization, class_names)
        if first is not None:
            study.set_user_attr(FIRST, list(first))
        record = record.ask(**{name: getattr(config, name) for name in spec.ASKED})
    record.check()  # a damaged trial is told before anything is queued
    fill_queue(record, config)
    return record


def resolve_request(preset: Path | None, overrides: Mapping[str, Any]) -> SearchConfig:
    """`resolve_config`, and a study that exists says what is not given: one that is named says
    all that it was made with, another what was last asked of it."""
    config = resolve_config(preset, overrides)
    try:
        stored = load_study(config.study, config.storage).spec.as_dict()
    except StudyError as error:  # there is none yet; or it is not ours, and `make_study` says so
        if isinstance(error, OthersError) and "storage" not in config.model_fields_set:
            raise  # a file that was moved or renamed, or that is another program's
        return config
    if "study" not in config.model_fields_set:
        stored = {name: stored[name] for name in (*spec.ASKED, *_AS_MADE)}
    return resolve_config(preset, overrides, stored)


def fill_queue(record: StudyRecord, config: SearchConfig) -> int:
    """Keep some of the study's total of trials waiting for workers; how many there are now."""
    trials = record.trials()
    waiting = sum(trial.state == TrialState.WAITING for trial in trials[: config.trials])
    most = _QUEUED + (1 + config.pack) * config.workers
    missing = min(config.trials - len(trials), most - waiting)
    with storage_errors(record.url):
        if missing > 0:
            waiting += add_waiting(record.storage, record.study_id, missing, config.trials)
    return waiting


def queue_confirmation(record: StudyRecord, wanted: Mapping[RunKey, TrialRecord]) -> int:
    """The id of the confirmation's study, with a trial for every run that is wanted."""
    study = record.study_beside(spec.CONFIRMATION)
    with storage_errors(record.url):
        study.set_user_attr("confirms", record.name)
        have = confirmation_rows(record)
        for key, trial in wanted.items():
            if key not in have:
                attrs: dict[str, Any] = {"trial": key[0], "seed": key[1], "images": key[2]}
                attrs |= {"notation": trial.notation, "parameters": trial.architecture.parameters}
                attrs |= {"peak_learning_rate": trial.peak_learning_rate}
                study.add_trial(create_trial(state=TrialState.WAITING, user_attrs=attrs))
        return study_id(study)


def check_identity(record: StudyRecord, config: SearchConfig) -> None:
    """Raise StudyError, which names the first difference, unless the request is the study's."""
    for name in StudySpec.model_fields:
        made, asked = getattr(record.spec, name), getattr(config, name)
        free = name in spec.ASKED or (name == "precision" and spec.AUTO in (made, asked))
        if made != asked and not free:
            thing, unset = name.replace("_", "-"), _UNSET.get(name, "all")
            before, now = _first_difference(made, asked, unset)
            same = "leave out" if made in (None, {}) else "give the same"
            way_out = f"{same} --{_FLAGS.get(name, thing)} to continue it, or name another --study"
            said = f"study {record.name!r} was made with {thing} {before}, not {now}"
            raise StudyError(f"{said}; {way_out}")
    if not find_space(config.space, config.classes).accepts(record.study.user_attrs.get("space")):
        made = f"another version's search space (nas-mnist {record.versions.get('nas-mnist')!r})"
        raise StudyError(f"study {record.name!r} was made in {made}; choose another --study")


def check_images(
    record: StudyRecord, normalization: tuple[float, float], class_names: Sequence[str]
) -> None:
    """Raise StudyError unless images of this normalization and of these classes are those that the
    study was made on."""
    same = all(map(isclose, normalization, record.normalization))  # sums differ by machines
    renamed = record.class_names and record.class_names != tuple(class_names)
    if renamed or not same:
        said = f"study {record.name!r} was made on other images of {record.spec.dataset}"
        raise StudyError(f"{said}; give the same --data-dir, or name another --study")


def _first_difference(before: Any, now: Any, unset: str = "all") -> tuple[str, str]:
    """Two settings as text, None as `unset`; of two tables, their first entry that differs."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return (unset if before is None else str(before), unset if now is None else str(now))
    if not before:
        return "none", ", ".join(f"{name}={value}" for name, value in now.items())
    name = next(name for name in {**before, **now} if before.get(name, ...) != now.get(name, ...))
    if name not in before:  # another version's
        return f"without {name}", f"{name}={now[name]}"
    if name not in now:
        return f"{name}={before[name]}", f"without {name}"
    old, new = _first_difference(before[name], now[name])
    joint = "." if isinstance(before[name], dict) else "="
    return f"{name}{joint}{old}", f"{name}{joint}{new}"

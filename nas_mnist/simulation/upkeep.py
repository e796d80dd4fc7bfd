"""What a trial costs beside its training in a study of many: storage and sampling, measured."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import optuna
import torch
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import Trial, TrialState
from sqlalchemy import Engine, insert
from sqlalchemy.orm import Session

from nas_mnist.execution.queue import claim, finish, first_waiting, give_back_abandoned
from nas_mnist.execution.running_trial import RunningTrial
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.execution.study import StudyRecord, counts_of, fill_queue, load_study, make_study
from nas_mnist.networks.notation import format_notation
from nas_mnist.search.pruner import make_pruner
from nas_mnist.search.sampler import SAMPLER, SearchSampler
from nas_mnist.search.space import SPACE, sample_of, suggest
from nas_mnist.simulation.curves import drawn_points
from nas_mnist.training.epochs import EpochRecord

MEASURED = 5
"""trials that are measured"""

_NORMALIZATION = (0.0, 1.0)

T = TypeVar("T")


class Upkeep(NamedTuple):
    """Seconds that a study of so many finished trials costs a process."""

    trials: int
    resume: float
    """from the request to trials that wait for workers"""
    front: float
    """to open the study and find its front"""
    poll: float
    """to look how far it is, as a search does twice a second"""
    claim: float
    """to take a trial; medians from here on"""
    sample: float
    """to draw its point and describe it"""
    epochs: float
    """to write its curve after each of its epochs, and to judge it at every rung"""

    @property
    def trial(self) -> float:
        """Of one trial that runs to its end."""
        return self.claim + self.sample + self.epochs


def measure_upkeep(folder: Path, finished: int) -> Upkeep:
    """Make a study with so many finished trials, none of them trained, in a new SQLite file of
    the folder, and use it.

    Their points are random, their accuracies grow with size; one half is completed, the other
    stopped at a rung, as pruning leaves them.
    """
    one = SearchConfig(study="upkeep", storage=f"sqlite:///{folder}/upkeep.db", trials=1)
    record = make_study(one, _NORMALIZATION)
    rows = _Rows(record.study._study_id, one)
    for number, point in enumerate(drawn_points(finished, 0), start=1):
        rows.add(number, point)
    rows.write(record.storage.engine)
    config = replace(one, trials=1 + finished + MEASURED)

    def poll() -> None:
        give_back_abandoned(record.storage, record.study._study_id)
        counts_of(record.trials())
        fill_queue(record, config)

    resume, record = _timed(lambda: make_study(config, _NORMALIZATION))
    front, _ = _timed(lambda: load_study(config.study, config.storage).front())
    polled, _ = _timed(poll)
    trials = [_trial(record, config) for _ in range(MEASURED)]
    medians = [statistics.median(costs) for costs in zip(*trials, strict=True)]
    return Upkeep(finished, resume, front, polled, *medians)


def _trial(record: StudyRecord, config: SearchConfig) -> tuple[float, float, float]:
    """Seconds to take, to sample and to record a trial that is trained in no time."""
    storage, study_id = record.storage, record.study._study_id
    pruner = make_pruner(config.pruner, config.epochs, 10_000)

    claimed, trial_id = _timed(lambda: claim(storage, study_id, first_waiting(config.trials)))
    assert trial_id is not None
    taken = trial_id

    def sample() -> RunningTrial:
        sampler = SearchSampler(SAMPLER, config.seed, config.budget)
        study = optuna.load_study(study_name=config.study, storage=storage, sampler=sampler)
        trial = Trial(study, taken)
        return RunningTrial(storage, trial, suggest(trial), config, torch.float32)

    def record_epochs() -> None:
        for epoch in range(1, config.epochs + 1):
            # So accurate that no rung stops it.
            running.go_on(EpochRecord(epoch, 0.1, 0.1, 99.0, 99.99, 1.0), pruner)

    sampled, running = _timed(sample)
    written, _ = _timed(record_epochs)
    values = [float(running.architecture.parameters), 99.0]
    finish(storage, taken, TrialState.COMPLETE, values)
    return claimed, sampled, written


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


class _Rows:
    """Trials as rows of Optuna's tables."""

    def __init__(self, study_id: int, config: SearchConfig) -> None:
        self._study_id = study_id
        self._config = config
        self._rungs = make_pruner("dominance", config.epochs, 10_000).rungs
        self._chance = random.Random(0)
        self._tables: dict[Any, list[dict[str, Any]]] = {}

    def add(self, number: int, point: dict[str, Any]) -> None:
        """A finished trial of that number, which must be the storage's next."""
        trial, now = {"trial_id": number + 1}, datetime.now()
        complete = self._chance.random() < 0.5
        architecture = sample_of(point).architecture(self._config.budget)
        accuracy = 100 - 100 * architecture.parameters**-0.5 * self._chance.uniform(0.5, 2)
        self._put(
            models.TrialModel,
            {
                **trial,
                "number": number,
                "study_id": self._study_id,
                "state": TrialState.COMPLETE if complete else TrialState.PRUNED,
                "_datetime_start_utc": now,
                "_datetime_complete_utc": now,
            },
        )
        for name, distribution in SPACE.items():
            parameter = {
                "param_name": name,
                "param_value": distribution.to_internal_repr(point[name]),
                "distribution_json": distribution_to_json(distribution),
            }
            self._put(models.TrialParamModel, {**trial, **parameter})
        epochs = self._config.epochs if complete else self._chance.choice(self._rungs)
        attributes = {
            "notation": format_notation(architecture),
            "parameters": architecture.parameters,
            "macs": architecture.macs,
            "receptive_field": architecture.receptive_field,
            "seed": number,
            "precision": "float32",
            "exempt": False,
            "curve": [
                EpochRecord(epoch, 0.1, 0.1, accuracy, accuracy, 20.0).entry("val_accuracy")
                for epoch in range(1, epochs + 1)
            ],
        }
        if complete:
            weights = {"artifact": "none", "artifact_dir": ""}
            attributes |= {"test_accuracy": accuracy, "weights": weights}
            for place, value in enumerate((architecture.parameters, accuracy)):
                row = {"objective": place, "value": value, "value_type": "FINITE"}
                self._put(models.TrialValueModel, {**trial, **row})
        for name, content in attributes.items():
            row = {"key": name, "value_json": json.dumps(content)}
            self._put(models.TrialUserAttributeModel, {**trial, **row})

    def write(self, engine: Engine) -> None:
        """All at once: one by one Optuna takes minutes for thousands."""
        with Session(engine) as session, session.begin():
            for table, rows in self._tables.items():
                session.execute(insert(table), rows)

    def _put(self, table: Any, row: dict[str, Any]) -> None:
        self._tables.setdefault(table, []).append(row)

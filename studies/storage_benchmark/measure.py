"""What a trial costs beside its training in a study of many: storage and sampling, measured.

python studies/storage_benchmark/measure.py 200 1000 5000
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Engine, insert
from sqlalchemy.orm import Session

from nas_mnist.execution import estimates
from nas_mnist.execution.creation import fill_queue, make_study
from nas_mnist.execution.jobs import SearchJob
from nas_mnist.execution.queue import finish, give_back_abandoned
from nas_mnist.execution.records import counts_of, load_study
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.networks.architecture import format_notation
from nas_mnist.search.pruner import make_pruner
from nas_mnist.search.space import DEFAULT
from nas_mnist.training.trainer import EpochRecord

MEASURED = 5
"""trials that are measured"""

_NORMALIZATION = (0.0, 1.0)

T = TypeVar("T")


class StudyCost(NamedTuple):
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


def measure(folder: Path, finished: int) -> StudyCost:
    """Make a study with so many finished trials, none of them trained, in a new SQLite file of
    the folder, and use it.

    Their points are random, their accuracies grow with size; one half is completed, the other
    stopped at a rung, as pruning leaves them.
    """
    one = SearchConfig(
        dataset="digits", study="costs", storage=f"sqlite:///{folder}/costs.db", trials=1
    )
    record = make_study(one, _NORMALIZATION)
    rows = _Rows(record.study_id, one)
    for number, point in enumerate(_points(finished), start=1):
        rows.add(number, point)
    rows.write(record.storage.engine)
    config = one.changed(trials=1 + finished + MEASURED)

    def poll() -> None:
        give_back_abandoned(record.storage, record.study_id)
        counts_of(record.trials())
        fill_queue(record, config)

    resume, record = _timed(lambda: make_study(config, _NORMALIZATION))
    front, _ = _timed(lambda: estimates.front(load_study(config.study, config.storage)))
    polled, _ = _timed(poll)
    job = SearchJob(config, lambda: None)
    trials = [_trial(job) for _ in range(MEASURED)]
    medians = [statistics.median(costs) for costs in zip(*trials, strict=True)]
    return StudyCost(finished, resume, front, polled, *medians)


def _trial(job: SearchJob) -> tuple[float, float, float]:
    """Seconds to take, to sample and to record a trial that is trained in no time."""
    claimed, (trial_id,) = _timed(job.take)

    def record_epochs() -> None:
        for epoch in range(1, job.config.epochs + 1):
            # So accurate that no rung stops it.
            job.go_on(run, EpochRecord(epoch, 0.1, 0.1, 99.0, 99.99, 1.0))

    sampled, run = _timed(lambda: job.begin(trial_id, None))
    written, _ = _timed(record_epochs)
    values = [run.member.architecture.parameters, 99.0]
    finish(job.storage, trial_id, TrialState.COMPLETE, values)
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
        architecture = DEFAULT.decode(point, self._config.limit())
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
        for name, distribution in DEFAULT.distributions.items():
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
            weights = {"artifact": "none"}
            attributes |= {"test_accuracy": accuracy, "weights": weights}
            for index, value in enumerate((architecture.parameters, accuracy)):
                row = {"objective": index, "value": value, "value_type": "FINITE"}
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


def _points(count: int) -> list[dict[str, Any]]:
    """Random points of the space."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [dict(study.ask(DEFAULT.distributions).params) for _ in range(count)]


def main() -> None:
    """Measure studies of each size, and print their costs as JSON."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("trials", type=int, nargs="+", help="trials of a study")
    sizes = parser.parse_args().trials
    if min(sizes) < 1:
        parser.exit(2, f"error: a study of {min(sizes)} trials cannot be measured\n")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    measured = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            cost = measure(Path(folder), size)
        values = {**cost._asdict(), "trial": cost.trial}
        measured.append({name: round(value, 3) for name, value in values.items()})
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()

"""A whole search: its study, and how far its workers are."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from optuna.trial import TrialState

from nas_mnist.execution.launcher import Engine, LocalEngine
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.execution.study import Counts, StudyRecord, counts_of, fill_queue, make_study
from nas_mnist.execution.supervisor import Workers, supervise
from nas_mnist.search.front import front_places


class Progress(NamedTuple):
    """How far a search is."""

    counts: Counts
    total: int
    seconds: float
    """since this run of the command began"""
    seconds_left: float | None
    """by this run's pace; None until a trial has finished in it"""
    best: list[tuple[int, float]]
    """the front so far: parameters, and validation accuracy in percent"""

    @property
    def steps(self) -> int:
        return self.counts.finished

    @property
    def done(self) -> bool:
        return self.counts.finished >= self.total


def prepare_search(
    config: SearchConfig,
    first: Sequence[dict[str, Any]] | None = None,
    engine: Engine | None = None,
) -> StudyRecord:
    """Check all that the workers will need, then make or continue the study.

    What is wrong with data or device is said before anything is made. `first`: see
    `make_study`; `engine`: this machine, unless given.
    """
    (engine or LocalEngine()).check(config)
    from nas_mnist.training.datasets import load_dataset, split_dataset

    dataset = load_dataset(config.dataset, Path(config.data_dir) if config.data_dir else None)
    split_dataset(dataset, config.seed, config.train_samples)
    return make_study(config, dataset.normalization, first)


def run_search(
    record: StudyRecord, config: SearchConfig, engine: Engine | None = None
) -> Generator[Progress]:
    """Run the study's trials to their total, with a Progress about twice a second.

    Trials that another search of this study is running are waited for. Closing the iterator
    stops the workers; their trials go back to the queue. Raises the first error of a worker
    once all have ended and trials still wait. `engine`: this machine, unless given.
    """
    done_before = record.counts().finished

    return supervise(
        record.storage,
        record.study._study_id,
        Workers(engine or LocalEngine(), config, "search"),
        lambda seconds: _progress(record, config, done_before, seconds),
        lambda: fill_queue(record, config),
    )


def _progress(
    record: StudyRecord, config: SearchConfig, done_before: int, seconds: float
) -> Progress:
    trials = record.trials()
    counts = counts_of(trials)
    done = counts.finished - done_before
    left = max(0, config.trials - counts.finished)
    points = [
        (int(trial.values[0]), trial.values[1])
        for trial in trials
        if trial.state == TrialState.COMPLETE
    ]
    return Progress(
        counts=counts,
        total=config.trials,
        seconds=seconds,
        seconds_left=seconds / done * left if done else None,
        best=[points[place] for place in front_places(points)],
    )

"""Replay the unpruned runs of studies, and of a table of recorded curves, under every pruner.

python studies/pruner_simulation/replay_studies.py results/mnist-8k-plain/study.db results/curves/mnist-8000.csv -o replay.csv
"""  # noqa: E501

from __future__ import annotations

import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import optuna
import pandas as pd
from curves import read_table
from figures import write_frame
from optuna.trial import TrialState
from replay import REFERENCE_ACCURACY
from rich.console import Console
from rich.table import Table
from script import Parser, at_least, run

from nas_mnist.errors import DataError
from nas_mnist.execution.records import StudyRecord, load_studies
from nas_mnist.report import writing
from nas_mnist.search.front import front_indices, hypervolume
from nas_mnist.search.posterior import Network, Observation, Posterior
from nas_mnist.search.prediction import PredictionPruner
from nas_mnist.search.pruner import (
    EXEMPT_SHARE,
    DominancePruner,
    LearningCurve,
    Pruner,
    PruneReason,
    QuantilePruner,
    make_pruner,
    scaled_rungs,
)
from nas_mnist.search.space import DEFAULT
from nas_mnist.training.datasets import load_dataset, split_dataset

_CATCH_UPS = (0.8, 0.5, 0.3, 0.2, 0.15, 0.0)
_DEVIATIONS = (0.25, 0.5, 0.75, 1.0, 1.5)
_DRAWS = 200  # of the posterior, for the error of a front


class Runs(NamedTuple):
    """Runs to their end, in the order in which they were begun."""

    name: str
    budget: int
    epochs: int
    validation_images: int
    curves: list[LearningCurve]
    notations: list[str]


@dataclass(frozen=True, slots=True)
class ParetoRankPruner:
    """The rule of OptunaHub's `multi_metric_pruner` (2026) over Optuna's MedianPruner: at each rung
    all trials are ranked by non-domination of (parameters, error there). It stops a trial whose
    best rank so far is above the median of the others' here. Left out: which of equal rank comes
    first, by its share of the hypervolume."""

    rungs: tuple[int, ...]
    least: int = 5

    def stop(self, curve: LearningCurve, rivals: Iterable[LearningCurve]) -> PruneReason | None:
        rivals, epoch, best = list(rivals), len(curve.accuracies), float("inf")
        others: list[int] = []
        for rung in (rung for rung in self.rungs if rung <= epoch):
            there = [rival for rival in rivals if len(rival.accuracies) >= rung]
            *others, own = _ranks(
                [(one.parameters, 100 - one.accuracies[rung - 1]) for one in (*there, curve)]
            )
            best = min(best, own or -1)
        if epoch not in self.rungs or len(rivals) < self.least or not others:
            return None
        behind = best > statistics.median(others)
        return PruneReason(epoch, curve.accuracies[-1], 100.0, None) if behind else None


def _ranks(points: Sequence[tuple[float, float]]) -> list[int]:
    """0 for those that no other dominates, 1 for those that only such dominate, and so on."""
    values = np.array(points)
    no_worse = (values[:, None] <= values[None]).all(2)
    dominates = no_worse & (values[:, None] < values[None]).any(2)
    ranks, left, rank = np.zeros(len(values), int), np.ones(len(values), bool), 0
    while left.any():
        best = left & ~dominates[left].any(0)
        ranks[best] = rank
        left, rank = left & ~best, rank + 1
    return [int(own) for own in ranks]


class Truth:
    """What the posterior of all runs says of each network."""

    def __init__(self, runs: Runs) -> None:
        networks = [
            Network(notation, DEFAULT.point(curve.point), curve.parameters)
            for notation, curve in zip(runs.notations, runs.curves, strict=True)
        ]
        finals = [curve.accuracies[-1] for curve in runs.curves]
        self._reference = 2 * runs.budget, REFERENCE_ACCURACY
        self._sizes = [curve.parameters for curve in runs.curves]
        observed = [Observation(*one) for one in zip(networks, finals, strict=True)]
        posterior = Posterior(observed, DEFAULT.distributions)
        self.means = [estimate.mean for estimate in posterior.estimates(networks)]
        self.front = front_indices(list(zip(self._sizes, self.means, strict=True)))
        self.whole = self.hypervolume(range(len(networks)))
        means, covariance = posterior.moments([networks[index] for index in self.front])
        errors = np.random.default_rng(0).multivariate_normal(means, covariance, _DRAWS)
        sizes = [self._sizes[index] for index in self.front]
        draws = [zip(sizes, 100 - np.exp(drawn), strict=True) for drawn in errors]
        areas = [hypervolume(drawn, self._reference) for drawn in draws]
        self.error = 100 * statistics.stdev(areas) / self.whole

    def hypervolume(self, kept: Iterable[int]) -> float:
        """Of these networks' posterior means."""
        points = [(self._sizes[index], self.means[index]) for index in kept]
        return hypervolume(points, self._reference)


class Outcome(NamedTuple):
    """Of one order; percentages, and points of accuracy."""

    epochs: float
    hypervolume: float
    winner: float
    spared: int
    wrongful: int


def replay(runs: Runs, truth: Truth, pruner: Pruner, seed: int | None) -> Outcome:
    """All runs in an order of their own for each seed; in that of the study for None."""
    draws = Random(seed or 0)
    count = range(len(runs.curves))
    order = list(count) if seed is None else draws.sample(count, len(count))
    before: list[LearningCurve] = []
    kept, spared = [], set()
    for index in order:
        exempt = draws.random() < EXEMPT_SHARE
        full = runs.curves[index]
        stops = (rung for rung in pruner.rungs if pruner.stop(_until(full, rung), before))
        epoch = next(stops, runs.epochs)
        if epoch < runs.epochs and exempt:
            spared.add(index)
            epoch = runs.epochs
        before.append(_until(full, epoch))
        if epoch == runs.epochs:
            kept.append(index)
    spent = sum(len(curve.accuracies) for curve in before)
    return Outcome(
        100 * spent / (len(runs.curves) * runs.epochs),
        100 * truth.hypervolume(kept) / truth.whole,
        max(truth.means) - max(truth.means[index] for index in kept),
        len(spared),
        len(spared & set(truth.front)),
    )


def _until(full: LearningCurve, epoch: int) -> LearningCurve:
    return full._replace(accuracies=full.accuracies[:epoch])


def rules(runs: Runs) -> Iterator[tuple[str, float | None, Pruner]]:
    """Name, setting and pruner of all that are compared."""
    epochs, images = runs.epochs, runs.validation_images
    rungs = scaled_rungs(epochs)
    yield "none", None, QuantilePruner(())
    for catch_up in _CATCH_UPS:
        yield "dominance", catch_up, DominancePruner(epochs, images, catch_up=catch_up)
    before = DominancePruner(epochs, images)
    for deviations in _DEVIATIONS:
        yield "prediction", deviations, PredictionPruner(epochs, before, deviations)
    yield "pareto-rank", None, ParetoRankPruner(rungs)
    yield "median", None, QuantilePruner(rungs)
    yield "one-epoch", None, QuantilePruner(rungs[:1])


def compare(runs: Runs, orders: int) -> pd.DataFrame:
    """A row a rule and setting (`catch_up` of dominance, `deviations` of prediction): shares of the
    epochs and of the posterior front's hypervolume (whose own error is `front_error`), and what the
    most accurate network lost, over so many random orders, and in the study's own (`real_`)."""
    truth, rows = Truth(runs), []
    for name, setting, pruner in rules(runs):
        found = [replay(runs, truth, pruner, seed) for seed in range(orders)]
        epochs, kept, winner, spared, wrongful = map(list, zip(*found, strict=True))
        real = replay(runs, truth, pruner, None)
        rows.append(
            {
                **{"study": runs.name, "runs": len(runs.curves), "front": len(truth.front)},
                **{"front_error": truth.error, "pruner": name, "setting": setting},
                "default": name != "pareto-rank"
                and pruner == make_pruner(name, runs.epochs, runs.validation_images),
                **{"orders": orders, "epochs": statistics.fmean(epochs)},
                "epochs_sd": statistics.stdev(epochs),
                "hypervolume": statistics.fmean(kept),
                "hypervolume_sd": statistics.stdev(kept),
                **{"hypervolume_min": min(kept), "winner_loss": statistics.fmean(winner)},
                **{"winner_loss_max": max(winner), "spared": sum(spared)},
                **{"wrongful": sum(wrongful), "real_epochs": real.epochs},
                **{"real_hypervolume": real.hypervolume, "real_winner_loss": real.winner},
            }
        )
    return pd.DataFrame(rows)


def shown(rows: pd.DataFrame) -> Table:
    """The rows of one study."""
    first = rows.iloc[0]
    title = f"{first.study}: {first.runs} runs; the front's own error is {first.front_error:.2f} %"
    table = Table(title=title, title_justify="left")
    heads = ("pruner", "epochs %", "hypervolume %", "least", "winner", "wrongful", "real order")
    for head in heads:
        table.add_column(head, justify="left" if head == "pruner" else "right")
    for row in rows.itertuples():
        setting = "" if pd.isna(row.setting) else f" {row.setting:g}"
        table.add_row(
            f"{row.pruner}{setting}{' *' if row.default else ''}",
            f"{row.epochs:.1f} ± {row.epochs_sd:.1f}",
            f"{row.hypervolume:.2f} ± {row.hypervolume_sd:.2f}",
            f"{row.hypervolume_min:.2f}",
            f"{row.winner_loss:.3f} to {row.winner_loss_max:.3f}",
            f"{row.wrongful} of {row.spared}",
            f"{row.real_epochs:.1f}: {row.real_hypervolume:.2f}",
        )
    return table


def read(file: Path) -> list[Runs]:
    """The studies of a database, or a table of curves. Neither is written to."""
    if file.suffix == ".csv":
        return [_of_table(file)]
    with loaded(file) as records:
        return [_of_study(record) for record in records]


@contextmanager
def loaded(file: Path) -> Iterator[list[StudyRecord]]:
    """The studies of a copy of a database."""
    if not file.is_file():
        raise DataError(f"{file}: No such file")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "study.db"
        try:
            with (
                closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as source,
                closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
        except sqlite3.Error as error:
            raise DataError(f"{file}: {error}") from None
        yield load_studies(f"sqlite:///{copy}")


def _of_study(record: StudyRecord) -> Runs:
    trials = [trial for trial in record.trials(TrialState.COMPLETE) if trial.user_attrs["curve"]]
    curves = [
        LearningCurve(
            trial.number,
            trial.user_attrs["parameters"],
            [entry["val_accuracy"] for entry in trial.user_attrs["curve"]],
            trial.params,
        )
        for trial in trials
    ]
    notations = [trial.user_attrs["notation"] for trial in trials]
    spec = record.spec
    _, validation = split_dataset(load_dataset(spec.dataset), spec.seed, spec.train_samples)
    return Runs(record.name, spec.budget, spec.epochs, len(validation), curves, notations)


def _of_table(file: Path) -> Runs:
    table = read_table(file)
    rows = table.runs.to_dict("records")
    curves = [
        LearningCurve(
            number,
            int(row["parameters"]),
            [float(row[column]) for column in table.accuracy_columns],
            {name: row[name] for name in DEFAULT.distributions if name in row},
        )
        for number, row in enumerate(rows)
    ]
    notations = [row["notation"] for row in rows]
    return Runs(file.stem, table.budget, table.epochs, table.validation_images, curves, notations)


def main() -> None:
    """Replay, and write one table."""
    parser = Parser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("files", type=Path, nargs="+", help="SQLite files of studies, or tables")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the table, .csv")
    parser.add_argument("--orders", type=at_least(2), default=20, help="random orders of the runs")
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    frames = []
    for runs in [runs for file in asked.files for runs in read(file)]:
        frames.append(compare(runs, asked.orders))
        Console(width=120).print(shown(frames[-1]))
    with writing(asked.output):
        write_frame(pd.concat(frames), asked.output)
    print(f"wrote {asked.output}", file=sys.stderr)


if __name__ == "__main__":
    run(main)

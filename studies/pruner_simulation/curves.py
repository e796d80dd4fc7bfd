"""A table of recorded curves: networks drawn at random, trained to the end, nothing pruned.

It is recorded as a study of its own, by the search's own workers, and kept as a small CSV file
whose first line says under which settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState

from nas_mnist.errors import DataError, NasMnistError, reason
from nas_mnist.execution.records import StudyRecord
from nas_mnist.networks.architecture import parse_notation
from nas_mnist.networks.layers import CLASSES
from nas_mnist.search.space import DEFAULT

# A surrogate and its noise can be fitted on that many.
LEAST_NETWORKS = 6
# Of every five networks the first is trained with two seeds: the noise between seeds.
_REPLICATED = 5
# What reading and checking a file of another kind raises.
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_CONFIG = ("dataset", "budget", "epochs", "train_samples", "seed", "recipe")


class Curve(NamedTuple):
    """A run: accuracies in percent."""

    validation: list[float]
    """after each epoch"""
    test: float
    """after the last"""


class Network(NamedTuple):
    """A recorded network: one run, or one for each of two seeds."""

    parameters: int
    curves: list[Curve]


@dataclass(frozen=True, slots=True)
class CurveTable:
    """Recorded curves, one row a run.

    Columns of `runs`: `trial`, `seed`, `notation`, `parameters`, `macs`, `receptive_field`, the
    search space's parameters by name, `val_1` to `val_<epochs>` and `test_accuracy` in percent.
    """

    settings: dict[str, Any]
    runs: pd.DataFrame

    @property
    def budget(self) -> int:
        return int(self.settings["budget"])

    @property
    def epochs(self) -> int:
        return int(self.settings["epochs"])

    @property
    def validation_images(self) -> int:
        return int(self.settings["validation_images"])

    @property
    def accuracy_columns(self) -> list[str]:
        return [f"val_{epoch}" for epoch in range(1, self.epochs + 1)]

    def networks(self) -> list[Network]:
        """The recorded networks, in the order of the table."""
        networks: dict[str, Network] = {}
        for row in self.runs.to_dict("records"):
            network = networks.setdefault(row["notation"], Network(int(row["parameters"]), []))
            accuracies = [float(row[column]) for column in self.accuracy_columns]
            network.curves.append(Curve(accuracies, float(row["test_accuracy"])))
        return list(networks.values())


def runs_of(networks: int) -> int:
    """Runs in which that many networks are recorded, the replicated ones twice."""
    return networks + -(-networks // _REPLICATED)


def drawn_points(runs: int, seed: int) -> list[dict[str, Any]]:
    """Points of the search space for that many runs; more runs go on where fewer end."""
    return list(islice(_points(seed), runs))


def _points(seed: int) -> Iterator[dict[str, Any]]:
    """Random points, but for `fill`, which is spread evenly over its (log-scaled) range."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    network = 0
    while True:
        point = dict(study.ask(DEFAULT.distributions).params)
        point["fill"] = DEFAULT.spread_fill(seed, network)
        yield point
        if network % _REPLICATED == 0:
            yield point
        network += 1


def table_of(record: StudyRecord, validation_images: int) -> CurveTable:
    """The completed runs of a study without pruning."""
    settings = {name: getattr(record.spec, name) for name in _CONFIG}
    settings |= {"validation_images": validation_images, "versions": record.versions}
    rows = []
    for trial in record.trials(TrialState.COMPLETE):
        attrs = trial.user_attrs
        row: dict[str, Any] = {"trial": trial.number}
        for name in ("seed", "notation", "parameters", "macs", "receptive_field"):
            row[name] = attrs[name]
        row |= {
            name: round(value, 6) if isinstance(value, float) else value
            for name, value in trial.params.items()
        }
        row |= {f"val_{entry['epoch']}": entry["val_accuracy"] for entry in attrs["curve"]}
        row["test_accuracy"] = attrs["test_accuracy"]
        rows.append(row)
    return CurveTable(settings, pd.DataFrame(rows))


def write_table(table: CurveTable, file: Path) -> None:
    """Write the table as CSV, its settings before it as a line of JSON."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        stream.write(f"# {json.dumps(table.settings)}\n")
        table.runs.to_csv(stream, index=False, lineterminator="\n")


def read_table(file: Path) -> CurveTable:
    """A table that `write_table` wrote. Raises DataError for any other file, and for a table too
    small to simulate from."""
    try:
        with file.open(encoding="utf-8") as stream:
            settings = json.loads(stream.readline().removeprefix("# "))
            table = CurveTable(settings, pd.read_csv(stream))
        _check_settings(table)
        _check_runs(table)
    except OSError as error:
        raise DataError(f"{file}: {reason(error)}") from None
    except (NasMnistError, *_DAMAGE) as error:
        said = " ".join(str(error).split())
        raise DataError(
            f"{file}: not a table of curves ({said}); record_curves.py makes one"
        ) from None
    networks = table.networks()
    twice = sum(len(network.curves) > 1 for network in networks)
    if len(networks) < LEAST_NETWORKS or twice < 2:
        raise DataError(
            f"{file}: {len(networks)} networks, {twice} of them with two seeds, are too few to "
            f"simulate from; record at least {LEAST_NETWORKS}"
        )
    if table.runs["test_accuracy"].max() <= 100 / CLASSES:
        raise DataError(f"{file}: no network learned anything; record others")
    return table


def _check_settings(table: CurveTable) -> None:
    for name, most in (("budget", 10**9), ("epochs", 10**4), ("validation_images", 10**9)):
        value = table.settings[name]
        if type(value) is not int or not 1 <= value <= most:
            raise ValueError(f"{name} {value!r}")


def _check_runs(table: CurveTable) -> None:
    runs = table.runs
    # A choice that came later than the table has no column in it, and its default.
    needed = [
        "peak_learning_rate",
        "parameters",
        "macs",
        "receptive_field",
        "notation",
        "test_accuracy",
    ]
    missing = set(needed + table.accuracy_columns) - set(runs.columns)
    if missing or runs.empty:
        raise ValueError(", ".join(sorted(missing)) or "no runs")
    if not isinstance(runs.index, pd.RangeIndex):
        raise ValueError("more fields than columns")
    for name in [*table.accuracy_columns, "test_accuracy"]:
        if not runs[name].astype(float).between(0, 100).all():
            raise ValueError(f"{name} is not within 0 to 100")
    for row in runs.to_dict("records"):
        parameters = parse_notation(str(row["notation"])).parameters
        if not row["parameters"] == parameters <= table.budget:
            raise ValueError(f"{row['notation']} has {parameters} parameters")
        for name, kind in DEFAULT.distributions.items():
            if name in row and not _allows(kind, row[name]):
                raise ValueError(f"{name} {row[name]}")


def _allows(kind: BaseDistribution, value: Any) -> bool:
    if isinstance(kind, FloatDistribution):  # written with six decimals
        return kind.low - 1e-6 <= float(value) <= kind.high + 1e-6
    return kind._contains(kind.to_internal_repr(value))

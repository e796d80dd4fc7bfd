"""Pruners and samplers side by side: hypervolume against the epochs that it cost."""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import optuna
import pandas as pd
from curves import CurveTable
from replay import Search, replay, simulate_search
from surrogate import Surrogate

from nas_mnist.execution.spec import StudySpec
from nas_mnist.processes import in_processes
from nas_mnist.search.pruner import (
    PRUNERS,
    DominancePruner,
    Pruner,
    QuantilePruner,
    make_pruner,
    scaled_rungs,
)

# Settings at which the pruners are tried.
_CATCH_UPS = (0.0, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2)
_QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9)
# How many times the trials random search is given: it is asked how many it needs.
_RANDOM_TRIALS = 4
# Points of a curve of hypervolume against epochs.
_CHECKPOINTS = 60


class Setting(NamedTuple):
    """What is simulated, with seeds 0 to `seeds` - 1."""

    sampler: str
    pruner: str
    trials: int
    seeds: int
    distinct: bool = True
    proven: bool = True


Result: TypeAlias = tuple[Setting, int, Search]
"""a setting, a seed, and the search that they gave"""


def compare_pruners(table: CurveTable, seeds: int) -> pd.DataFrame:
    """Every pruner on the recorded curves themselves, in `seeds` orders, at several settings.

    One row a rule and setting (`catch_up` of dominance, `quantile` of the others; `default` marks
    those of `search`): `epochs` is the share of the epochs that it spent and `hypervolume` the
    share of the unpruned hypervolume that it kept, in percent, as mean and standard deviation over
    the orders; `wrongful` of the exempt trials that it would have stopped, the percentage that
    ended on the front.
    """
    networks = table.networks()
    full = [replay(networks, QuantilePruner(()), seed, table.budget) for seed in range(seeds)]
    unpruned = [search.hypervolume() for search in full]
    rows = []
    for name, setting, pruner in _rules(table):
        searches = [replay(networks, pruner, seed, table.budget) for seed in range(seeds)]
        epochs = [
            100 * search.epochs[-1] / whole.epochs[-1]
            for search, whole in zip(searches, full, strict=True)
        ]
        kept = [
            100 * search.hypervolume() / whole
            for search, whole in zip(searches, unpruned, strict=True)
        ]
        spared = sum(search.spared() for search in searches)
        rows.append(
            {
                "pruner": name,
                "setting": setting,
                "default": pruner == make_pruner(name, table.epochs, table.validation_images),
                "orders": seeds,
                "epochs": statistics.fmean(epochs),
                "epochs_sd": statistics.stdev(epochs),
                "hypervolume": statistics.fmean(kept),
                "hypervolume_sd": statistics.stdev(kept),
                "hypervolume_min": min(kept),
                "wrongful": 100 * sum(search.wrongful() for search in searches) / spared
                if spared
                else None,
            }
        )
    return pd.DataFrame(rows)


def side_by_side(pruners: pd.DataFrame) -> pd.DataFrame:
    """The rows of `compare_pruners` at their defaults, then the size-blind rules at the setting
    that spends nearest to what dominance spends."""
    defaults = pruners[pruners["default"]]
    spent = defaults.loc[defaults["pruner"] == "dominance", "epochs"].iloc[0]
    nearest = [
        rows.loc[(rows["epochs"] - spent).abs().idxmin()]
        for name, rows in pruners.groupby("pruner", sort=False)
        if name in ("median", "one-epoch")
    ]
    return pd.concat([defaults, pd.DataFrame(nearest)]).drop_duplicates()


def _rules(table: CurveTable) -> Iterator[tuple[str, float | None, Pruner]]:
    rungs = scaled_rungs(table.epochs)
    yield "none", None, QuantilePruner(())
    for catch_up in _CATCH_UPS:
        yield (
            "dominance",
            catch_up,
            DominancePruner(table.epochs, table.validation_images, catch_up=catch_up),
        )
    for quantile in _QUANTILES:
        yield "median", quantile, QuantilePruner(rungs, quantile)
    for quantile in _QUANTILES:
        yield "one-epoch", quantile, QuantilePruner(rungs[:1], quantile)


# The Gaussian process takes seconds a trial: it gets a short search, and few of them.
_GP_TRIALS, _GP_SEEDS = 40, 5


def default_settings(trials: int, seeds: int, chosen: str = StudySpec().sampler) -> list[Setting]:
    """The samplers without a pruner, then the pruners with the search's own sampler."""
    return [
        Setting("random", "none", _RANDOM_TRIALS * trials, seeds),
        *(
            Setting(sampler, "none", trials, seeds)
            for sampler in ("nsga2", "tpe-multivariate", "tpe", "tpe-log", "tpe-spread")
        ),
        Setting("gp", "none", min(trials, _GP_TRIALS), min(seeds, _GP_SEEDS)),
        *(Setting(chosen, pruner, trials, seeds) for pruner in PRUNERS if pruner != "none"),
        Setting(chosen, "dominance", trials, seeds, distinct=False),
        Setting(chosen, "dominance", trials, seeds, proven=False),
    ]


def compare_searches(
    surrogate: Surrogate, settings: Sequence[Setting], workers: int
) -> Generator[Result]:
    """Simulate every setting with each of its seeds; results come as they are ready."""
    tasks = [(setting, seed) for setting in settings for seed in range(setting.seeds)]
    for task, search in in_processes(workers, _set_up, partial(_simulate, surrogate), tasks):
        yield *task, search


def summary(results: Iterable[Result], epochs: int, trials: int) -> pd.DataFrame:
    """One row a setting, with means and standard deviations over its seeds.

    `epochs` (of a run) make `epochs_share`, the percentage of its trials' epochs that it spent.
    `hypervolume` is that of its front at the end, `at_equal_epochs` that when it had spent as
    many epochs as the cheapest setting of at least `trials` trials in all; None for settings of
    fewer. `random_trials` are what random search without
    pruning needs on average for the same hypervolume, None where it never got there; `repeats`
    the percentage of trials that drew a network already tried.
    """
    grouped = _by_setting(results)
    whole = {setting: searches for setting, searches in grouped.items() if setting.trials >= trials}
    cheapest = min(
        statistics.fmean(search.epochs[-1] for search in searches) for searches in whole.values()
    )
    random = next((runs for key, runs in grouped.items() if key[:2] == ("random", "none")), [])
    rows = []
    for setting, searches in grouped.items():
        final = [search.trace[-1] for search in searches]
        equal = [_hypervolume_at(search, cheapest) for search in searches]
        spent = [search.epochs[-1] for search in searches]
        rows.append(
            {
                **setting._asdict(),
                "epochs_share": 100 * statistics.fmean(spent) / (setting.trials * epochs),
                "hypervolume": statistics.fmean(final),
                "hypervolume_sd": statistics.stdev(final),
                "at_equal_epochs": statistics.fmean(equal) if setting in whole else None,
                "at_equal_epochs_sd": statistics.stdev(equal) if setting in whole else None,
                "random_trials": _trials_needed(random, statistics.fmean(final)),
                "repeats": 100
                * statistics.fmean(search.repeats / setting.trials for search in searches),
            }
        )
    return pd.DataFrame(rows)


def traces(results: Iterable[Result]) -> pd.DataFrame:
    """Hypervolume against epochs spent, a row a setting and checkpoint: mean and standard
    deviation over the seeds."""
    grouped = _by_setting(results)
    rows = []
    for setting, searches in grouped.items():
        last = min(search.epochs[-1] for search in searches)
        for point in range(1, _CHECKPOINTS + 1):
            epochs = last * point / _CHECKPOINTS
            values = [_hypervolume_at(search, epochs) for search in searches]
            rows.append(
                {
                    **setting._asdict(),
                    "epochs": round(epochs),
                    "hypervolume": round(statistics.fmean(values), 4),
                    "hypervolume_sd": round(statistics.stdev(values), 4),
                }
            )
    return pd.DataFrame(rows)


def _by_setting(results: Iterable[Result]) -> dict[Setting, list[Search]]:
    grouped: dict[Setting, list[Search]] = {}
    for setting, _, search in sorted(results, key=lambda result: result[:2]):
        grouped.setdefault(setting, []).append(search)
    return grouped


def _hypervolume_at(search: Search, epochs: float) -> float:
    """Of the front when that many epochs had been spent; 0 before the first trial's end."""
    done = bisect_right(search.epochs, epochs)
    return search.trace[done - 1] if done else 0.0


def _trials_needed(searches: Sequence[Search], hypervolume: float) -> int | None:
    """Trials after which the searches' mean hypervolume is as large."""
    means = (
        statistics.fmean(values)
        for values in zip(*(search.trace for search in searches), strict=True)
    )
    return next((trial for trial, mean in enumerate(means, start=1) if mean >= hypervolume), None)


def _set_up() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _simulate(surrogate: Surrogate, setting: Setting, seed: int) -> Search:
    table = surrogate.table
    pruner = make_pruner(setting.pruner, table.epochs, table.validation_images)
    return simulate_search(
        surrogate,
        setting.sampler,
        pruner,
        setting.trials,
        seed,
        distinct=setting.distinct,
        proven=setting.proven,
    )

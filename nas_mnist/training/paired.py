"""Networks trained with the same seeds and judged on the same images, to be compared."""

from __future__ import annotations

import math
import statistics
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from nas_mnist.errors import DivergedError
from nas_mnist.lookup import import_plugin, module_of
from nas_mnist.networks.architecture import Architecture
from nas_mnist.processes import in_processes
from nas_mnist.training.recipe import Recipe
from nas_mnist.training.runs import LAST_EPOCHS, SEEDS_AT_ONCE

if TYPE_CHECKING:  # what reads runs need not wait for torch
    from nas_mnist.training.trainer import EpochRecord

_PRIOR = 4  # degrees of freedom that the spread of other comparisons lends to one, at most


@dataclass(slots=True)
class PairedRun:
    """One seed's training. In percent; the test images are looked at once, at its end."""

    seed: int
    curve: list[EpochRecord] = field(default_factory=list)  # of validation accuracies
    test_accuracy: float | None = None
    diverged: bool = False

    @property
    def val_accuracy(self) -> float:
        return self.curve[-1].accuracy

    @property
    def train_accuracy(self) -> float:
        return self.curve[-1].train_accuracy

    @property
    def last4_min(self) -> float:
        """The lowest validation accuracy of the last four epochs."""
        return min(record.accuracy for record in self.curve[-LAST_EPOCHS:])


class Task(NamedTuple):
    """A network to be trained with some seeds. `key` says whose it is."""

    key: str
    architecture: Architecture
    recipe: Recipe
    seeds: tuple[int, ...]


class Difference(NamedTuple):
    """Between the means of two networks with the same seeds, in points of validation accuracy."""

    mean: float
    error: float  # its standard error
    chance: float  # what it must exceed to be beyond chance, at 95%
    pairs: int

    @classmethod
    def of(cls, pairs: Sequence[float], prior: tuple[int, float] = (0, 0.0)) -> Self:
        """Of two or more differences of pairs. `prior`: what is known of their variance before,
        with so many degrees of freedom; nothing if the pairs vary far more, by an F-test at 1%."""
        from scipy.stats import f, t

        own, (known, variance), spread = len(pairs) - 1, prior, statistics.variance(pairs)
        if known and spread > variance * float(f.ppf(0.99, own, known)):
            known = 0
        variance = (known * variance + own * spread) / (known + own)
        error = math.sqrt(variance / len(pairs))
        chance = error * float(t.ppf(0.975, known + own))
        return cls(statistics.fmean(pairs), error, chance, len(pairs))

    def seeds_for(self, difference: float) -> int:
        """How many pairs it takes to see such a difference with 80% power at 95%:
        ((1.96 + 0.84) times the deviation of a pair / difference)²."""
        deviation = self.error * math.sqrt(self.pairs)
        return max(2, math.ceil(((1.96 + 0.84) * deviation / difference) ** 2))

    @property
    def beyond_chance(self) -> bool:
        return abs(self.mean) > self.chance


def train_paired(
    tasks: Sequence[Task], workers: int, **settings: Any
) -> Generator[tuple[Task, list[PairedRun]]]:
    """Train up to `workers` tasks at a time, a few seeds of each side by side; each part as it is
    done. `settings`: `dataset`, `data_dir`, `train_samples`, `split_seed`, `device` and
    `precision`."""
    from nas_mnist.training.device import keep_freed_memory

    parts = [
        (task._replace(seeds=task.seeds[start : start + SEEDS_AT_ONCE]),)
        for task in tasks
        for start in range(0, len(task.seeds), SEEDS_AT_ONCE)
    ]
    work = partial(_train, **settings)
    for (part,), runs in in_processes(workers, keep_freed_memory, work, parts):
        yield part, runs


def _train(
    task: Task,
    dataset: str,
    data_dir: Path | None,
    train_samples: int | None,
    split_seed: int,
    device: str,
    precision: str,
) -> list[PairedRun]:
    from nas_mnist.training.datasets import load_dataset, split_dataset
    from nas_mnist.training.device import resolve_device, resolve_precision
    from nas_mnist.training.pack import Member, Pack
    from nas_mnist.training.trainer import accuracy

    for text in (dataset, task.recipe.optimizer):
        if module := module_of(text):
            import_plugin(module)
    data, where = load_dataset(dataset, data_dir), resolve_device(device)
    images = split_dataset(data, split_seed, train_samples)
    members = [Member(task.architecture, task.recipe, seed) for seed in task.seeds]
    own: Any = {"device": where, "precision": resolve_precision(precision, where)}
    pack = Pack(members, *images, normalization=data.normalization, **own)
    runs = [PairedRun(seed) for seed in task.seeds]
    for outcomes in pack:
        for index, outcome in outcomes.items():
            if isinstance(outcome, DivergedError):
                runs[index].diverged = True
            else:
                runs[index].curve.append(outcome)
    test = data.test.to(where)
    for index, run in enumerate(runs):
        if not run.diverged:
            run.test_accuracy = accuracy(pack.network(index), test, data.normalization)
    return runs


def differences(
    runs: Mapping[str, Sequence[PairedRun]], against: Mapping[str, str]
) -> dict[str, Difference | None]:
    """Of each network of `against` to the one that stands there beside it, over the seeds that both
    have; None without two of them. Few seeds tell little of how much a difference varies, so that
    each borrows from what the others tell: the moderated t-statistic of Smyth (Linear Models and
    Empirical Bayes Methods, 2004), with as many degrees of freedom as others, four at most."""
    pairs: dict[str, list[float]] = {}
    for name, base in against.items():
        known = {run.seed: run.val_accuracy for run in runs[base] if not run.diverged}
        both = [run for run in runs[name] if not run.diverged and run.seed in known]
        pairs[name] = [run.val_accuracy - known[run.seed] for run in both]
    variances = {name: statistics.variance(own) for name, own in pairs.items() if len(own) > 1}
    found: dict[str, Difference | None] = dict.fromkeys(pairs)
    for name in variances:
        others = [variance for other, variance in variances.items() if other != name]
        prior = min(_PRIOR, len(others)), statistics.median_low(others or [0.0])
        found[name] = Difference.of(pairs[name], prior)
    return found

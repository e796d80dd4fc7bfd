"""Networks trained on all training images with several seeds: one, or a hand-made lifecycle's.
The test images are looked at after every epoch, to report; nothing is chosen by them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_mnist.errors import DivergedError, RequestError
from nas_mnist.networks.architecture import Architecture
from nas_mnist.networks.references import Step, references, steps
from nas_mnist.processes import in_processes
from nas_mnist.training.recipe import Recipe, merged

if TYPE_CHECKING:  # what reads runs need not wait for torch
    import torch

    from nas_mnist.training.datasets import Dataset
    from nas_mnist.training.trainer import EpochRecord

LAST_EPOCHS = 4
SEEDS_AT_ONCE = 5  # more are no faster on a CPU, and take memory
# What the write-ups say of none of their steps, and common notebooks of their time do: SGD at 0.01
# with momentum 0.9, batches of 128, nothing else.
_UNPUBLISHED: dict[str, Any] = {
    **{"batch_size": 128, "schedule": "constant", "average_epochs": 0.0},
    **{"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.0},
    "augmentation": {"rotation": 0.0, "shift": 0.0, "scale": 0.0},
}
_EPOCHS = {"early-14k": 20, "early-20k": 20}  # as their authors set themselves; others, 15
_MNIST_TEST_IMAGES = 10_000
_OVERFIT = 0.3


@dataclass(slots=True)
class Run:
    """One seed's training, tested after every epoch. In percent."""

    seed: int
    curve: list[EpochRecord] = field(default_factory=list)
    network: torch.nn.Module | None = None  # as it was trained, if that was asked for

    @property
    def test_accuracy(self) -> float:
        """After the final epoch."""
        return self.curve[-1].accuracy

    @property
    def last4_min(self) -> float:
        """The lowest test accuracy of the last four epochs."""
        return min(record.accuracy for record in self.curve[-LAST_EPOCHS:])


def check_classes(architecture: Architecture, dataset: Dataset) -> None:
    """RequestError unless the network gives a score for each class."""
    if architecture.classes != dataset.classes:
        gives = f"the network gives {architecture.classes} class scores"
        raise RequestError(f"{gives}, and {dataset.name} has {dataset.classes} classes")


def train_runs(
    architecture: Architecture,
    recipe: Recipe,
    dataset: Dataset,
    seeds: Sequence[int],
    device: torch.device,
    precision: torch.dtype | None = None,
    keep_networks: bool = False,
) -> Iterator[list[Run]]:
    """Train with all `seeds`, a few side by side; after every epoch the growing runs of those in
    training, in their order. DivergedError as soon as one of them diverges."""
    from nas_mnist.training.pack import Member, Pack

    check_classes(architecture, dataset)
    where: Any = {"normalization": dataset.normalization, "device": device, "precision": precision}
    for start in range(0, len(seeds), SEEDS_AT_ONCE):
        runs = [Run(seed) for seed in seeds[start : start + SEEDS_AT_ONCE]]
        members = [Member(architecture, recipe, run.seed) for run in runs]
        pack = Pack(members, dataset.train, dataset.test, **where)
        for outcomes in pack:
            for index, outcome in outcomes.items():
                if isinstance(outcome, DivergedError):
                    raise outcome
                runs[index].curve.append(outcome)
            yield runs
        for index, run in enumerate(runs if keep_networks else ()):
            run.network = pack.network(index)


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None for the deviation of a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


@dataclass
class Reproduced:
    """A step of a hand-made lifecycle trained here, with one run a seed. In percent: means and
    deviation after the final epoch, and the best epoch of the best run, as the authors published.
    Train accuracies are over augmented images, as the network changed."""

    step: Step
    architecture: Architecture
    recipe: Recipe
    runs: tuple[Run, ...]
    images: int = _MNIST_TEST_IMAGES  # tested on

    def __post_init__(self) -> None:
        last = [run.curve[-1] for run in self.runs]
        records = [record for run in self.runs for record in run.curve]
        self.test_mean, self.test_sd = mean_and_sd([record.accuracy for record in last])
        self.train_mean = statistics.fmean(record.train_accuracy for record in last)
        self.test_best = max(record.accuracy for record in records)
        self.train_best = max(record.train_accuracy for record in records)


def lifecycle_steps(name: str) -> list[Step]:
    """The steps of the lifecycle of that name; RequestError if there is none."""
    found = [step for step in steps() if step.lifecycle == name]
    if not found:
        known = ", ".join(sorted({step.lifecycle for step in steps()}))
        raise RequestError(f"{name!r} is not a lifecycle; there are {known}")
    return found


def step_recipe(step: Step, epochs: int | None = None) -> Recipe:
    """The recipe of a step: what its author published, and where nothing is published SGD at a
    constant 0.01 with momentum 0.9 in batches of 128. `epochs` in place of the author's."""
    own = {"epochs": epochs or _EPOCHS.get(step.lifecycle, 15)}
    return Recipe().changed({**merged(_UNPUBLISHED, step.settings), **own})


def left_out(step: Step, most_parameters: int | None) -> str | None:
    """Why the step is not to be trained; None if it is."""
    if step.reference is None:
        return "layers not published"
    parameters = references()[step.reference].architecture.parameters
    if most_parameters is not None and parameters > most_parameters:
        return f"left out: over {most_parameters:,} parameters"
    return None


def reproduce(
    wanted: Sequence[Step], seeds: Sequence[int], workers: int, **settings: Any
) -> Generator[Reproduced]:
    """Train the steps with all seeds, up to `workers` of them at a time; each step as it is done.
    `settings`: `epochs`, `dataset`, `data_dir` and `train_samples`."""
    from nas_mnist.training.device import keep_freed_memory

    tasks = [(step, tuple(seeds)) for step in wanted]
    work = partial(_train, **settings)
    yield from (own for _, own in in_processes(workers, keep_freed_memory, work, tasks))


def _train(
    step: Step,
    seeds: Sequence[int],
    epochs: int | None,
    dataset: str,
    data_dir: Path | None,
    train_samples: int | None,
) -> Reproduced:
    from nas_mnist.training.datasets import first_train_samples, load_dataset
    from nas_mnist.training.device import resolve_device

    recipe, architecture = step_recipe(step, epochs), references()[str(step.reference)].architecture
    data = first_train_samples(load_dataset(dataset, data_dir), train_samples)
    training = train_runs(architecture, recipe, data, seeds, resolve_device("auto"))
    runs = {run.seed: run for together in training for run in together}
    return Reproduced(step, architecture, recipe, tuple(runs.values()), len(data.test))


def _chance(*steps: Reproduced) -> float:
    """What a difference in percent must exceed: two standard errors of an accuracy, or of the
    difference between two, each a share p of so many images: p (1 - p) / images."""
    shares = [(step.test_mean / 100, step.images) for step in steps]
    return 200 * math.sqrt(sum(p * (1 - p) / images for p, images in shares))


def analysis(step: Reproduced, before: Reproduced | None) -> str:
    """What the measurements say of a step, in the terms of its author's own table."""
    said = []
    if before is not None:
        change = step.test_mean - before.test_mean
        size = step.architecture.parameters - before.architecture.parameters
        by = "within chance" if abs(change) < _chance(step, before) else "more than chance"
        beside = f" with {size:+,} parameters" if size else ", same size"
        said.append(f"test {change:+.2f} against step {before.step.number} ({by}){beside}")
    gap, drop = step.train_mean - step.test_mean, step.test_best - step.test_mean
    if gap > _OVERFIT:
        said.append(f"over-fits: train {gap:.2f} above test")
    elif gap < 0:
        because = "regularized or augmented, the capacity is the limit"
        said.append(f"train {-gap:.2f} below test: {because}")
    else:
        said.append(f"train {gap:.2f} above test: hardly over-fits")
    if step.train_mean < 99 and gap <= _OVERFIT:
        said.append("under-fits: train below 99")
    if drop > _chance(step):
        said.append(f"unsteady: its best epoch is {drop:.2f} above its last")
    return "; ".join(said)

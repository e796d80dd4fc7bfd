"""One network trained on all training images with several seeds, and what may be quoted of it.

Here the test images are looked at after every epoch, to report; nothing is chosen by them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nas_mnist.arch.architecture import Architecture
from nas_mnist.training.recipe import Recipe

if TYPE_CHECKING:  # what reads runs need not wait for torch
    import torch

    from nas_mnist.training.datasets import Dataset
    from nas_mnist.training.trainer import EpochRecord, Trainer

_LAST_EPOCHS = 4


@dataclass(frozen=True, slots=True)
class Run:
    """One seed's training on all training images, tested after every epoch."""

    seed: int
    curve: list[EpochRecord] = field(default_factory=list)

    @property
    def test_accuracy(self) -> float:
        """Percent, after the final epoch."""
        return self.curve[-1].accuracy

    @property
    def last4_min(self) -> float:
        """Percent: the lowest test accuracy of the last four epochs."""
        return min(record.accuracy for record in self.curve[-_LAST_EPOCHS:])


def train_runs(
    architecture: Architecture,
    recipe: Recipe,
    dataset: Dataset,
    seeds: Sequence[int],
    device: torch.device,
) -> Iterator[tuple[Run, Trainer]]:
    """Train with each of `seeds` in turn; after every epoch the growing run and its trainer."""
    from nas_mnist.training.trainer import Trainer

    for seed in seeds:
        run = Run(seed)
        trainer = Trainer(
            architecture,
            recipe,
            dataset.train,
            dataset.test,
            normalization=dataset.normalization,
            seed=seed,
            device=device,
        )
        for record in trainer:
            run.curve.append(record)
            yield run, trainer


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None for the deviation of a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None

"""One network trained on all training images with several seeds, and what may be quoted of it.

Here the test images are looked at after every epoch, to report; nothing is chosen by them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nas_mnist.errors import DivergedError
from nas_mnist.networks.architecture import Architecture
from nas_mnist.training.recipe import Recipe

if TYPE_CHECKING:  # what reads runs need not wait for torch
    import torch

    from nas_mnist.training.datasets import Dataset
    from nas_mnist.training.trainer import EpochRecord

LAST_EPOCHS = 4
# More are no faster on a CPU, and take memory.
SEEDS_AT_ONCE = 5


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
        return min(record.accuracy for record in self.curve[-LAST_EPOCHS:])


def train_runs(
    architecture: Architecture,
    recipe: Recipe,
    dataset: Dataset,
    seeds: Sequence[int],
    device: torch.device,
    precision: torch.dtype | None = None,
) -> Iterator[list[Run]]:
    """Train with all `seeds`, a few side by side; after every epoch the growing runs of those in
    training, in their order. `precision`: see `Pack`.

    Raises DivergedError as soon as one of them diverges.
    """
    from nas_mnist.training.pack import Member, Pack

    for start in range(0, len(seeds), SEEDS_AT_ONCE):
        runs = [Run(seed) for seed in seeds[start : start + SEEDS_AT_ONCE]]
        pack = Pack(
            [Member(architecture, recipe, run.seed) for run in runs],
            dataset.train,
            dataset.test,
            normalization=dataset.normalization,
            device=device,
            precision=precision,
        )
        for outcomes in pack:
            for index, outcome in outcomes.items():
                if isinstance(outcome, DivergedError):
                    raise outcome
                runs[index].curve.append(outcome)
            yield runs


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None for the deviation of a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None

"""What every way of training shares: an epoch's order, its record, and what a network answers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas_mnist.errors import DivergedError
from nas_mnist.training.augmentation import random_changes
from nas_mnist.training.datasets import Images, Normalization
from nas_mnist.training.recipe import Recipe
from nas_mnist.training.seeds import derived_seed

# Small enough that a layer's maps stay in a core's cache: a quarter less time than at 1,000.
EVALUATION_BATCH = 250


class EpochRecord(NamedTuple):
    """What one epoch did. Accuracies in percent, times in seconds."""

    epoch: int
    """from 1"""
    learning_rate: float
    """of the epoch's last step"""
    train_loss: float
    train_accuracy: float
    """over the epoch's augmented images, as the network changed"""
    accuracy: float
    """on the held-out images, at the epoch's end"""
    seconds: float
    """training and evaluation together; of networks trained as one, each one's share"""

    def entry(self, held_out: str) -> dict[str, float]:
        """The record as studies and `--json` keep it; `held_out` names the accuracy."""
        values = self._asdict()
        values[held_out] = values.pop("accuracy")
        return {name: round(value, 6) for name, value in values.items()}


class Batches(NamedTuple):
    """An epoch's training images, batch by batch."""

    indices: Tensor
    """(steps, batch), int64: which images of the set"""
    changes: Tensor
    """(steps, batch, CHANGES): see `augment`"""


def batches_of(images: int, recipe: Recipe) -> tuple[int, int]:
    """Steps an epoch, and the images of each.

    A last batch smaller than the others is left out: its few images would count more.
    """
    size = min(recipe.batch_size, images)
    return images // size, size


def draw_batches(images: int, recipe: Recipe, seed: int, epoch: int) -> Batches:
    """The batches of an epoch: the same for a seed and an epoch on every device."""
    steps, size = batches_of(images, recipe)
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch))
    order = torch.randperm(images, generator=generator)[: steps * size]
    changes = random_changes(steps * size, generator)
    return Batches(order.view(steps, size), changes.view(steps, size, -1))


@contextmanager
def seeded(device: torch.device, *parts: int) -> Iterator[None]:
    """torch's own generators, seeded and afterwards restored: what is drawn from them within is
    the same whatever runs before or beside it."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(derived_seed(*parts))
        yield


def unit(images: Tensor) -> Tensor:
    """uint8 images as float32 from 0 to 1."""
    return images.float() / 255


def normalized(images: Tensor, normalization: Normalization) -> Tensor:
    return (images - normalization.mean) / normalization.std


@torch.inference_mode()
def logits(network: nn.Module, images: Images, normalization: Normalization) -> Tensor:
    """Class scores of `images`, not augmented: (n, 10), on their device."""
    network.eval()
    kind = next(network.parameters()).dtype
    batches = torch.split(images.images, EVALUATION_BATCH)
    inputs = (normalized(unit(batch), normalization).to(kind) for batch in batches)
    return torch.cat([network(batch) for batch in inputs])


def accuracy(network: nn.Module, images: Images, normalization: Normalization) -> float:
    """Percent of `images` that the network, on the same device, classifies correctly."""
    answers = logits(network, images, normalization).argmax(dim=1)
    return 100 * int((answers == images.labels).sum()) / len(images)


def check_finite(loss: float, epoch: int, recipe: Recipe) -> None:
    """Raise DivergedError unless the epoch's loss is a number."""
    if not math.isfinite(loss):
        raise DivergedError(
            f"the loss is {loss} after epoch {epoch} "
            f"(peak learning rate {recipe.learning_rate:g}); lower the learning rate"
        )

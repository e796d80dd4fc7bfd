"""Trains one network, an epoch at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_mnist.arch.architecture import Architecture
from nas_mnist.arch.network import build_network
from nas_mnist.errors import DivergedError, RequestError
from nas_mnist.training.augmentation import augment
from nas_mnist.training.datasets import Images, Normalization
from nas_mnist.training.recipe import Recipe, learning_rates
from nas_mnist.training.seeds import derived_seed

# Small enough that a layer's maps stay in a core's cache: a quarter less time than at 1,000.
_EVALUATION_BATCH = 250
# Convolutions of few channels run 1.2 to 1.5 times as fast with the channels side by side.
_LAYOUT = torch.channels_last


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
    """training and evaluation together"""


class Trainer:
    """Trains `network`, built from `architecture` with weights drawn by `seed`.

    Iterate over it once: it yields an EpochRecord an epoch, and raises DivergedError when the
    loss is no longer finite. `train` and `held_out` are moved to `device` once. The seed fixes
    weights, order, augmentation and dropout; torch's own generators are left as they were.
    `on_step` is called before every step, and may raise to end the training there.
    """

    def __init__(
        self,
        architecture: Architecture,
        recipe: Recipe,
        train: Images,
        held_out: Images,
        *,
        normalization: Normalization,
        seed: int,
        device: torch.device,
        on_step: Callable[[], None] | None = None,
    ) -> None:
        self.recipe = recipe
        self.seed = seed
        self.device = device
        self._on_step = on_step
        self._train = train.to(device)
        self._held_out = held_out.to(device)
        self._normalization = normalization
        with _seeded(seed, 0, device):
            network = build_network(architecture).to(memory_format=_LAYOUT)
            self.network: nn.Module = network.to(device)

    def __iter__(self) -> Iterator[EpochRecord]:
        # A last batch smaller than the others is left out: its few images would count more.
        batch_size = min(self.recipe.batch_size, len(self._train))
        steps = len(self._train) // batch_size
        rates = learning_rates(self.recipe, steps)
        optimizer = _optimizer(self.recipe, self.network)
        for epoch in range(1, self.recipe.epochs + 1):
            start = time.perf_counter()
            with _seeded(self.seed, epoch, self.device):
                order = torch.randperm(len(self._train), device=self.device)
                batches = order[: steps * batch_size].view(steps, batch_size)
                epoch_rates = rates[(epoch - 1) * steps : epoch * steps]
                loss, correct = self._train_epoch(optimizer, batches, epoch_rates)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss} after epoch {epoch} "
                    f"(peak learning rate {self.recipe.learning_rate:g}); lower the learning rate"
                )
            yield EpochRecord(
                epoch=epoch,
                learning_rate=epoch_rates[-1],
                train_loss=loss,
                train_accuracy=100 * correct / batches.numel(),
                accuracy=self.accuracy(self._held_out),
                seconds=time.perf_counter() - start,
            )

    def accuracy(self, images: Images) -> float:
        """Percent of `images` that the network classifies correctly."""
        return (
            100
            * int((self.logits(images).argmax(dim=1) == images.labels.to(self.device)).sum())
            / len(images)
        )

    @torch.inference_mode()
    def logits(self, images: Images) -> Tensor:
        """Class scores of `images`, not augmented: (n, 10) float32, on the trainer's device."""
        self.network.eval()
        batches = torch.split(images.images.to(self.device), _EVALUATION_BATCH)
        return torch.cat([self.network(self._normalized(_unit(batch))) for batch in batches])

    def _train_epoch(
        self, optimizer: torch.optim.Optimizer, batches: Tensor, rates: list[float]
    ) -> tuple[float, int]:
        """Mean loss and number of correct answers; the device is waited for once, at the end."""
        self.network.train()
        losses = torch.zeros(len(batches), device=self.device)
        correct = torch.zeros((), dtype=torch.long, device=self.device)
        for step, (batch, rate) in enumerate(zip(batches, rates, strict=True)):
            if self._on_step is not None:
                self._on_step()
            for group in optimizer.param_groups:
                group["lr"] = rate
            labels = self._train.labels[batch]
            images = augment(_unit(self._train.images[batch]), self.recipe.augmentation)
            logits = self.network(self._normalized(images))
            loss = functional.cross_entropy(
                logits, labels, label_smoothing=self.recipe.label_smoothing
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses[step] = loss.detach()
            correct += (logits.detach().argmax(dim=1) == labels).sum()
        return float(losses.mean()), int(correct)

    def _normalized(self, images: Tensor) -> Tensor:
        mean, std = self._normalization
        return (images - mean) / std


def resolve_device(name: str) -> torch.device:
    """`auto` is the first GPU, else the CPU. Raises RequestError for a device not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise RequestError(f"device {name!r} is not usable here; take auto, cpu or cuda") from None
    return device


def _unit(images: Tensor) -> Tensor:
    return images.float() / 255


def _optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(
            network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        )
    return torch.optim.SGD(
        network.parameters(),
        recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )


@contextmanager
def _seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """torch's global generators, seeded for one epoch and restored after it, so that an epoch
    is the same whatever ran before or beside it."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(derived_seed(seed, epoch))
        yield

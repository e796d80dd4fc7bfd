"""Trains one network in the plainest way: what `pack` must agree with."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_mnist.networks.architecture import Architecture, build_network
from nas_mnist.training.augmentation import augment
from nas_mnist.training.datasets import Images, Normalization
from nas_mnist.training.epochs import (
    Batches,
    EpochRecord,
    accuracy,
    batches_of,
    check_finite,
    draw_batches,
    normalized,
    seeded,
    unit,
)
from nas_mnist.training.optimizers import make_optimizer
from nas_mnist.training.recipe import Recipe, average_shares, learning_rates


class Trainer:
    """Trains `network`, built from `architecture` with weights drawn by `seed`, eagerly, on
    images that stay on `device`. `network` is the averaged one if the recipe says so.

    Iterate over it once: it yields an EpochRecord an epoch, and raises DivergedError when the
    loss is no longer finite. The seed fixes weights, order, augmentation and dropout; torch's
    own generators are left as they were.
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
        precision: torch.dtype = torch.float32,
    ) -> None:
        """`precision`: of weights and images; float64 is there to check by."""
        self.recipe = recipe
        self.seed = seed
        self.device = device
        self._train = train.to(device)
        self._held_out = held_out.to(device)
        self._normalization = normalization
        with seeded(device, seed, 0):
            self._trained: nn.Module = build_network(architecture).to(device, precision)
        averaged = recipe.average_epochs > 0
        self.network = copy.deepcopy(self._trained) if averaged else self._trained
        self._precision = precision

    def __iter__(self) -> Iterator[EpochRecord]:
        steps, _ = batches_of(len(self._train), self.recipe)
        rates = learning_rates(self.recipe, steps)
        shares = average_shares(self.recipe, steps)
        optimizer = make_optimizer(self.recipe, self._trained.parameters(), rates[0])
        for epoch in range(1, self.recipe.epochs + 1):
            start = time.perf_counter()
            batches = draw_batches(len(self._train), self.recipe, self.seed, epoch)
            its_steps = slice((epoch - 1) * steps, epoch * steps)
            epoch_rates = rates[its_steps]
            with seeded(self.device, self.seed, epoch):
                loss, correct = self._train_epoch(
                    optimizer, batches, epoch_rates, shares[its_steps]
                )
            check_finite(loss, epoch, self.recipe)
            yield EpochRecord(
                epoch=epoch,
                learning_rate=epoch_rates[-1],
                train_loss=loss,
                train_accuracy=100 * correct / batches.indices.numel(),
                accuracy=accuracy(self.network, self._held_out, self._normalization),
                seconds=time.perf_counter() - start,
            )

    def _train_epoch(
        self,
        optimizer: torch.optim.Optimizer,
        batches: Batches,
        rates: list[float],
        shares: list[float],
    ) -> tuple[float, int]:
        """Mean loss and number of correct answers; the device is waited for once, at the end."""
        self._trained.train()
        losses = torch.zeros(len(rates), device=self.device)
        correct = torch.zeros((), dtype=torch.long, device=self.device)
        indices, changes = batches.indices.to(self.device), batches.changes.to(self.device)
        for step, (rate, share) in enumerate(zip(rates, shares, strict=True)):
            for group in optimizer.param_groups:
                group["lr"] = rate
            labels = self._train.labels[indices[step]]
            images = unit(self._train.images[indices[step]])
            images = augment(images, self.recipe.augmentation, changes[step])
            images = normalized(images, self._normalization).to(self._precision)
            answers: Tensor = self._trained(images)
            loss = functional.cross_entropy(
                answers, labels, label_smoothing=self.recipe.label_smoothing
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            if self.network is not self._trained:
                _follow(self.network, self._trained, share)
            losses[step] = loss.detach()
            correct += (answers.detach().argmax(dim=1) == labels).sum()
        return float(losses.mean()), int(correct)


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, share: float) -> None:
    """Move the average by that share towards the network: weights and running statistics."""
    for mine, its in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.is_floating_point():  # a norm's count of batches is not
            mine.lerp_(its, share)

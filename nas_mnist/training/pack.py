"""Trains networks of one topology together, several times as fast as one after another."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_mnist.errors import DivergedError
from nas_mnist.networks.architecture import Architecture, build_network
from nas_mnist.training.datasets import Images, Normalization
from nas_mnist.training.device import captured, training_precision
from nas_mnist.training.optimizers import make_pack_optimizer
from nas_mnist.training.packed import PackedNetwork, by_member
from nas_mnist.training.recipe import Recipe, average_shares, learning_rates
from nas_mnist.training.trainer import (
    EVALUATION_BATCH,
    EpochRecord,
    augment,
    batches_of,
    check_finite,
    draw_batches,
    normalized,
    seeded,
    unit,
)

# In bfloat16 a processor's vectors want channels in sixteens; in float32, no padding is faster.
_LANES = 16


class _EpochTable(NamedTuple):
    """What one epoch's steps read and write, all of it on the device."""

    step: Tensor
    """(1,), int64: the next step"""
    rates: Tensor
    """(steps, members): learning rates"""
    shares: Tensor
    """(steps,): see `average_shares`"""
    indices: Tensor
    """(steps, members, batch): see `draw_batches`"""
    changes: Tensor
    """(steps, members, batch, 7)"""
    losses: Tensor
    """(steps, members): as they were"""
    correct: Tensor
    """(members,), int64: right answers so far"""


class Member(NamedTuple):
    """One network of a pack."""

    architecture: Architecture
    recipe: Recipe
    seed: int


class Pack:
    """Trains `members` side by side: one topology, and recipes that differ in nothing but the
    learning rate. ValueError for others.

    Iterate over it once: an epoch yields, by the index of each member still in training, its
    EpochRecord, or the DivergedError that ended its training. A member's weights at the start,
    order and augmentation are those of its seed, as `Trainer` draws them; dropout is drawn for
    the pack. `precision`: that of training, by default what the device is best at; float64 is
    there to check by. `graphs`: capture the step on a GPU. `on_step` is called before every
    step, and may raise to end the training there.
    """

    def __init__(
        self,
        members: Sequence[Member],
        train: Images,
        held_out: Images,
        *,
        normalization: Normalization,
        device: torch.device,
        precision: torch.dtype | None = None,
        graphs: bool = True,
        on_step: Callable[[], None] | None = None,
    ) -> None:
        topology, recipe = members[0].architecture.topology, members[0].recipe
        rate = {"learning_rate": recipe.learning_rate}
        if any(
            member.architecture.topology != topology or member.recipe.changed(rate) != recipe
            for member in members
        ):
            raise ValueError("a pack's members are of one topology and one recipe")
        self.members = tuple(members)
        self.device = device
        self._precision = precision or training_precision(device)
        self._graphs = graphs and device.type == "cuda"
        self._on_step = on_step
        self._recipe = recipe
        self._normalization = normalization
        self._train, self._held_out = train.to(device), held_out.to(device)
        self._networks = [_network(member, device, self._precision) for member in members]
        averaged = recipe.average_epochs > 0
        self._averages = copy.deepcopy(self._networks) if averaged else self._networks
        self._stopped: set[int] = set()
        self._join(list(range(len(members))))
        self._optimizer = make_pack_optimizer(recipe, self._packed.parameters)

    def __iter__(self) -> Iterator[dict[int, EpochRecord | DivergedError]]:
        steps, size = batches_of(len(self._train), self._recipe)
        all_rates = [learning_rates(member.recipe, steps) for member in self.members]
        rates = torch.tensor(all_rates, dtype=torch.float64)
        shares = torch.tensor(average_shares(self._recipe, steps), dtype=torch.float64)
        for epoch in range(1, self._recipe.epochs + 1):
            self._leave_out_the_stopped()
            members = self._active
            if not members:
                return
            start = time.perf_counter()
            its_steps = slice((epoch - 1) * steps, epoch * steps)
            epoch_rates = rates[members, its_steps].T
            losses, correct = self._train_epoch(epoch, epoch_rates, shares[its_steps])
            accuracies = self._accuracies()
            seconds = (time.perf_counter() - start) / len(members)
            outcomes: dict[int, EpochRecord | DivergedError] = {}
            for slot, member in enumerate(members):
                outcomes[member] = EpochRecord(
                    epoch=epoch,
                    learning_rate=float(epoch_rates[-1, slot]),
                    train_loss=losses[slot],
                    train_accuracy=100 * correct[slot] / (steps * size),
                    accuracy=accuracies[slot],
                    seconds=seconds,
                )
                try:
                    check_finite(losses[slot], epoch, self.members[member].recipe)
                except DivergedError as error:
                    outcomes[member] = error
                    self.stop(member)
            yield outcomes

    def stop(self, member: int) -> None:
        """Train that member no further."""
        self._stopped.add(member)

    def network(self, member: int) -> nn.Module:
        """That member's network as it stands, averaged if the recipe says so, by itself, on the
        device: (n, 1, 28, 28) to (n, 10)."""
        if member in self._active:
            self._averaged.store()
        return self._averages[member]

    def _join(self, members: list[int]) -> None:
        """Make those members' networks one, as they stand."""
        self._active = members
        alone, low = len(members) == 1, self._precision == torch.bfloat16
        multiple = _LANES if low and not alone else 1

        def packed(networks: Sequence[nn.Module]) -> PackedNetwork:
            architectures = [self.members[member].architecture for member in members]
            return PackedNetwork(architectures, [networks[member] for member in members], multiple)

        self._packed = packed(self._networks)
        averaged = self._averages is not self._networks
        self._averaged = packed(self._averages) if averaged else self._packed
        # One network's channels fill vectors better in two groups (measured on AVX-512, float32).
        _, size = batches_of(len(self._train), self._recipe)
        fold = alone and not low and self.device.type == "cpu" and size % 2 == 0
        self._folds = 2 if fold else 1
        self._run_step: Callable[[], None] | None = None

    def _leave_out_the_stopped(self) -> None:
        slots = [slot for slot, member in enumerate(self._active) if member not in self._stopped]
        if len(slots) == len(self._active):
            return
        self._packed.store()
        self._averaged.store()
        members = [self._active[slot] for slot in slots]
        if members:
            self._join(members)
            self._optimizer = self._optimizer.kept(slots, self._packed.parameters)
        self._active = members

    def _train_epoch(
        self, epoch: int, rates: Tensor, shares: Tensor
    ) -> tuple[list[float], list[int]]:
        """Each member's mean loss and number of correct answers; the device is waited for once,
        at the end. `rates`: (steps, members); `shares`: (steps,)."""
        seeds = [self.members[member].seed for member in self._active]
        images = len(self._train)
        drawn = [draw_batches(images, self._recipe, seed, epoch) for seed in seeds]
        indices, changes = (torch.stack(parts, dim=1) for parts in zip(*drawn, strict=True))
        table = _EpochTable(
            step=torch.zeros(1, dtype=torch.long),
            rates=rates,
            shares=shares,
            indices=indices,
            changes=changes,
            losses=torch.zeros_like(rates),
            correct=torch.zeros(len(seeds), dtype=torch.long),
        )
        if self._run_step is None:
            self._table = _EpochTable(*(tensor.to(self.device) for tensor in table))
            captures = self._graphs and self._optimizer.capturable
            with seeded(self.device, *seeds):
                self._run_step = self._captured_step() if captures else self._step
        else:  # in place: a captured step reads where it was captured
            for old, new in zip(self._table, table, strict=True):
                old.copy_(new)
        with seeded(self.device, epoch, *seeds):
            for _ in range(len(rates)):
                if self._on_step is not None:
                    self._on_step()
                self._run_step()
        return self._table.losses.mean(dim=0).tolist(), self._table.correct.tolist()

    def _step(self) -> None:
        """One step of all members: at the table's step, with nothing read back from the device."""
        step, rates, shares, indices, changes, losses, correct = self._table
        members = len(self._active)
        index, change = indices[step].flatten(), changes[step].flatten(0, 2)
        images = augment(unit(self._train.images[index]), self._recipe.augmentation, change)
        labels = by_member(self._train.labels[index], members, self._folds)
        weights = [part.requires_grad_() for part in self._packed.parameters.side_by_side()]
        low = self._precision == torch.bfloat16
        # Each weight is used once, and a captured step must not keep any: nothing is cached.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low, cache_enabled=False):
            images = self._prepared(images, self._folds)
            scores = self._packed.run(images, weights, training=True)
        loss = functional.cross_entropy(
            scores.flatten(0, 2).to(self._packed.parameters.values.dtype),
            labels.flatten(),
            label_smoothing=self._recipe.label_smoothing,
            reduction="none",
        )
        loss = loss.view(-1, members).mean(dim=0)
        gradients = torch.autograd.grad(loss.sum(), weights)
        gradient = self._packed.parameters.one_after_another(gradients)
        self._optimizer.step(gradient, rates[step].squeeze(0))
        if self._averaged is not self._packed:
            self._averaged.follow(self._packed, shares[step])
        losses.index_copy_(0, step, loss.detach().to(losses.dtype)[None])
        answers = scores.detach().argmax(dim=-1)
        correct += (answers == labels).sum(dim=(0, 1))
        step += 1

    def _captured_step(self) -> Callable[[], None]:
        """The step as one CUDA graph: one launch instead of hundreds."""
        networks = (*self._packed.state(), *self._averaged.state())
        changed = [*networks, *self._table, *self._optimizer.state]
        return captured(self._step, changed, self._table.step.zero_, self.device)

    @torch.inference_mode()
    def _accuracies(self) -> list[float]:
        """Each member's accuracy on the held-out images, in percent."""
        members = len(self._active)
        weights = self._averaged.parameters.side_by_side()
        correct = torch.zeros(members, dtype=torch.long, device=self.device)
        for start in range(0, len(self._held_out), EVALUATION_BATCH):
            batch = slice(start, start + EVALUATION_BATCH)
            labels = self._held_out.labels[batch]
            folds = self._folds if len(labels) % self._folds == 0 else 1
            images = unit(self._held_out.images[batch]).repeat(members, 1, 1, 1)
            scores = self._averaged.run(self._prepared(images, folds), weights, training=False)
            right = scores.argmax(dim=-1) == by_member(labels.repeat(members), members, folds)
            correct += right.sum(dim=(0, 1))
        return [100 * count / len(self._held_out) for count in correct.tolist()]

    def _prepared(self, images: Tensor, folds: int) -> Tensor:
        """(members x batch, 1, 28, 28) as `PackedNetwork.run` takes them."""
        images = normalized(images.squeeze(1), self._normalization)
        images = images.double() if self._precision == torch.float64 else images
        return by_member(images, len(self._active), folds)


def _network(member: Member, device: torch.device, precision: torch.dtype) -> nn.Module:
    with seeded(device, member.seed, 0):
        network = build_network(member.architecture).to(device)
    return network.double() if precision == torch.float64 else network

"""Trains networks of one topology together, several times as fast as one after another."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_mnist.errors import DivergedError
from nas_mnist.networks.architecture import Architecture
from nas_mnist.training import trainer
from nas_mnist.training.datasets import Images, Normalization
from nas_mnist.training.device import has_kernels, resolve_precision
from nas_mnist.training.packed import AllAtOnce, OneByOne, PackedNetwork, by_member
from nas_mnist.training.recipe import OPTIMIZERS, Recipe
from nas_mnist.training.trainer import EpochRecord, seeded

compiled: Any = None
if find_spec("numba") is not None:  # here, for the template that worker processes are forked from
    compiled = import_module("nas_mnist.training.compiled")
_WARM_UP_STEPS = 3  # as many as torch asks for before a capture


class _EpochTable(NamedTuple):
    """What one epoch's steps read and write, all of it on the device."""

    step: Tensor  # (1,), int64: the next step
    rates: Tensor  # (steps, members): learning rates
    shares: Tensor  # (steps,): see `Recipe.average_shares`
    indices: Tensor  # (steps, members, batch): see `draw_batches`
    changes: Tensor  # (steps, members, batch, 7)
    losses: Tensor  # (steps, members): as they were
    correct: Tensor  # (members,), int64: right answers so far


class Member(NamedTuple):
    """One network of a pack."""

    architecture: Architecture
    recipe: Recipe
    seed: int


@dataclass(eq=False, repr=False)
class Pack:
    """Trains `members` side by side: one topology, and recipes that differ in nothing but the
    learning rate. ValueError for others.

    Iterate over it once: an epoch yields, by the index of each member still in training, its
    EpochRecord, or the DivergedError that ended it. A member's first weights, order and
    augmentation are those of its seed, as `Trainer` draws them; dropout is drawn for the pack."""

    members: Sequence[Member]
    train: Images
    held_out: Images
    _: KW_ONLY
    normalization: Normalization
    device: torch.device
    precision: torch.dtype | None = None  # by default the device's best; float64 is to check by
    graphs: bool = True  # capture the step on a GPU
    kernels: bool = True  # on a CPU, run by kernels of our own, if numba is installed
    on_step: Callable[[], None] | None = None  # before every step; may raise to end the training

    def __post_init__(self) -> None:
        self.device = torch.device(self.device)  # a name does as well
        topology, self._recipe = self.members[0].architecture.topology, self.members[0].recipe
        rate = {"learning_rate": self._recipe.learning_rate}
        for own in self.members:
            if own.architecture.topology != topology or own.recipe.changed(rate) != self._recipe:
                raise ValueError("a pack's members are of one topology and one recipe")
        precision = self.precision or resolve_precision("auto", self.device)
        self._low = precision == torch.bfloat16
        self._dtype = torch.float64 if precision == torch.float64 else torch.float32
        self.train = trainer.prepared(self.members[0].architecture, self.train.to(self.device))
        self.held_out = self.held_out.to(self.device)
        self._steps, self._size = trainer.batches_of(len(self.train), self._recipe)
        where = self.device, self._dtype
        networks = [trainer.initial_network(own, seed, *where) for own, _, seed in self.members]
        # As they are trained, and their averages if the recipe says so.
        averages = [copy.deepcopy(networks)] if self._recipe.average_epochs > 0 else []
        self._networks = [networks, *averages]
        self._active, self._stopped = list(range(len(self.members))), set[int]()
        self._join()
        optimizer = AllAtOnce if self._recipe.optimizer in OPTIMIZERS else OneByOne
        self._optimizer = optimizer(self._recipe, self._packed.parameters)

    def __iter__(self) -> Iterator[dict[int, EpochRecord | DivergedError]]:
        steps = self._steps
        all_rates = [member.recipe.learning_rates(steps) for member in self.members]
        rates = torch.tensor(all_rates, dtype=torch.float64)
        shares = torch.tensor(self._recipe.average_shares(steps), dtype=torch.float64)
        for epoch in range(1, self._recipe.epochs + 1):
            self._leave_out_the_stopped()
            if not (members := self._active):
                return
            start, its_steps = time.perf_counter(), slice((epoch - 1) * steps, epoch * steps)
            epoch_rates = rates[members, its_steps].T
            results = self._epoch(epoch, epoch_rates, shares[its_steps])
            accuracies, held_out = self._judged()
            seconds = (time.perf_counter() - start) / len(members)
            outcomes: dict[int, EpochRecord | DivergedError] = {}
            columns = members, epoch_rates[-1].tolist(), *results, accuracies, held_out
            for member, rate, loss, correct, accuracy, its_loss in zip(*columns, strict=True):
                right = 100 * correct / (steps * self._size)
                record = EpochRecord(epoch, rate, loss, right, accuracy, seconds, its_loss)
                error = trainer.diverged(loss, epoch, self.members[member].recipe)
                outcomes[member] = error or record
                if error:
                    self.stop(member)
            yield outcomes

    def stop(self, member: int) -> None:
        """Train that member no further."""
        self._stopped.add(member)

    def network(self, member: int) -> nn.Module:
        """That member's network as it stands, averaged if the recipe says so, on the device."""
        if member in self._active:
            self._averaged.store()
        return self._networks[-1][member]

    def _join(self) -> None:
        """Make the networks in training one, as they stand."""
        active, alone = self._active, len(self._active) == 1
        architectures = [self.members[member].architecture for member in active]
        networks = [[kind[member] for member in active] for kind in self._networks]
        kernels = compiled if self.kernels and has_kernels(self.device) else None
        packs = [PackedNetwork(architectures, own, kernels) for own in networks]
        self._packed, self._averaged = packs[0], packs[-1]
        # One network's channels fill vectors better in two groups (measured on AVX-512, float32).
        fold = alone and not self._low and self.device.type == "cpu" and self._size % 2 == 0
        self._folds = 2 if fold else 1
        self._run_step: Callable[[], None] | None = None

    def _leave_out_the_stopped(self) -> None:
        slots = [slot for slot, member in enumerate(self._active) if member not in self._stopped]
        if len(slots) == len(self._active):
            return
        self._packed.store()
        self._averaged.store()
        self._active = [self._active[slot] for slot in slots]
        if slots:
            self._optimizer.keep(self._packed.parameters, slots)
            self._join()

    def _epoch(self, epoch: int, rates: Tensor, shares: Tensor) -> tuple[list[float], list[int]]:
        """Each member's mean loss and number of correct answers; the device is waited for once,
        at the end. `rates`: (steps, members); `shares`: (steps,)."""
        seeds, images = [self.members[index].seed for index in self._active], len(self.train)
        drawn = [trainer.draw_batches(images, self._recipe, seed, epoch) for seed in seeds]
        indices, changes = (torch.stack(parts, dim=1) for parts in zip(*drawn, strict=True))
        step, correct = torch.zeros(1, dtype=torch.long), torch.zeros(len(seeds), dtype=torch.long)
        losses = torch.zeros_like(rates)
        table = _EpochTable(step, rates, shares, indices, changes, losses, correct)
        if self._run_step is None:
            self._table = _EpochTable(*(tensor.to(self.device) for tensor in table))
            captures = self.graphs and self.device.type == "cuda" and self._optimizer.capturable
            with seeded(self.device, *seeds):
                self._run_step = self._captured_step() if captures else self._step
        else:  # in place: a captured step reads where it was captured
            for old, new in zip(self._table, table, strict=True):
                old.copy_(new)
        with seeded(self.device, epoch, *seeds):
            for _ in range(len(rates)):
                if self.on_step is not None:
                    self.on_step()
                self._run_step()
        return self._table.losses.mean(dim=0).tolist(), self._table.correct.tolist()

    def _step(self) -> None:
        """One step of all members: at the table's step, with nothing read back from the device."""
        step, rates, shares, indices, changes, losses, correct = self._table
        members, recipe = len(self._active), self._recipe
        index, change = indices[step].flatten(), changes[step].flatten(0, 2)
        images = self.train.images[index].float() / 255
        images = trainer.augment(images, recipe.augmentation, change)
        images = trainer.normalized(images, self.normalization, self._dtype)
        labels = by_member(self.train.labels[index], members, self._folds)
        weights = [part.requires_grad_() for part in self._packed.parameters.side_by_side()]
        # Each weight is used once, and a captured step must not keep any: nothing is cached.
        with torch.autocast(self.device.type, torch.bfloat16, self._low, cache_enabled=False):
            scores = self._packed.run(images, self._folds, weights, training=True)
        flat, target = scores.flatten(0, 2).to(self._dtype), labels.flatten()
        smoothing = recipe.label_smoothing
        loss = functional.cross_entropy(flat, target, reduction="none", label_smoothing=smoothing)
        loss = loss.view(-1, members).mean(dim=0)
        gradients = torch.autograd.grad(loss.sum(), weights)
        gradient = self._packed.parameters.one_after_another(gradients)
        self._optimizer.step(self._packed.parameters, gradient, rates[step].squeeze(0))
        if self._averaged is not self._packed:
            self._averaged.follow(self._packed, shares[step])
        losses.index_copy_(0, step, loss.detach().to(losses.dtype)[None])
        correct += (scores.detach().argmax(dim=-1) == labels).sum(dim=(0, 1))
        step += 1

    def _captured_step(self) -> Callable[[], None]:
        """The step as one CUDA graph: one launch instead of hundreds. What it draws follows
        torch's generator at each replay; what the steps that warm up change is put back."""
        networks = (*self._packed.state(), *self._averaged.state())
        changed = [*networks, *self._table, *self._optimizer.state]
        before = [tensor.clone() for tensor in changed]
        with torch.cuda.device(self.device):  # captures are of the current device
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(_WARM_UP_STEPS):
                    self._table.step.zero_()
                    self._step()
            if int(self._table.step) != 1:
                raise RuntimeError("a step on the GPU did not count itself")
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=aside):
                self._step()
            graph.replay()
            if int(self._table.step) != 1:
                raise RuntimeError("a captured step trains nothing")
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)
        return graph.replay

    @torch.inference_mode()
    def _judged(self) -> tuple[list[float], list[float]]:
        """Each member's accuracy on the held-out images, in percent, and mean cross-entropy."""
        members, count = len(self._active), len(self.held_out)
        weights = self._averaged.parameters.side_by_side()
        correct = torch.zeros(members, dtype=torch.long, device=self.device)
        losses = torch.zeros(members, dtype=torch.float64, device=self.device)
        size = trainer.evaluation_batch(self.device, self.members[0].architecture.views)
        for start in range(0, count, size):
            batch = slice(start, start + size)
            labels = self.held_out.labels[batch].repeat(members)
            folds = self._folds if len(labels) % (members * self._folds) == 0 else 1
            images = self.held_out.images[batch].float() / 255
            images = trainer.normalized(images, self.normalization, self._dtype)
            images = images.repeat(members, 1, 1, 1)
            scores = self._averaged.run(images, folds, weights, training=False)
            labels = by_member(labels, members, folds)
            correct += (scores.argmax(dim=-1) == labels).sum(dim=(0, 1))
            flat = scores.flatten(0, 2), labels.flatten()
            each = functional.cross_entropy(*flat, reduction="none").view(-1, members)
            losses += each.sum(dim=0, dtype=torch.float64)
        return (100 * correct.double() / count).tolist(), (losses / count).tolist()

"""Networks of one topology as one network of grouped convolutions, and what moves their weights.

Networks this small leave most of a processor idle: their channels do not fill its vectors, nor
their steps a GPU. Side by side in one tensor they do (`networks/packing.py` has the layout).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from nas_mnist.networks.architecture import Architecture
from nas_mnist.networks.layers import INPUT_SHAPE, with_shapes
from nas_mnist.networks.layers.views import averaged
from nas_mnist.networks.packing import PackedRun
from nas_mnist.training.recipe import Recipe
from nas_mnist.training.trainer import make_optimizer


class PackedValues:
    """The same tensors of several networks: one network after another, in their true shapes, in
    the vector `values` (`owners`: whose each is), and laid side by side on demand. There the
    first two dimensions, channels, are padded to the widest."""

    def __init__(self, networks: Sequence[Sequence[Tensor]]) -> None:
        self._networks = networks
        self.values = torch.cat([t.detach().flatten() for tensors in networks for t in tensors])
        end, device = len(self.values), self.values.device
        sizes = torch.tensor([sum(map(torch.numel, tensors)) for tensors in networks])
        self.owners = torch.arange(len(networks)).repeat_interleave(sizes).to(device)
        sides = []
        for places in zip(*self.by_network(torch.arange(end, device=device)), strict=True):
            shapes = [place.shape or (1,) for place in places]
            widest = [max(lengths) for lengths in zip(*shapes, strict=True)]
            side = torch.full((len(places), *widest), end, device=device)
            for wide, shape, place in zip(side, shapes, places, strict=True):
                wide[tuple(map(slice, shape))] = place
            sides.append(side.flatten(0, 1))
        self._shapes = [side.shape for side in sides]
        # Where in `values` each value side by side comes from, padding from one behind its end;
        # and where side by side each of `values` lies.
        self._sources = torch.cat([side.flatten() for side in sides])
        self._positions = self._sources.argsort(stable=True)[:end]

    def store(self) -> None:
        """Bring the networks' own tensors up to date."""
        for tensors, current in zip(self._networks, self.by_network(self.values), strict=True):
            for tensor, value in zip(tensors, current, strict=True):
                tensor.copy_(value)

    def by_network(self, vector: Tensor) -> list[list[Tensor]]:
        """Of a vector that lies as `values` do, views in the true shapes of each network."""
        sizes = [tensor.numel() for tensors in self._networks for tensor in tensors]
        parts = iter(torch.split(vector, sizes))
        return [[next(parts).view_as(tensor) for tensor in own] for own in self._networks]

    def side_by_side(self) -> list[Tensor]:
        """A copy of each tensor of the networks: (networks x first dimension, the others)."""
        extended = torch.cat((self.values, self.values.new_zeros(1)))
        parts = torch.split(extended[self._sources], [shape.numel() for shape in self._shapes])
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def one_after_another(self, tensors: Sequence[Tensor]) -> Tensor:
        """What lies as `side_by_side` gives it (gradients, say), as `values` lie."""
        return torch.cat([tensor.flatten() for tensor in tensors])[self._positions]


class PackedNetwork:
    """Networks of one topology, run as one: their `parameters`, and their `running` statistics,
    such as a norm's means. The networks' own modules stay as they were until `store`."""

    def __init__(
        self,
        architectures: Sequence[Architecture],
        networks: Sequence[nn.Module],
        compiled: Any = None,
    ) -> None:
        """`compiled`: that module, to run by its kernels."""
        self._layers = [list(with_shapes(own.layers, INPUT_SHAPE)) for own in architectures]
        self._modules = [list(network.children())[: len(self._layers[0])] for network in networks]
        self._first = architectures[0]
        self.parameters = PackedValues([list(net.parameters()) for net in networks])
        statistics = [[b for b in net.buffers() if b.is_floating_point()] for net in networks]
        self._statistics = PackedValues(statistics) if statistics[0] else None
        self.running = self._statistics.side_by_side() if self._statistics else []
        self._compiled = compiled

    @torch.no_grad()
    def store(self) -> None:
        """Bring the networks' modules up to date."""
        self.parameters.store()
        if self._statistics:
            self._statistics.values.copy_(self._statistics.one_after_another(self.running))
            self._statistics.store()

    def state(self) -> list[Tensor]:
        """All that training changes."""
        return [self.parameters.values, *self.running]

    @torch.no_grad()
    def follow(self, other: PackedNetwork, share: Tensor) -> None:
        """Move by that share, (1,), towards another pack of networks of the same widths."""
        for mine, its in zip(self.state(), other.state(), strict=True):
            mine.lerp_(its, share.to(mine.dtype))

    def run(self, images: Tensor, folds: int, weights: Sequence[Tensor], training: bool) -> Tensor:
        """Class scores as `by_member` has them: (batch / folds, folds, members, classes). `images`:
        (members x batch, 1, 28, 28), normalized, and in training `prepared` before; each network's
        batch is split into so many folds, and one batch all the same. `weights`: the parameters
        side by side."""
        members = len(self._modules)
        images = by_member(images, members, folds).flatten(1, 3)
        images = images.contiguous(memory_format=torch.channels_last)
        state = iter(weights), iter(self.running)
        run = PackedRun(*state, members, folds, training, self._compiled)
        start = self._first.entry if training else 0
        layers = [own[start:] for own in self._layers]
        scores = run.sequence(images, layers, [own[start:] for own in self._modules])
        if not training and self._first.views > 1:
            scores = averaged(scores, self._first.views)
        return scores.view(len(scores), folds, members, -1)[..., : self._first.classes]


def by_member(values: Tensor, members: int, folds: int) -> Tensor:
    """(members x batch, ...) as (batch / folds, folds, members, ...)."""
    parts = values.view(members, folds, -1, *values.shape[1:])
    return parts.movedim((2, 1, 0), (0, 1, 2))


class AllAtOnce:
    """SGD or AdamW for networks side by side, each at a rate of its own. By torch's functions, not
    its classes: making one imports torch's compiler, 3 s of every worker's start."""

    capturable = True  # whether a step can be captured as a CUDA graph

    def __init__(self, recipe: Recipe, packed: PackedValues) -> None:
        self._recipe, weights = recipe, packed.values
        # On a GPU a captured step advances it, so that it must lie there too; as exact as the rest.
        steps = torch.zeros((), dtype=weights.dtype, device=weights.device)
        self.state = [torch.zeros_like(weights), torch.zeros_like(weights), steps]

    @torch.no_grad()
    def step(self, packed: PackedValues, gradient: Tensor, rates: Tensor) -> None:
        """Move the weights in place. `gradient`: as they lie; `rates`: (members,)."""
        weights = packed.values
        # A move is proportional to the rate: all move at 1, and each network then takes its own
        # share of its move.
        before = weights.clone()
        first, second, steps = self.state
        momentum, decay = self._recipe.momentum, self._recipe.weight_decay
        settings: dict[str, Any] = {"lr": 1.0, "weight_decay": decay, "maximize": False}
        settings |= {"foreach": False, "fused": False}
        if self._recipe.optimizer == "sgd":
            settings |= {"momentum": momentum, "dampening": 0.0, "nesterov": momentum > 0}
            sgd([weights], [gradient], [first if momentum > 0 else None], **settings)
        else:  # with the betas and epsilon of torch.optim.AdamW
            settings |= {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False}
            settings |= {"state_steps": [steps], "capturable": weights.is_cuda}
            adamw([weights], [gradient], [first], [second], [], **settings)
        share = rates[packed.owners].to(before.dtype)
        weights.copy_(torch.lerp(before, weights, share))

    def keep(self, packed: PackedValues, slots: Sequence[int]) -> None:
        """Go on with those of the networks alone."""
        kept = torch.isin(packed.owners, torch.tensor(slots, device=packed.owners.device))
        self.state = [own[kept] if own.dim() else own for own in self.state]


class OneByOne:
    """Any torch optimizer, one for each network: for matrices as well, slower, and equal."""

    capturable = False
    state: Sequence[Tensor] = ()

    def __init__(self, recipe: Recipe, packed: PackedValues) -> None:
        networks = packed.by_network(packed.values)
        self._parameters = [[nn.Parameter(own.clone()) for own in tensors] for tensors in networks]
        self._optimizers = [make_optimizer(recipe, own, 1.0) for own in self._parameters]

    def step(self, packed: PackedValues, gradient: Tensor, rates: Tensor) -> None:
        moves, networks = map(packed.by_network, (gradient, packed.values))
        each = zip(self._parameters, self._optimizers, moves, networks, strict=True)
        for rate, (parameters, optimizer, own, weights) in zip(rates.tolist(), each, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate
            for parameter, move in zip(parameters, own, strict=True):
                parameter.grad = move.clone()
            optimizer.step()
            for parameter, weight in zip(parameters, weights, strict=True):
                weight.copy_(parameter.data)

    def keep(self, packed: PackedValues, slots: Sequence[int]) -> None:
        self._parameters = [self._parameters[slot] for slot in slots]
        self._optimizers = [self._optimizers[slot] for slot in slots]

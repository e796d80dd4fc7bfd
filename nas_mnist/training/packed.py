"""Networks of one topology as one network of grouped convolutions.

Networks this small leave most of a processor idle: their channels do not fill its vectors, nor
their steps a GPU. Side by side in one tensor they do (`networks/packing.py` has the layout).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas_mnist.networks.architecture import Architecture
from nas_mnist.networks.layers import CLASSES, INPUT_SHAPE, with_shapes
from nas_mnist.networks.packing import PackedRun, padded


class PackedValues:
    """The same tensors of several networks: kept in their true shapes, one network after
    another, in the vector `values`, and laid side by side on demand."""

    def __init__(self, networks: Sequence[Sequence[Tensor]], multiple: int) -> None:
        """`networks`: the tensors of each. Their first two dimensions are channels, which may
        differ: side by side they are padded to the widest, and on to a multiple of `multiple`."""
        self._networks = networks
        self._sizes = [sum(tensor.numel() for tensor in tensors) for tensors in networks]
        self.values = torch.cat([t.detach().flatten() for tensors in networks for t in tensors])
        self._shapes = [_shape(tensors, multiple) for tensors in zip(*networks, strict=True)]
        self._sources, self._positions = self._maps()
        members = torch.arange(len(networks))
        self._owners = members.repeat_interleave(torch.tensor(self._sizes)).to(self.values.device)

    def _maps(self) -> tuple[Tensor, Tensor]:
        """Where in `values` each value side by side comes from, padding from one behind its end;
        and where side by side each of `values` lies."""
        end = len(self.values)
        places = self.by_network(torch.arange(end, device=self.values.device))
        parts = []
        for shape, *own in zip(self._shapes, *places, strict=True):
            part = torch.full((len(own), *shape), end, device=self.values.device)
            for wide, place in zip(part, own, strict=True):
                wide[tuple(map(slice, place.shape or (1,)))] = place
            parts.append(part.flatten())
        sources = torch.cat(parts)
        return sources, sources.argsort(stable=True)[:end]

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
        members = len(self._networks)
        sizes = [members * shape.numel() for shape in self._shapes]
        parts = zip(torch.split(extended[self._sources], sizes), self._shapes, strict=True)
        return [part.view(members * shape[0], *shape[1:]) for part, shape in parts]

    def one_after_another(self, tensors: Sequence[Tensor]) -> Tensor:
        """What lies as `side_by_side` gives it (gradients, say), as `values` lie."""
        return torch.cat([tensor.flatten() for tensor in tensors])[self._positions]

    def spread(self, numbers: Tensor) -> Tensor:
        """One number a network, for each of its values."""
        return numbers[self._owners]

    def parts(self, vector: Tensor, members: Sequence[int]) -> Tensor:
        """Of a vector that lies as `values` do, what belongs to those networks."""
        split = torch.split(vector, self._sizes)
        return torch.cat([split[member] for member in members])


def _shape(tensors: Sequence[Tensor], multiple: int) -> torch.Size:
    shapes = [tensor.shape or (1,) for tensor in tensors]
    sides = [max(sides) for sides in zip(*shapes, strict=True)]
    return torch.Size([*(padded(side, multiple) for side in sides[:2]), *sides[2:]])


class PackedNetwork:
    """Networks of one topology, run as one: their `parameters`, and their `running` statistics,
    such as a norm's means. The networks' own modules stay as they were until `store`."""

    def __init__(
        self, architectures: Sequence[Architecture], networks: Sequence[nn.Module], multiple: int
    ) -> None:
        """`multiple`: see `PackedValues`."""
        self._layers = [list(with_shapes(own.layers, INPUT_SHAPE)) for own in architectures]
        self._modules = [list(network.children())[: len(self._layers[0])] for network in networks]
        self._multiple = multiple
        self.parameters = PackedValues([list(net.parameters()) for net in networks], multiple)
        statistics = [[b for b in net.buffers() if b.is_floating_point()] for net in networks]
        self._statistics = PackedValues(statistics, multiple) if statistics[0] else None
        self.running = self._statistics.side_by_side() if self._statistics else []

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

    def run(self, images: Tensor, weights: Sequence[Tensor], *, training: bool) -> Tensor:
        """Class scores of the networks: (batch, folds, members, 10).

        Args:
            images: (batch, folds, members, 28, 28), normalized. Each network's batch lies in so
                many folds (two small groups are faster than one); it is one batch all the same.
            weights: as the parameters lie side by side.
            training: whether this is a step of training.
        """
        batch, folds, members, _, _ = images.shape
        images = images.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        run = PackedRun(
            parameters=iter(weights),
            running=iter(self.running),
            members=members,
            multiple=self._multiple,
            folds=folds,
            training=training,
        )
        scores = run.sequence(images, self._layers, self._modules)
        return scores.view(batch, folds, members, -1)[..., :CLASSES]


def by_member(values: Tensor, members: int, folds: int) -> Tensor:
    """(members x batch, ...) as (batch / folds, folds, members, ...)."""
    parts = values.view(members, folds, -1, *values.shape[1:])
    return parts.movedim((2, 1, 0), (0, 1, 2))

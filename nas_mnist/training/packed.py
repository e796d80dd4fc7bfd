"""Networks of one topology as one network of grouped convolutions.

Networks this small leave most of a processor idle: their channels do not fill its vectors, nor
their steps a GPU. Side by side in one tensor they do. Each network's channels are padded with
zeros to the widest of the pack; there a weight, its gradient and its update stay 0, so that
nothing has to be masked: nothing is added to padding, and what follows maps 0 to 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_mnist.networks.architecture import (
    CLASSES,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Dropout2d,
    GlobalAveragePool,
    Layer,
    MaxPool,
    ReLU,
)


class PackedValues:
    """The same tensors of several networks: kept in their true shapes, one network after
    another, in the vector `values`, and laid side by side on demand."""

    def __init__(self, networks: Sequence[Sequence[Tensor]], multiple: int) -> None:
        """`networks`: the tensors of each. Up to two leading dimensions are channels, which may
        differ between networks: side by side they are padded to the widest, and on to a multiple
        of `multiple`."""
        self._networks = networks
        self._sizes = [sum(tensor.numel() for tensor in tensors) for tensors in networks]
        self.values = torch.cat([t.detach().flatten() for tensors in networks for t in tensors])
        self._shapes = [_shape(tensors, multiple) for tensors in zip(*networks, strict=True)]
        self._sources, self._places = self._maps()
        members = torch.arange(len(networks))
        self._owners = members.repeat_interleave(torch.tensor(self._sizes)).to(self.values.device)

    def _maps(self) -> tuple[Tensor, Tensor]:
        """Where in `values` each value side by side comes from, padding from one behind its end;
        and where side by side each of `values` lies."""
        device, end = self.values.device, len(self.values)
        starts = [sum(self._sizes[:member]) for member in range(len(self._networks))]
        parts = []
        for shape, *tensors in zip(self._shapes, *self._networks, strict=True):
            part = torch.full((len(tensors), *shape), end, device=device)
            for member, tensor in enumerate(tensors):
                own = torch.arange(tensor.numel(), device=device) + starts[member]
                part[member][tuple(slice(side) for side in tensor.shape)] = own.view(tensor.shape)
                starts[member] += tensor.numel()
            parts.append(part.flatten())
        sources = torch.cat(parts)
        (filled,) = torch.where(sources < end)
        places = torch.empty(end, dtype=torch.long, device=device)
        places[sources[filled]] = filled
        return sources, places

    def store(self) -> None:
        """Bring the networks' own tensors up to date."""
        sizes = [tensor.numel() for tensors in self._networks for tensor in tensors]
        parts = iter(torch.split(self.values, sizes))
        for tensors in self._networks:
            for tensor in tensors:
                tensor.copy_(next(parts).view_as(tensor))

    def side_by_side(self) -> list[Tensor]:
        """A copy of each tensor of the networks: (networks x first dimension, the others)."""
        extended = torch.cat((self.values, self.values.new_zeros(1)))
        members = len(self._networks)
        sizes = [members * shape.numel() for shape in self._shapes]
        parts = torch.split(extended[self._sources], sizes)
        return [
            part.view(members * shape[0], *shape[1:])
            for part, shape in zip(parts, self._shapes, strict=True)
        ]

    def one_after_another(self, tensors: Sequence[Tensor]) -> Tensor:
        """What lies as `side_by_side` gives it (gradients, say), as `values` lie."""
        return torch.cat([tensor.flatten() for tensor in tensors])[self._places]

    def spread(self, numbers: Tensor) -> Tensor:
        """One number a network, for each of its values."""
        return numbers[self._owners]

    def parts(self, vector: Tensor, members: Sequence[int]) -> Tensor:
        """Of a vector that lies as `values` do, what belongs to those networks."""
        split = torch.split(vector, self._sizes)
        return torch.cat([split[member] for member in members])


def _shape(tensors: Sequence[Tensor], multiple: int) -> torch.Size:
    sides = [max(sides) for sides in zip(*(tensor.shape for tensor in tensors), strict=True)]
    # One channel is the image, or a depthwise filter's.
    channels = [side if side == 1 else -(-side // multiple) * multiple for side in sides[:2]]
    return torch.Size(channels + sides[2:])


class PackedNetwork:
    """Networks of one topology, run as one: their `parameters`, and their running statistics.

    The networks' own modules stay as they were until `store`.
    """

    def __init__(
        self, layers: Sequence[Layer], networks: Sequence[nn.Module], multiple: int = 1
    ) -> None:
        """`layers`: those of one of the networks. `multiple`: see `PackedValues`."""
        self._layers = tuple(layers)
        self.members = len(networks)
        self.parameters = PackedValues([list(net.parameters()) for net in networks], multiple)
        statistics = [_statistics(net) for net in networks]
        self._statistics = PackedValues(statistics, multiple) if statistics[0] else None
        self.running = self._statistics.side_by_side() if self._statistics else []

    @torch.no_grad()
    def store(self) -> None:
        """Bring the networks' modules up to date."""
        self.parameters.store()
        if self._statistics:
            self._statistics.values.copy_(self._statistics.one_after_another(self.running))
            self._statistics.store()

    @torch.no_grad()
    def follow(self, other: PackedNetwork, share: Tensor) -> None:
        """Move by that share, (1,), towards another pack of networks of the same widths."""
        ours = [self.parameters.values, *self.running]
        theirs = [other.parameters.values, *other.running]
        for mine, its in zip(ours, theirs, strict=True):
            mine.lerp_(its, share.to(mine.dtype))

    def run(
        self, images: Tensor, weights: Sequence[Tensor], *, training: bool, folds: int = 1
    ) -> Tensor:
        """Class scores, (batch, folds, members, 10).

        `images`: (batch, folds x members, 28, 28), normalized. `weights`: as the parameters lie
        side by side. With `folds`, a member's batch itself lies in that many parts side by side
        (two small groups are faster than one); it is one batch all the same.
        """
        values = images
        parameters, running = iter(weights), iter(self.running)
        for layer in self._layers:
            match layer:
                case DepthwiseConv():
                    weight, bias = self._of_convolution(layer, parameters, folds)
                    values = functional.conv2d(
                        values, weight, bias, padding=layer.padding, groups=len(weight)
                    )
                case Conv(kernel=1, padding=0):
                    weight, bias = self._of_convolution(layer, parameters, 1)
                    values = _unfolded(values, folds)
                    values = functional.conv2d(values, weight, bias, groups=self.members)
                    values = _refolded(values, folds)
                case Conv():
                    weight, bias = self._of_convolution(layer, parameters, folds)
                    groups = folds * self.members
                    values = functional.conv2d(
                        values, weight, bias, padding=layer.padding, groups=groups
                    )
                case BatchNorm():
                    weight, bias = next(parameters), next(parameters)
                    mean, variance = next(running), next(running)
                    values = _unfolded(values, folds)
                    values = functional.batch_norm(values, mean, variance, weight, bias, training)
                    values = _refolded(values, folds)
                case ReLU():
                    values = functional.relu(values)
                case Dropout() if training:
                    values = dropout(values, layer.p)
                case Dropout2d():
                    values = functional.dropout2d(values, layer.p, training)
                case MaxPool():
                    values = functional.max_pool2d(values, layer.kernel)
                case GlobalAveragePool():
                    values = functional.adaptive_avg_pool2d(values, 1)
        scores = values.view(len(values), folds, self.members, -1)
        return scores[..., :CLASSES]

    @staticmethod
    def _of_convolution(
        layer: Conv | DepthwiseConv, parameters: Iterator[Tensor], folds: int
    ) -> tuple[Tensor, Tensor | None]:
        weight = _repeated(next(parameters), folds)
        return weight, _repeated(next(parameters), folds) if layer.bias else None


def _statistics(network: nn.Module) -> list[Tensor]:
    return [
        tensor
        for module in network.modules()
        if isinstance(module, nn.BatchNorm2d)
        for tensor in (module.running_mean, module.running_var)
        if tensor is not None
    ]


def _repeated(values: Tensor, folds: int) -> Tensor:
    return values if folds == 1 else values.repeat(folds, *[1] * (values.dim() - 1))


def _unfolded(values: Tensor, folds: int) -> Tensor:
    """(batch, folds x channels, height, width) as (batch, channels, height, width x folds): for
    what treats all pixels alike. With the channels side by side in memory, it is a view."""
    if folds == 1:
        return values
    batch, _, height, width = values.shape
    return values.permute(0, 2, 3, 1).reshape(batch, height, width * folds, -1).permute(0, 3, 1, 2)


def _refolded(values: Tensor, folds: int) -> Tensor:
    """What `_unfolded` was, from what it gave."""
    if folds == 1:
        return values
    batch, _, height, width = values.shape
    return values.permute(0, 2, 3, 1).reshape(batch, height, width // folds, -1).permute(0, 3, 1, 2)


def dropout(values: Tensor, rate: float) -> Tensor:
    """Dropout of single values, for training.

    On a CPU torch draws them one value at a time, which took a third of a small network's step;
    this takes 4 values from each draw of 64 bits. The rate is met to within 1/131,072.
    """
    if rate == 0 or values.device.type != "cpu":
        return functional.dropout(values, rate)
    count = values.numel()
    draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    # Laid out as the values are, or the product would be copied into another layout.
    mask = torch.empty_like(values)
    flat = mask.as_strided((count,), (1,))
    torch.ge(draws.view(torch.int16)[:count], round(rate * 2**16) - 2**15, out=flat)
    return values * mask.mul_(1 / (1 - rate))

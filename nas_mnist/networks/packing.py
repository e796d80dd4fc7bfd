"""How the layers of several networks of one topology run side by side.

Channels of (batch, folds x networks x channels, height, width) are those of one network after
another; each network's are padded with zeros to the widest. There a weight, its gradient and its
update stay 0, so that nothing has to be masked: nothing is added to padding, and what follows maps
0 to 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nas_mnist.networks.layers import INPUT_SHAPE, Layer, Shape

if TYPE_CHECKING:
    from torch import Tensor, nn


def padded(channels: int, multiple: int) -> int:
    """Channels of the widest network, padded; a single one is the image, or a depthwise filter's,
    and stays alone."""
    return channels if channels == 1 else -(-channels // multiple) * multiple


class PackedRun:
    """One forward pass of several networks: what their layers need beside their inputs."""

    def __init__(
        self,
        parameters: Sequence[Tensor],
        running: Sequence[Tensor],
        *,
        members: int,
        multiple: int,
        folds: int,
        training: bool,
    ) -> None:
        """
        Args:
            parameters: the networks' parameters side by side, in their order.
            running: their running statistics, likewise; they are updated in place.
            members: how many networks there are.
            multiple: what the channels are padded to a multiple of.
            folds: in how many parts, side by side, each network's batch lies.
            training: whether this is a step of training.
        """
        self.members = members
        self.folds = folds
        self.training = training
        self._multiple = multiple
        self._parameters: Iterator[Tensor] = iter(parameters)
        self._running: Iterator[Tensor] = iter(running)
        self._layers: list[Layer] = []
        self._modules: list[nn.Module] = []
        self._shapes: list[Shape] = [INPUT_SHAPE] * members

    def sequence(
        self,
        values: Tensor,
        layers: Sequence[Sequence[Layer]],
        modules: Sequence[Sequence[nn.Module]],
    ) -> Tensor:
        """Run layers in their order.

        Args:
            values: (batch, folds x members x channels, height, width).
            layers: those of each network, which differ in their widths.
            modules: the networks' own modules, which hold no current weights.
        """
        for same in range(len(layers[0])):
            self._layers = [own[same] for own in layers]
            self._modules = [own[same] for own in modules]
            shapes, current = self._shapes, self._layers
            values = current[0].run_packed(values, self)
            self._shapes = [
                layer.output_shape(shape) for layer, shape in zip(current, shapes, strict=True)
            ]
        return values

    def current(self) -> tuple[list[Layer], list[nn.Module]]:
        """The layer that runs, and its module, of each network."""
        return self._layers, self._modules

    def parameter(self, *, folded: bool = True) -> Tensor:
        """The next parameter, side by side; repeated for each fold if `folded`."""
        values = next(self._parameters)
        return self.folded(values) if folded else values

    def folded(self, values: Tensor) -> Tensor:
        """A parameter side by side, repeated for each fold."""
        return values if self.folds == 1 else values.repeat(self.folds, *[1] * (values.dim() - 1))

    def statistic(self) -> Tensor:
        """The next running statistic, side by side, to be updated in place."""
        return next(self._running)

    def unfolded(self, values: Tensor) -> Tensor:
        """(batch, folds x channels, height, width) as (batch, channels, height, width x folds),
        for what treats all pixels alike. With the channels side by side in memory, it is a view.
        """
        if self.folds == 1:
            return values
        batch, _, height, width = values.shape
        values = values.permute(0, 2, 3, 1).reshape(batch, height, width * self.folds, -1)
        return values.permute(0, 3, 1, 2)

    def refolded(self, values: Tensor) -> Tensor:
        """What `unfolded` was given, from what it gave."""
        if self.folds == 1:
            return values
        batch, _, height, width = values.shape
        values = values.permute(0, 2, 3, 1).reshape(batch, height, width // self.folds, -1)
        return values.permute(0, 3, 1, 2)

    def one_by_one(self, values: Tensor) -> Tensor:
        """Call each network's own module on its true channels: equal for every layer, and slower
        than side by side."""
        from torch import cat
        from torch.func import functional_call
        from torch.nn import functional

        batch, _, height, width = values.shape
        parts = values.view(batch, self.folds, self.members, -1, height, width)
        weights = [next(self._parameters) for _ in self._modules[0].parameters()]
        buffers = [next(self._running) for b in self._modules[0].buffers() if b.is_floating_point()]
        widest = max(
            layer.output_shape(shape)[0]
            for layer, shape in zip(self._layers, self._shapes, strict=True)
        )
        outputs = []
        for member, (module, shape) in enumerate(zip(self._modules, self._shapes, strict=True)):
            own = parts[:, :, member, : shape[0]].flatten(0, 1)
            floating = [name for name, b in module.named_buffers() if b.is_floating_point()]
            names = [*(name for name, _ in module.named_parameters()), *floating]
            tensors = [*module.parameters(), *(module.get_buffer(name) for name in floating)]
            state = {
                name: self._member(side_by_side, member, tensor)
                for name, side_by_side, tensor in zip(
                    names, [*weights, *buffers], tensors, strict=True
                )
            }
            output: Tensor = functional_call(module.train(self.training), state, own)
            more = padded(widest, self._multiple) - output.shape[1]
            output = functional.pad(output, (0, 0, 0, 0, 0, more))
            outputs.append(output.view(batch, self.folds, *output.shape[1:]))
        return cat(outputs, dim=2).flatten(1, 2)

    def _member(self, side_by_side: Tensor, member: int, tensor: Tensor) -> Tensor:
        """One network's tensor, as a view of what lies side by side."""
        parts = side_by_side.view(self.members, -1, *side_by_side.shape[1:])
        true = tensor.shape or (1,)
        own: Tensor = parts[member][tuple(slice(side) for side in true)]
        return own.view(tensor.shape) if tensor.dim() == 0 else own

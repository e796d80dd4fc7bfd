"""How the layers of several networks of one topology run side by side.

Channels of (batch, folds x networks x channels, height, width) are those of one network after
another, each padded with zeros to the widest. There a weight, its gradient and its update stay 0:
nothing is added to padding, and what follows maps 0 to 0, so that nothing has to be masked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(slots=True)
class PackedRun:
    """One forward pass of several networks: what their layers need beside their inputs."""

    parameters: Iterator[Tensor]  # of the networks side by side, in their order
    running: Iterator[Tensor]  # their running statistics, likewise; they are updated in place
    members: int  # networks
    folds: int  # in how many parts, side by side, each network's batch lies
    training: bool
    compiled: Any = None  # training/compiled.py, where kernels of its own run what it can
    layers: tuple[Any, ...] = ()  # of each network the one that runs, and the shape of its input
    modules: tuple[nn.Module, ...] = ()  # of each network its module, without current weights

    def sequence(self, values: Tensor, layers: Iterable[Any], modules: Iterable[Any]) -> Tensor:
        """Run the layers of each network, which differ in their widths, in their order."""
        each = list(zip(zip(*layers, strict=True), zip(*modules, strict=True), strict=True))
        kinds = tuple(own[0][0] for own, _ in each)
        done = 0
        while done < len(each):
            stage = self.compiled.stage(kinds[done:]) if self.compiled else None
            self.layers, self.modules = each[done]
            values = (stage or kinds[done]).run_packed(values, self)
            done += len(stage.layers) if stage else 1
        return values

    def folded(self, values: Tensor) -> Tensor:
        """A parameter side by side, repeated for each fold."""
        return values if self.folds == 1 else values.repeat(self.folds, *[1] * (values.dim() - 1))

    def by_pixel(self, function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
        """What a function that treats all pixels alike makes of (batch, folds x channels, height,
        width), seen as (batch, channels, height, width x folds): a view, if channels lie side by
        side in memory."""
        if self.folds == 1:
            return function(values)
        batch, _, height, width = values.shape
        wide = values.permute(0, 2, 3, 1).reshape(batch, height, width * self.folds, -1)
        output = function(wide.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return output.reshape(batch, height, width, -1).permute(0, 3, 1, 2)

    def one_by_one(self, values: Tensor) -> Tensor:
        """Call each network's own module on its true channels: as good, and slower."""
        from torch import cat
        from torch.func import functional_call
        from torch.nn import functional

        batch, _, height, width = values.shape
        parts = values.view(batch, self.folds, self.members, -1, height, width)
        widest = max(layer.output_shape(shape)[0] for layer, shape in self.layers)
        packed = [next(self.parameters) for _ in self.modules[0].parameters()]
        packed += [next(self.running) for b in self.modules[0].buffers() if b.is_floating_point()]
        apart = [side.view(self.members, -1, *side.shape[1:]) for side in packed]
        outputs = []
        for member, (module, (_, shape)) in enumerate(zip(self.modules, self.layers, strict=True)):
            state: dict[str, Tensor] = dict(module.named_parameters())
            state |= {name: b for name, b in module.named_buffers() if b.is_floating_point()}
            for side, (name, own) in zip(apart, state.items(), strict=True):
                within = tuple(map(slice, own.shape or (1,)))
                state[name] = side[member][within].view(own.shape)
            true = parts[:, :, member, : shape[0]].flatten(0, 1)
            output = functional_call(module.train(self.training), state, true)
            more = widest - output.shape[1]
            output = functional.pad(output, (0, 0, 0, 0, 0, more))
            outputs.append(output.view(batch, self.folds, *output.shape[1:]))
        return cat(outputs, dim=2).flatten(1, 2)

"""Layers made of others: around some, of one again and again, or of two that weigh channels."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks import layers as runs
from nas_mnist.networks.layers import Layer, Shape, wider, with_shapes
from nas_mnist.networks.layers.convolution import BatchNorm, Conv, Convolution, DepthwiseConv, ReLU
from nas_mnist.networks.packing import PackedRun

if TYPE_CHECKING:
    from torch import Tensor, nn

MAX_TIMES = 16


@dataclass(frozen=True, slots=True)
class Composite(Layer):
    starts_unit = True
    forward: ClassVar[Callable[..., Tensor]]  # what the children's modules make of an input

    def children(self, shape: Shape) -> dict[str, tuple[Layer, Shape]]:
        """The layers within by the names of their modules, each with the shape of its input."""
        raise ArchitectureError(f"layer {self.op!r} has no `children`")

    def applied(self, shape: Shape) -> Iterable[tuple[Layer, Shape]]:
        """Those that count in MACs and windows, as often as they are applied."""
        return self.children(shape).values()

    def check(self, shape: Shape) -> None:
        for layer, seen in self.applied(shape):
            layer.check(seen)
            if layer.copies() > 1:
                raise ArchitectureError(f"layer {layer.op!r} cannot stand within another")

    def output_shape(self, shape: Shape) -> Shape:
        *_, (last, seen) = self.applied(shape)
        return last.output_shape(seen)

    def parameters(self, shape: Shape) -> int:
        return sum(layer.parameters(seen) for layer, seen in self.children(shape).values())

    def macs(self, shape: Shape) -> int:
        return sum(layer.macs(seen) for layer, seen in self.applied(shape))

    def window(self, shape: Shape) -> tuple[int, int]:
        return reduce(wider, (layer.window(seen) for layer, seen in self.applied(shape)), (1, 1))

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        forward, children = self.forward, self.children(shape).items()

        class Module(nn.Sequential):
            def forward(self, x: Tensor) -> Tensor:
                return forward(x, *self)

        return Module(OrderedDict((name, layer.module(seen)) for name, (layer, seen) in children))

    def made(self, name: str, shape: Shape) -> list[str]:
        lines = [f"self.{name} = nn.Module()"]
        for inner, (layer, seen) in self.children(shape).items():
            lines += layer.made(f"{name}.{inner}", seen)
        return lines

    def functions(self, shape: Shape) -> tuple[str, ...]:
        own = self.children(shape).values()
        return tuple(text for layer, seen in own for text in layer.functions(seen))


@dataclass(frozen=True, slots=True)
class Residual(Composite):
    """What `layers` make of their input, added to it (He et al.: Deep Residual Learning, 2016)."""

    op, example = "residual", "[c16p1rn]"
    layers: tuple[Layer, ...]

    def check(self, shape: Shape) -> None:
        if not self.layers:
            raise ArchitectureError("a residual has layers within")
        Composite.check(self, shape)
        if (output := self.output_shape(shape)) != shape:
            made = " values of ".join("×".join(map(str, sides)) for sides in (output, shape))
            raise ArchitectureError(f"its layers make {made}; pad them and keep their width")

    def children(self, shape: Shape) -> dict[str, tuple[Layer, Shape]]:
        names = runs.layer_names(self.layers)
        return dict(zip(names, with_shapes(self.layers, shape), strict=True))

    def topology(self) -> Layer:
        return Residual(tuple(layer.topology() for layer in self.layers))

    def notation(self) -> str:
        return f"[{runs.format_layers(self.layers)}]"

    @classmethod
    def parsed(cls, text: str, position: int, depth: int) -> tuple[Layer, int] | None:
        if not text.startswith("[", position):
            return None
        layers, end = runs.parse_layers(text, position + 1, "]", depth + 1)
        return cls(layers), end

    def forward(self, x: Tensor, *modules: Callable[[Tensor], Tensor]) -> Tensor:
        return x + reduce(lambda values, module: module(values), modules, x)

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        inner = [with_shapes(layer.layers, shape) for layer, shape in run.layers]
        return values + run.sequence(values, inner, [own.children() for own in run.modules])

    def forward_lines(self, name: str, reads: str, writes: str) -> list[str] | None:
        # A variable beside the one that is written: y beside x, z, and then z1, z2…
        inner = chr(ord(writes) + 1) if writes < "z" else f"z{int(writes[1:] or 0) + 1}"
        lines = runs.forward_lines(self.layers, reads, inner, f"{name}.")
        return [*lines, f"{writes} = {reads} + {inner}"]


@dataclass(frozen=True, slots=True)
class Repeat(Composite):
    """The same layers applied `times`, with the same filters, but each time with normalizations of
    their own (Guo et al.: Dynamic Recursive Neural Network, 2019)."""

    op, example = "repeat", "w2c16p1"
    times: int
    layers: tuple[Layer, ...]  # convolutions, normalizations, and what has no parameters

    def check(self, shape: Shape) -> None:
        if not 1 <= self.times <= MAX_TIMES:
            raise ArchitectureError(f"{self.times} times is not within 1 to {MAX_TIMES}")
        if not self.layers:
            raise ArchitectureError("a repeat has layers within")
        Composite.check(self, shape)
        for layer, seen in with_shapes(self.layers, shape):
            if isinstance(layer, Composite) or (not _trained(layer) and layer.parameters(seen)):
                raise ArchitectureError(f"layer {layer.op!r} cannot be repeated")
        if (width := self.output_shape(shape)[0]) != shape[0]:
            said = f"{shape[0]} channels, not {width}"
            raise ArchitectureError(f"what is repeated keeps its width: {said}")

    def applied(self, shape: Shape) -> Iterable[tuple[Layer, Shape]]:
        return with_shapes(self.layers * self.times, shape)

    def children(self, shape: Shape) -> dict[str, tuple[Layer, Shape]]:
        named = dict(zip(self._names(), self.applied(shape), strict=True))
        # Filters first, which the same names give once, then the norms.
        return dict(sorted(named.items(), key=lambda own: isinstance(own[1][0], BatchNorm)))

    def _names(self) -> list[str]:
        """Of all that is applied, in its order; each time the same but for the norms."""
        names, own = [], runs.layer_names(self.layers)
        norms = 0
        for _ in range(self.times):
            for name, layer in zip(own, self.layers, strict=True):
                norms += isinstance(layer, BatchNorm)
                names.append(f"{layer.stem}{norms}" if isinstance(layer, BatchNorm) else name)
        return names

    def topology(self) -> Layer:
        return Repeat(self.times, tuple(layer.topology() for layer in self.layers))

    def notation(self) -> str:
        first, *others = self.layers
        if isinstance(first, Convolution) and others == _BEHIND:
            return f"w{self.times}{first.notation()}"
        return f"w{self.times}[{runs.format_layers(self.layers)}]"

    @classmethod
    def parsed(cls, text: str, position: int, depth: int) -> tuple[Layer, int] | None:
        if (start := re.compile(r"w(\d{1,4})(\[)?", re.ASCII).match(text, position)) is None:
            return None
        if start[2]:
            layers, end = runs.parse_layers(text, start.end(), "]", depth + 1)
            return cls(int(start[1]), layers), end
        for kind in (Conv, DepthwiseConv):
            if found := kind.parsed(text, start.end(), depth):
                return cls(int(start[1]), (found[0], *_BEHIND)), found[1]
        return None

    def forward(self, x: Tensor, *modules: Callable[[Tensor], Tensor]) -> Tensor:
        others = len(self.layers) - sum(isinstance(layer, BatchNorm) for layer in self.layers)
        norms = iter(modules[others:])
        for _ in range(self.times):
            same = iter(modules[:others])
            for layer in self.layers:
                x = next(norms if isinstance(layer, BatchNorm) else same)(x)
        return x

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        layers: list[Any] = [
            _Applied(layer, layer.weights(run)) if isinstance(layer, Convolution) else layer
            for layer in self.layers
        ]
        every: list[list[Any]] = [[*layer.applied(shape)] for layer, shape in run.layers]
        seen = (shape for _, shape in every[0])
        every[0] = list(zip(layers * self.times, seen, strict=True))  # the first network's run
        modules = [[getattr(own, name) for name in self._names()] for own in run.modules]
        return run.sequence(values, every, modules)

    def forward_lines(self, name: str, reads: str, writes: str) -> list[str] | None:
        return runs.forward_lines(
            self.layers * self.times, reads, writes, f"{name}.", self._names()
        )


# What stands behind a convolution that is repeated, if nothing else is said.
_BEHIND: list[Layer] = [ReLU(), BatchNorm()]


def _trained(layer: Layer) -> bool:
    return isinstance(layer, Convolution | BatchNorm)


class _Applied(NamedTuple):
    """A convolution of filters that are at hand."""

    layer: Convolution
    weights: tuple[Tensor, Tensor | None]

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        return self.layer.run_packed(values, run, self.weights)


class _Gate(Conv):
    def options(self, shape: Shape) -> dict[str, Any]:
        return {}  # its bias is torch's default


@dataclass(frozen=True, slots=True)
class SqueezeExcite(Composite):
    """Weighs each channel by what all channels' means say, through a layer of `reduced` channels
    (Hu et al.: Squeeze-and-Excitation Networks, 2018)."""

    op, stem, widths = "squeeze-excite", "excite", ("reduced",)
    pattern, example, form = r"s(?P<reduced>\d{1,4})", "s4", "s{0.reduced}"
    starts_unit = False
    reduced: int

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def children(self, shape: Shape) -> dict[str, tuple[Layer, Shape]]:
        first, second = (_Gate(out, kernel=1, bias=True) for out in (self.reduced, shape[0]))
        return {"reduce": (first, (shape[0], 1, 1)), "expand": (second, (self.reduced, 1, 1))}

    def window(self, shape: Shape) -> tuple[int, int]:
        # A map of side s has windows of 2s - 1 about each value that hold all of it.
        return 2 * shape[1] - 1, 1

    def forward(self, x: Tensor, *modules: Callable[[Tensor], Tensor]) -> Tensor:
        from torch import sigmoid
        from torch.nn import functional

        narrow, expand = modules
        mean = functional.adaptive_avg_pool2d(x, 1)
        return x * sigmoid(expand(functional.relu(narrow(mean))))

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        from torch.nn import functional

        weight, bias, back, back_bias = (run.folded(next(run.parameters)) for _ in range(4))
        convolve = partial(functional.conv2d, groups=run.folds * run.members)
        narrow = partial(convolve, weight=weight, bias=bias)
        return self.forward(values, narrow, partial(convolve, weight=back, bias=back_bias))

    def forward_lines(self, name: str, reads: str, writes: str) -> list[str] | None:
        mean = f"functional.adaptive_avg_pool2d({reads}, 1)"
        return [
            f"gate = functional.relu(self.{name}.reduce({mean}))",
            f"{writes} = {reads} * torch.sigmoid(self.{name}.expand(gate))",
        ]

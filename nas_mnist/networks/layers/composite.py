"""Layers made of others: a residual around some, and one convolution applied again and again."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.layers import (
    LAYERS,
    Layer,
    Shape,
    format_layers,
    forward_lines,
    layer_names,
    parse_layers,
    window_of,
    with_shapes,
)
from nas_mnist.networks.layers.convolution import Convolution
from nas_mnist.networks.layers.pointwise import BatchNorm

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nas_mnist.networks.packing import PackedRun

MAX_TIMES = 16


@dataclass(frozen=True, slots=True)
class _Composite(Layer):
    starts_unit = True

    def applied(self) -> Sequence[Layer]:
        """The convolutions and other layers that cost something, in the order they are applied."""
        raise NotImplementedError

    def children(self, shape: Shape) -> dict[str, tuple[Layer, Shape]]:
        """The layers within by the names of their modules, each with the shape of its input."""
        raise NotImplementedError

    def parameters(self, shape: Shape) -> int:
        return sum(layer.parameters(seen) for layer, seen in self.children(shape).values())

    def macs(self, shape: Shape) -> int:
        return sum(layer.macs(seen) for layer, seen in with_shapes(self.applied(), shape))

    def window(self, shape: Shape) -> tuple[int, int]:
        return window_of(self.applied(), shape)

    def modules(self, shape: Shape) -> OrderedDict[str, nn.Module]:
        children = self.children(shape).items()
        return OrderedDict((name, layer.module(seen)) for name, (layer, seen) in children)

    def made(self, name: str, shape: Shape) -> list[str]:
        lines = [f"self.{name} = nn.Module()"]
        for inner, (layer, seen) in self.children(shape).items():
            lines += layer.made(f"{name}.{inner}", seen)
        return lines


@dataclass(frozen=True, slots=True)
class Residual(_Composite):
    """What `layers` make of their input, and the input itself added (He, Zhang, Ren, Sun: Deep
    Residual Learning for Image Recognition, 2016)."""

    op = "residual"
    example = "[c16p1rn]"
    layers: tuple[Layer, ...]

    def check(self, shape: Shape) -> None:
        if not self.layers:
            raise ArchitectureError("a residual has layers within")
        output = shape
        for layer in self.layers:
            layer.check(output)
            output = layer.output_shape(output)
        if output != shape:
            before, after = ("×".join(map(str, sides)) for sides in (shape, output))
            raise ArchitectureError(
                f"its layers make {after} values of {before}; pad them and keep their width"
            )

    def applied(self) -> Sequence[Layer]:
        return self.layers

    def children(self, shape: Shape) -> dict[str, tuple[Layer, Shape]]:
        return dict(zip(layer_names(self.layers), with_shapes(self.layers, shape), strict=True))

    def topology(self) -> Layer:
        return Residual(tuple(layer.topology() for layer in self.layers))

    def notation(self) -> str:
        return f"[{format_layers(self.layers)}]"

    @classmethod
    def parsed(cls, text: str, position: int, depth: int) -> tuple[Layer, int] | None:
        if not text.startswith("[", position):
            return None
        layers, end = parse_layers(text, position + 1, "]", depth + 1)
        return cls(layers), end

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        class Module(nn.Sequential):
            def forward(self, x: Tensor) -> Tensor:
                output: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
                return x + output

        return Module(self.modules(shape))

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        inner = [
            list(with_shapes(layer.layers, shape))
            for layer, shape in run.layers
            if isinstance(layer, Residual)
        ]
        modules = [list(module.children()) for module in run.modules]
        return values + run.sequence(values, inner, modules)

    def forward_lines(self, name: str, reads: str, writes: str) -> list[str] | None:
        # A variable beside the one that is written: y beside x, z, and then z1, z2…
        inner = chr(ord(writes) + 1) if writes < "z" else f"z{int(writes[1:] or 0) + 1}"
        lines = forward_lines(self.layers, reads, inner, f"{name}.")
        return [*lines, f"{writes} = {reads} + {inner}"]


@dataclass(frozen=True, slots=True)
class Repeat(_Composite):
    """The same convolution applied `times`, each time with ReLU and a normalization of its own."""

    op = "repeat"
    example = "w2c16p1"
    times: int
    convolution: Layer

    def check(self, shape: Shape) -> None:
        if not 1 <= self.times <= MAX_TIMES:
            raise ArchitectureError(f"{self.times} times is not within 1 to {MAX_TIMES}")
        if not isinstance(self.convolution, Convolution):
            raise ArchitectureError(f"only a convolution is repeated, not {self.convolution.op}")
        for convolution, seen in with_shapes(self.applied(), shape):
            convolution.check(seen)
            width = convolution.output_shape(seen)[0]
            if width != shape[0]:
                raise ArchitectureError(
                    f"what is repeated keeps its width: {shape[0]} channels, not {width}"
                )

    def output_shape(self, shape: Shape) -> Shape:
        for convolution in self.applied():
            shape = convolution.output_shape(shape)
        return shape

    def applied(self) -> Sequence[Layer]:
        return (self.convolution,) * self.times

    def children(self, shape: Shape) -> dict[str, tuple[Layer, Shape]]:
        norms = {f"norm{number}": BatchNorm() for number in range(1, self.times + 1)}
        return {name: (layer, shape) for name, layer in {"conv": self.convolution, **norms}.items()}

    def topology(self) -> Layer:
        return replace(self, convolution=self.convolution.topology())

    def notation(self) -> str:
        return f"w{self.times}{self.convolution.notation()}"

    @classmethod
    def parsed(cls, text: str, position: int, depth: int) -> tuple[Layer, int] | None:
        times = re.compile(r"w(\d{1,4})", re.ASCII).match(text, position)
        if times is None:
            return None
        kinds = [kind for kind in LAYERS.values() if issubclass(kind, Convolution)]
        for found in (kind.parsed(text, times.end(), depth) for kind in kinds):
            if found:
                return cls(int(times[1]), found[0]), found[1]
        return None

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn
        from torch.nn import functional

        class Module(nn.Sequential):
            def forward(self, x: Tensor) -> Tensor:
                convolution, *norms = self
                for norm in norms:
                    x = norm(functional.relu(convolution(x)))
                return x

        return Module(self.modules(shape))

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        from torch.nn import functional

        assert isinstance(self.convolution, Convolution)
        weights = self.convolution.weights(run)
        norm = BatchNorm()
        for _ in range(self.times):
            values = functional.relu(self.convolution.convolved(values, *weights, run))
            values = norm.run_packed(values, run)
        return values

    def forward_lines(self, name: str, reads: str, writes: str) -> list[str] | None:
        lines = []
        for number in range(1, self.times + 1):
            call = f"self.{name}.norm{number}(functional.relu(self.{name}.conv({reads})))"
            lines.append(f"{writes} = {call}")
            reads = writes
        return lines

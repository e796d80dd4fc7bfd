"""Layers made of others: a residual around some, and one convolution applied again and again."""

from __future__ import annotations

import re
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
    next_variable,
    parse_layers,
    window_of,
)
from nas_mnist.networks.layers.convolution import Convolution
from nas_mnist.networks.layers.pointwise import BatchNorm

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nas_mnist.networks.packing import PackedRun

MAX_TIMES = 16


@dataclass(frozen=True, slots=True)
class Residual(Layer):
    """What `layers` make of their input, and the input itself added (He, Zhang, Ren, Sun: Deep
    Residual Learning for Image Recognition, 2016)."""

    op = "residual"
    example = "[c16p1rn]"
    starts_unit = True
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

    def parameters(self, shape: Shape) -> int:
        return sum(layer.parameters(seen) for layer, seen in self._inner(shape))

    def macs(self, shape: Shape) -> int:
        return sum(layer.macs(seen) for layer, seen in self._inner(shape))

    def window(self, shape: Shape) -> tuple[int, int]:
        return window_of(self.layers, shape)

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

        module = Module()
        for name, (layer, seen) in zip(layer_names(self.layers), self._inner(shape), strict=True):
            module.add_module(name, layer.module(seen))
        return module

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        layers, modules = run.current()
        inner = [layer.layers for layer in layers if isinstance(layer, Residual)]
        return values + run.sequence(values, inner, [list(module.children()) for module in modules])

    def made(self, name: str, shape: Shape) -> list[str]:
        lines = [f"self.{name} = nn.Module()"]
        for inner, (layer, seen) in zip(layer_names(self.layers), self._inner(shape), strict=True):
            lines += layer.made(f"{name}.{inner}", seen)
        return lines

    def forward_lines(self, name: str, reads: str, writes: str) -> list[str] | None:
        inner = next_variable(writes)
        lines = forward_lines(self.layers, reads, inner, f"{name}.")
        return [*lines, f"{writes} = {reads} + {inner}"]

    def _inner(self, shape: Shape) -> list[tuple[Layer, Shape]]:
        """The layers, each with the shape of its input."""
        pairs = []
        for layer in self.layers:
            pairs.append((layer, shape))
            shape = layer.output_shape(shape)
        return pairs


@dataclass(frozen=True, slots=True)
class Repeat(Layer):
    """The same convolution applied `times`, each time with ReLU and a normalization of its own."""

    op = "repeat"
    example = "w2c16p1"
    starts_unit = True
    times: int
    convolution: Layer

    def check(self, shape: Shape) -> None:
        if not 1 <= self.times <= MAX_TIMES:
            raise ArchitectureError(f"{self.times} times is not within 1 to {MAX_TIMES}")
        if not isinstance(self.convolution, Convolution):
            raise ArchitectureError(f"only a convolution is repeated, not {self.convolution.op}")
        for seen in self._shapes(shape):
            self.convolution.check(seen)
            if self.convolution.output_shape(seen)[0] != shape[0]:
                raise ArchitectureError(
                    f"what is repeated keeps its width: {shape[0]} channels, not "
                    f"{self.convolution.output_shape(seen)[0]}"
                )

    def output_shape(self, shape: Shape) -> Shape:
        for _ in range(self.times):
            shape = self.convolution.output_shape(shape)
        return shape

    def parameters(self, shape: Shape) -> int:
        return self.convolution.parameters(shape) + 2 * shape[0] * self.times

    def macs(self, shape: Shape) -> int:
        return sum(self.convolution.macs(seen) for seen in self._shapes(shape))

    def window(self, shape: Shape) -> tuple[int, int]:
        return window_of([self.convolution] * self.times, shape)

    def topology(self) -> Layer:
        return replace(self, convolution=self.convolution.topology())

    def notation(self) -> str:
        return f"w{self.times}{self.convolution.notation()}"

    @classmethod
    def parsed(cls, text: str, position: int, depth: int) -> tuple[Layer, int] | None:
        match = re.compile(r"w(?P<times>\d{1,4})", re.ASCII).match(text, position)
        if match is None:
            return None
        for kind in LAYERS.values():
            found = issubclass(kind, Convolution) and kind.parsed(text, match.end(), depth)
            if found:
                return cls(int(match["times"]), found[0]), found[1]
        return None

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn
        from torch.nn import functional

        class Module(nn.Module):
            def __init__(self, convolution: nn.Module, norms: list[nn.Module]) -> None:
                super().__init__()
                self.conv = convolution
                for number, norm in enumerate(norms, start=1):
                    self.add_module(f"norm{number}", norm)
                self.times = len(norms)

            def forward(self, x: Tensor) -> Tensor:
                for number in range(1, self.times + 1):
                    x = self.get_submodule(f"norm{number}")(functional.relu(self.conv(x)))
                return x

        norms = [BatchNorm().module(shape) for _ in range(self.times)]
        return Module(self.convolution.module(shape), norms)

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        from torch.nn import functional

        assert isinstance(self.convolution, Convolution)
        weights = self.convolution.weights(run)
        norm = BatchNorm()
        for _ in range(self.times):
            values = functional.relu(self.convolution.convolved(values, *weights, run))
            values = norm.run_packed(values, run)
        return values

    def made(self, name: str, shape: Shape) -> list[str]:
        lines = [f"self.{name} = nn.Module()", *self.convolution.made(f"{name}.conv", shape)]
        for number in range(1, self.times + 1):
            lines += BatchNorm().made(f"{name}.norm{number}", shape)
        return lines

    def forward_lines(self, name: str, reads: str, writes: str) -> list[str] | None:
        lines = []
        for number in range(1, self.times + 1):
            call = f"self.{name}.norm{number}(functional.relu(self.{name}.conv({reads})))"
            lines.append(f"{writes} = {call}")
            reads = writes
        return lines

    def _shapes(self, shape: Shape) -> list[Shape]:
        """The input's shape at each application."""
        shapes = []
        for _ in range(self.times):
            shapes.append(shape)
            shape = self.convolution.output_shape(shape)
        return shapes

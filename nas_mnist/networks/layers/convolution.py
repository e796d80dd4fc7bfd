"""Convolutions, dense and depthwise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.layers import INPUT_SHAPE, MAX_CHANNELS, Layer, Shape

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nas_mnist.networks.packing import PackedRun

# Four digits a number: enough for every legal value, and int() never meets a huge one.
_WINDOW = r"(?:k(?P<kernel>\d{1,4}))?(?:p(?P<padding>\d{1,4}))?(?P<bias>b)?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution(Layer, ABC):
    """What both kinds share; not a layer by itself."""

    kernel: int = 3
    """side of the square window"""
    padding: int = 0
    """pixels of zeros added on every side"""
    bias: bool = False

    def check(self, shape: Shape) -> None:
        _, height, width = shape
        if not 1 <= self.kernel <= INPUT_SHAPE[1]:
            raise ArchitectureError(f"kernel {self.kernel} is not within 1 to {INPUT_SHAPE[1]}")
        if not 0 <= self.padding < self.kernel:
            raise ArchitectureError(
                f"padding {self.padding} is not within 0 to {self.kernel - 1} (kernel - 1)"
            )
        if self.kernel > min(height, width) + 2 * self.padding:
            raise ArchitectureError(
                f"kernel {self.kernel} does not fit a {height}×{width} map "
                f"with padding {self.padding}"
            )

    def side(self, side: int) -> int:
        """Side of the output map, given that of the input."""
        return side + 2 * self.padding - self.kernel + 1

    def window(self, shape: Shape) -> tuple[int, int]:
        return self.kernel, 1

    def window_notation(self) -> str:
        kernel = f"k{self.kernel}" if self.kernel != 3 else ""
        padding = f"p{self.padding}" if self.padding else ""
        return kernel + padding + ("b" if self.bias else "")

    def window_source(self, *more: str) -> str:
        padding = [f"padding={self.padding}"] if self.padding else []
        return ", ".join([str(self.kernel), *padding, *more, f"bias={self.bias}"])

    def weights(self, run: PackedRun) -> tuple[Tensor, Tensor | None]:
        """The weights side by side, not folded, and the biases if there are any."""
        weight = run.parameter(folded=False)
        return weight, run.parameter(folded=False) if self.bias else None

    @abstractmethod
    def convolved(
        self, values: Tensor, weight: Tensor, bias: Tensor | None, run: PackedRun
    ) -> Tensor:
        """The convolution of networks side by side with these weights."""

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        return self.convolved(values, *self.weights(run), run)


def _window(kernel: str | None, padding: str | None, bias: str | None) -> dict[str, int]:
    return {"kernel": int(kernel or 3), "padding": int(padding or 0), "bias": bias is not None}


@dataclass(frozen=True, slots=True)
class Conv(Convolution):
    """A dense convolution to `out` channels."""

    op = "conv"
    pattern = rf"c(?P<out>\d{{1,4}}){_WINDOW}"
    example = "c16"
    starts_unit = True
    out: int

    def check(self, shape: Shape) -> None:
        if not 1 <= self.out <= MAX_CHANNELS:
            raise ArchitectureError(f"width {self.out} is not within 1 to {MAX_CHANNELS}")
        Convolution.check(self, shape)

    def output_shape(self, shape: Shape) -> Shape:
        return self.out, self.side(shape[1]), self.side(shape[2])

    def parameters(self, shape: Shape) -> int:
        return self.out * (shape[0] * self.kernel * self.kernel + self.bias)

    def macs(self, shape: Shape) -> int:
        out, height, width = self.output_shape(shape)
        return out * height * width * shape[0] * self.kernel * self.kernel

    def topology(self) -> Layer:
        return replace(self, out=0)

    def notation(self) -> str:
        return f"c{self.out}{self.window_notation()}"

    @classmethod
    def from_match(cls, **groups: str | None) -> Layer:
        out = int(groups.pop("out") or 0)
        return cls(out, **_window(**groups))  # type: ignore[arg-type]

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        return nn.Conv2d(shape[0], self.out, self.kernel, padding=self.padding, bias=self.bias)

    def convolved(
        self, values: Tensor, weight: Tensor, bias: Tensor | None, run: PackedRun
    ) -> Tensor:
        from torch.nn import functional

        if self.kernel == 1 and not self.padding:
            values = functional.conv2d(run.unfolded(values), weight, bias, groups=run.members)
            return run.refolded(values)
        weight, bias = run.folded(weight), None if bias is None else run.folded(bias)
        groups = run.folds * run.members
        return functional.conv2d(values, weight, bias, padding=self.padding, groups=groups)

    def made(self, name: str, shape: Shape) -> list[str]:
        return [f"self.{name} = nn.Conv2d({shape[0]}, {self.out}, {self.window_source()})"]


@dataclass(frozen=True, slots=True)
class DepthwiseConv(Convolution):
    """One filter for each channel; with a 1×1 `Conv` behind it, a separable convolution."""

    op = "depthwise"
    pattern = rf"d{_WINDOW}"
    example = "d"
    starts_unit = True

    def output_shape(self, shape: Shape) -> Shape:
        return shape[0], self.side(shape[1]), self.side(shape[2])

    def parameters(self, shape: Shape) -> int:
        return shape[0] * (self.kernel * self.kernel + self.bias)

    def macs(self, shape: Shape) -> int:
        channels, height, width = self.output_shape(shape)
        return channels * height * width * self.kernel * self.kernel

    def notation(self) -> str:
        return f"d{self.window_notation()}"

    @classmethod
    def from_match(cls, **groups: str | None) -> Layer:
        return cls(**_window(**groups))  # type: ignore[arg-type]

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        channels = shape[0]
        return nn.Conv2d(
            channels,
            channels,
            self.kernel,
            padding=self.padding,
            groups=channels,
            bias=self.bias,
        )

    def convolved(
        self, values: Tensor, weight: Tensor, bias: Tensor | None, run: PackedRun
    ) -> Tensor:
        from torch.nn import functional

        weight, bias = run.folded(weight), None if bias is None else run.folded(bias)
        return functional.conv2d(values, weight, bias, padding=self.padding, groups=len(weight))

    def made(self, name: str, shape: Shape) -> list[str]:
        window = self.window_source(f"groups={shape[0]}")
        return [f"self.{name} = nn.Conv2d({shape[0]}, {shape[0]}, {window})"]

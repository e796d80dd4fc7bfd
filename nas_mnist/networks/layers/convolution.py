"""Convolutions and pools, and what stands between them: ReLU, normalization, dropout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.layers import INPUT_SHAPE, MAX_CHANNELS, Layer, Shape, check_range
from nas_mnist.networks.packing import PackedRun

if TYPE_CHECKING:
    from torch import Tensor, nn

# Four digits a number: enough for every legal value, and int() never meets a huge one.
_WINDOW = r"(?:k(?P<kernel>\d{1,4}))?(?:p(?P<padding>\d{1,4}))?(?P<bias>b)?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution(Layer):
    """What both kinds share."""

    starts_unit, torch_class = True, "Conv2d"
    dense: ClassVar[bool] = True  # whether a filter reads all channels, or its own alone
    kernel: int = 3  # side of the square window
    padding: int = 0  # pixels of zeros added on every side
    bias: bool = False

    def check(self, shape: Shape) -> None:
        check_range("kernel", self.kernel, 1, INPUT_SHAPE[1])
        check_range("padding", self.padding, 0, self.kernel - 1, " (kernel - 1)")
        if self.kernel > min(shape[1:]) + 2 * self.padding:
            size = f"{shape[1]}×{shape[2]} map with padding {self.padding}"
            raise ArchitectureError(f"kernel {self.kernel} does not fit a {size}")

    def filters(self, shape: Shape) -> tuple[int, int]:
        """How many there are, and the weights of each."""
        return shape[0], self.kernel * self.kernel

    def output_shape(self, shape: Shape) -> Shape:
        lost = self.kernel - 1 - 2 * self.padding
        return self.filters(shape)[0], shape[1] - lost, shape[2] - lost

    def parameters(self, shape: Shape) -> int:
        filters, weights = self.filters(shape)
        return filters * (weights + self.bias)

    def macs(self, shape: Shape) -> int:
        out, height, width = self.output_shape(shape)
        return out * height * width * self.filters(shape)[1]

    def window(self, shape: Shape) -> tuple[int, int]:
        return self.kernel, 1

    def notation(self) -> str:
        kernel = f"k{self.kernel}" if self.kernel != 3 else ""
        padding = f"p{self.padding}" if self.padding else ""
        return self.form.format(self) + kernel + padding + "b" * self.bias

    def arguments(self, shape: Shape) -> tuple[Any, ...]:
        return shape[0], self.filters(shape)[0], self.kernel

    def options(self, shape: Shape) -> dict[str, Any]:
        padding = {"padding": self.padding} if self.padding else {}
        groups = {} if self.dense else {"groups": shape[0]}
        return {**padding, **groups, "bias": self.bias}

    def weights(self, run: PackedRun) -> tuple[Tensor, Tensor | None]:
        """The weights side by side, and the biases if there are any."""
        return next(run.parameters), next(run.parameters) if self.bias else None

    def run_packed(self, values: Tensor, run: PackedRun, weights: Any = None) -> Tensor:
        from torch.nn import functional

        weight, bias = weights or self.weights(run)
        convolve = run.compiled.convolution if run.compiled else functional.conv2d
        if self.dense and self.kernel == 1 and not self.padding:
            every = run.members
            return run.by_pixel(lambda x: convolve(x, weight, bias, groups=every), values)
        weight, bias = run.folded(weight), None if bias is None else run.folded(bias)
        groups = run.folds * run.members if self.dense else len(weight)
        output: Tensor = convolve(values, weight, bias, padding=self.padding, groups=groups)
        return output


@dataclass(frozen=True, slots=True)
class Conv(Convolution):
    """A dense convolution to `out` channels."""

    op, widths = "conv", ("out",)
    pattern, example, form = rf"c(?P<out>\d{{1,4}}){_WINDOW}", "c16", "c{0.out}"
    out: int

    def check(self, shape: Shape) -> None:
        check_range("width", self.out, 1, MAX_CHANNELS)
        Convolution.check(self, shape)

    def filters(self, shape: Shape) -> tuple[int, int]:
        return self.out, self.kernel * self.kernel * shape[0]


@dataclass(frozen=True, slots=True)
class DepthwiseConv(Convolution):
    """One filter for each channel; with a 1×1 `Conv` behind it, a separable convolution."""

    op, dense = "depthwise", False
    pattern, example, form = rf"d{_WINDOW}", "d", "d"


@dataclass(frozen=True, slots=True)
class ReLU(Layer):
    op, torch_class, torch_function = "relu", "ReLU", "relu"
    pattern = example = form = "r"


@dataclass(frozen=True, slots=True)
class BatchNorm(Layer):
    """Batch normalization with a trained shift for each channel, and a trained scale unless the
    convolution behind it is left to scale."""

    op, stem, torch_class = "batchnorm", "norm", "BatchNorm2d"
    pattern, example = r"n(?P<unscaled>0)?", "n"
    scale: bool = True

    def parameters(self, shape: Shape) -> int:
        return (1 + self.scale) * shape[0]

    def notation(self) -> str:
        return "n" if self.scale else "n0"

    @classmethod
    def from_match(cls, **groups: str | None) -> Layer:
        return cls(scale=groups["unscaled"] is None)

    def arguments(self, shape: Shape) -> tuple[Any, ...]:
        return (shape[0],)

    def module(self, shape: Shape) -> nn.Module:
        norm = Layer.module(self, shape)
        if not self.scale:
            norm.register_parameter("weight", None)
        return norm

    def made(self, name: str, shape: Shape) -> list[str]:
        lines = Layer.made(self, name, shape)
        return lines if self.scale else [*lines, f'self.{name}.register_parameter("weight", None)']

    def trained(self, run: PackedRun) -> tuple[Tensor | None, Tensor]:
        """Scales, or None, and shifts, side by side."""
        return next(run.parameters) if self.scale else None, next(run.parameters)

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        from torch.nn import functional

        state = next(run.running), next(run.running), *self.trained(run)
        return run.by_pixel(lambda x: functional.batch_norm(x, *state, run.training), values)


@dataclass(frozen=True, slots=True)
class Dropout(Layer):
    """Dropout of single values."""

    op, stem, torch_class = "dropout", "dropout", "Dropout"
    pattern, example = r"x(?P<p>\d(?:\.\d{1,6})?)", "x0.1"
    p: float = 0.0  # share of values set to zero while training

    def check(self, shape: Shape) -> None:
        if not 0 <= self.p < 1:
            raise ArchitectureError(f"dropout rate {self.p} is not within 0 to 1 (exclusive)")
        if round(self.p, 6) != self.p:
            raise ArchitectureError(f"dropout rate {self.p} has more than six decimals")

    def notation(self) -> str:
        return self.example[0] + f"{self.p:.6f}".rstrip("0").rstrip(".")

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        return dropout(values, self.p) if run.training else values


@dataclass(frozen=True, slots=True)
class Dropout2d(Dropout):
    """Dropout of whole channels."""

    op, torch_class = "dropout2d", "Dropout2d"
    pattern, example = r"y(?P<p>\d(?:\.\d{1,6})?)", "y0.1"

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        from torch.nn import functional

        return functional.dropout2d(values, self.p, run.training)


@dataclass(frozen=True, slots=True)
class MaxPool(Layer):
    """The largest value of each `kernel`×`kernel` square; the stride is the kernel."""

    op, stem, starts_unit = "maxpool", "pool", True
    pattern, example, form = r"m(?P<kernel>\d{1,4})", "m2", "m{0.kernel}"
    torch_class, torch_function = "MaxPool2d", "max_pool2d"
    kernel: int = 2

    def check(self, shape: Shape) -> None:
        side = min(shape[1:])
        if not 2 <= self.kernel <= side:
            said = f"max-pool {self.kernel} is not within 2 to the map's side ({side})"
            raise ArchitectureError(said)

    def output_shape(self, shape: Shape) -> Shape:
        return shape[0], shape[1] // self.kernel, shape[2] // self.kernel

    def window(self, shape: Shape) -> tuple[int, int]:
        return self.kernel, self.kernel


@dataclass(frozen=True, slots=True)
class GlobalAveragePool(Layer):
    """The mean of each channel over the whole map."""

    op, starts_unit = "gap", True
    pattern = example = form = "g"
    torch_class, torch_function = "AdaptiveAvgPool2d", "adaptive_avg_pool2d"

    def output_shape(self, shape: Shape) -> Shape:
        return shape[0], 1, 1

    def window(self, shape: Shape) -> tuple[int, int]:
        return shape[1], 1

    def arguments(self, shape: Shape) -> tuple[Any, ...]:
        return (1,)


def dropout(values: Tensor, rate: float) -> Tensor:
    """Dropout while training. On a CPU torch draws values one at a time, a third of the step of a
    small network; this takes 4 from each draw of 64 bits, and meets the rate to 1/131,072."""
    import torch
    from torch.nn import functional

    if rate == 0 or values.device.type != "cpu":
        return functional.dropout(values, rate)
    count = values.numel()
    draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    # Laid out as the values are, or the product would be copied into another layout.
    mask = torch.empty_like(values)
    flat = mask.as_strided((count,), (1,))
    torch.ge(draws.view(torch.int16)[:count], round(rate * 2**16) - 2**15, out=flat)
    return values * mask.mul_(1 / (1 - rate))

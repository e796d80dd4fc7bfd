"""Layers that sum up many pixels: pools, and what weighs channels by their means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.layers import Layer, Shape, check_width
from nas_mnist.networks.layers.composite import Composite
from nas_mnist.networks.layers.convolution import Conv

if TYPE_CHECKING:
    from torch import Tensor

    from nas_mnist.networks.packing import PackedRun


@dataclass(frozen=True, slots=True)
class MaxPool(Layer):
    """The largest value of each `kernel`×`kernel` square; the stride is the kernel."""

    op, stem = "maxpool", "pool"
    pattern, example, form = r"m(?P<kernel>\d{1,4})", "m2", "m{0.kernel}"
    starts_unit = True
    torch_class, torch_function = "MaxPool2d", "max_pool2d"
    kernel: int = 2

    def check(self, shape: Shape) -> None:
        if not 2 <= self.kernel <= min(shape[1:]):
            raise ArchitectureError(
                f"max-pool {self.kernel} is not within 2 to the map's side ({min(shape[1:])})"
            )

    def output_shape(self, shape: Shape) -> Shape:
        return shape[0], shape[1] // self.kernel, shape[2] // self.kernel

    def window(self, shape: Shape) -> tuple[int, int]:
        return self.kernel, self.kernel


@dataclass(frozen=True, slots=True)
class GlobalAveragePool(Layer):
    """The mean of each channel over the whole map."""

    op = "gap"
    pattern = example = form = "g"
    starts_unit = True
    torch_class, torch_function = "AdaptiveAvgPool2d", "adaptive_avg_pool2d"

    def output_shape(self, shape: Shape) -> Shape:
        return shape[0], 1, 1

    def window(self, shape: Shape) -> tuple[int, int]:
        return shape[1], 1

    def arguments(self, shape: Shape) -> tuple[Any, ...]:
        return (1,)


class _Gate(Conv):
    def options(self, shape: Shape) -> dict[str, Any]:
        return {}  # its bias is torch's default


@dataclass(frozen=True, slots=True)
class SqueezeExcite(Composite):
    """Weighs each channel by what all channels' means say, through a layer of `reduced` channels
    (Hu, Shen, Sun: Squeeze-and-Excitation Networks, 2018)."""

    op, stem = "squeeze-excite", "excite"
    pattern, example, form = r"s(?P<reduced>\d{1,4})", "s4", "s{0.reduced}"
    starts_unit = False
    reduced: int

    def check(self, shape: Shape) -> None:
        check_width(self.reduced)

    def children(self, shape: Shape) -> dict[str, tuple[Layer, Shape]]:
        reduce, expand = (_Gate(out, kernel=1, bias=True) for out in (self.reduced, shape[0]))
        return {"reduce": (reduce, (shape[0], 1, 1)), "expand": (expand, (self.reduced, 1, 1))}

    def window(self, shape: Shape) -> tuple[int, int]:
        # A map of side s has windows of 2s - 1 about each value that hold all of it.
        return 2 * shape[1] - 1, 1

    def topology(self) -> Layer:
        return replace(self, reduced=0)

    def forward(self, x: Tensor, *modules: Callable[[Tensor], Tensor]) -> Tensor:
        from torch import sigmoid
        from torch.nn import functional

        reduce, expand = modules
        mean = functional.adaptive_avg_pool2d(x, 1)
        return x * sigmoid(expand(functional.relu(reduce(mean))))

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        from torch.nn import functional

        weight, bias, back, back_bias = (run.folded(next(run.parameters)) for _ in range(4))
        convolve = partial(functional.conv2d, groups=run.folds * run.members)
        reduce = partial(convolve, weight=weight, bias=bias)
        return self.forward(values, reduce, partial(convolve, weight=back, bias=back_bias))

    def forward_lines(self, name: str, reads: str, writes: str) -> list[str] | None:
        mean = f"functional.adaptive_avg_pool2d({reads}, 1)"
        return [
            f"gate = functional.relu(self.{name}.reduce({mean}))",
            f"{writes} = {reads} * torch.sigmoid(self.{name}.expand(gate))",
        ]

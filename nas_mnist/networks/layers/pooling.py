"""Layers that sum up many pixels: pools, and what weighs channels by their means."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.layers import Layer, Shape, check_width

if TYPE_CHECKING:
    from torch import Tensor, nn

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


@dataclass(frozen=True, slots=True)
class SqueezeExcite(Layer):
    """Weighs each channel by what all channels' means say, through a layer of `reduced` channels
    (Hu, Shen, Sun: Squeeze-and-Excitation Networks, 2018)."""

    op, stem = "squeeze-excite", "excite"
    pattern, example, form = r"s(?P<reduced>\d{1,4})", "s4", "s{0.reduced}"
    reduced: int

    def check(self, shape: Shape) -> None:
        check_width(self.reduced)

    def parameters(self, shape: Shape) -> int:
        return self.reduced * (shape[0] + 1) + shape[0] * (self.reduced + 1)

    def macs(self, shape: Shape) -> int:
        return 2 * self.reduced * shape[0]

    def window(self, shape: Shape) -> tuple[int, int]:
        # A map of side s has windows of 2s - 1 about each value that hold all of it.
        return 2 * shape[1] - 1, 1

    def topology(self) -> Layer:
        return replace(self, reduced=0)

    def module(self, shape: Shape) -> nn.Module:
        import torch
        from torch import nn
        from torch.nn import functional

        class Module(nn.Sequential):
            def forward(self, x: Tensor) -> Tensor:
                reduce, expand = self
                mean = functional.adaptive_avg_pool2d(x, 1)
                return x * torch.sigmoid(expand(functional.relu(reduce(mean))))

        reduce, expand = nn.Conv2d(shape[0], self.reduced, 1), nn.Conv2d(self.reduced, shape[0], 1)
        return Module(OrderedDict(reduce=reduce, expand=expand))

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        import torch
        from torch.nn import functional

        weight, bias, back, back_bias = (run.parameter() for _ in range(4))
        groups = run.folds * run.members
        mean = functional.adaptive_avg_pool2d(values, 1)
        reduced = functional.relu(functional.conv2d(mean, weight, bias, groups=groups))
        gate = torch.sigmoid(functional.conv2d(reduced, back, back_bias, groups=groups))
        return values * gate

    def made(self, name: str, shape: Shape) -> list[str]:
        return [
            f"self.{name} = nn.Module()",
            f"self.{name}.reduce = nn.Conv2d({shape[0]}, {self.reduced}, 1)",
            f"self.{name}.expand = nn.Conv2d({self.reduced}, {shape[0]}, 1)",
        ]

    def forward_lines(self, name: str, reads: str, writes: str) -> list[str] | None:
        mean = f"functional.adaptive_avg_pool2d({reads}, 1)"
        return [
            f"gate = functional.relu(self.{name}.reduce({mean}))",
            f"{writes} = {reads} * torch.sigmoid(self.{name}.expand(gate))",
        ]

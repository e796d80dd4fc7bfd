"""Squeeze-and-excitation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.layers import MAX_CHANNELS, Layer, Shape

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nas_mnist.networks.packing import PackedRun


@dataclass(frozen=True, slots=True)
class SqueezeExcite(Layer):
    """Weighs each channel by what all channels' means say, through a layer of `reduced` channels
    (Hu, Shen, Sun: Squeeze-and-Excitation Networks, 2018)."""

    op = "squeeze-excite"
    stem = "excite"
    pattern = r"s(?P<reduced>\d{1,4})"
    example = "s4"
    reduced: int

    def check(self, shape: Shape) -> None:
        if not 1 <= self.reduced <= MAX_CHANNELS:
            raise ArchitectureError(f"width {self.reduced} is not within 1 to {MAX_CHANNELS}")

    def parameters(self, shape: Shape) -> int:
        return self.reduced * (shape[0] + 1) + shape[0] * (self.reduced + 1)

    def macs(self, shape: Shape) -> int:
        return 2 * self.reduced * shape[0]

    def window(self, shape: Shape) -> tuple[int, int]:
        # A map of side s has windows of 2s - 1 about each value that hold all of it.
        return 2 * shape[1] - 1, 1

    def topology(self) -> Layer:
        return replace(self, reduced=0)

    def notation(self) -> str:
        return f"s{self.reduced}"

    @classmethod
    def from_match(cls, **groups: str | None) -> Layer:
        return cls(int(groups["reduced"] or 0))

    def module(self, shape: Shape) -> nn.Module:
        import torch
        from torch import nn
        from torch.nn import functional

        class Module(nn.Module):
            def __init__(self, channels: int, reduced: int) -> None:
                super().__init__()
                self.reduce = nn.Conv2d(channels, reduced, 1)
                self.expand = nn.Conv2d(reduced, channels, 1)

            def forward(self, x: Tensor) -> Tensor:
                mean = functional.adaptive_avg_pool2d(x, 1)
                return x * torch.sigmoid(self.expand(functional.relu(self.reduce(mean))))

        return Module(shape[0], self.reduced)

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

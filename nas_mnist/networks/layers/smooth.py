"""What is smoother than a max-pool and a ReLU: both cost no parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.layers import Layer, Shape
from nas_mnist.networks.packing import PackedRun

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class AntiAliasedPool(Layer):
    """The largest value of each 2×2 square at every place, then blurred by the weights 1, 2, 1 in
    both directions and thinned by two (Zhang: Making Convolutional Networks Shift-Invariant Again,
    2019): means of 2×2 squares, twice, are that blur."""

    op, stem, starts_unit = "antialiased", "pool", True
    pattern = example = form = "a2"

    def check(self, shape: Shape) -> None:
        if min(shape[1:]) < 2:
            raise ArchitectureError(f"anti-aliased pool 2 does not fit a side of {min(shape[1:])}")

    def output_shape(self, shape: Shape) -> Shape:
        return shape[0], shape[1] // 2, shape[2] // 2

    def window(self, shape: Shape) -> tuple[int, int]:
        return 4, 2

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        return nn.Sequential(nn.MaxPool2d(2, 1, 1), nn.AvgPool2d(2, 1), nn.AvgPool2d(2))

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        from torch.nn import functional

        if run.compiled:
            pooled: Tensor = run.compiled.AntiAliased.apply(values)
            return pooled
        largest = functional.max_pool2d(values, 2, 1, 1)
        return functional.avg_pool2d(functional.avg_pool2d(largest, 2, 1), 2)

    def called(self, name: str) -> str:
        largest = "functional.max_pool2d({}, 2, 1, 1)"
        return f"functional.avg_pool2d(functional.avg_pool2d({largest}, 2, 1), 2)"


@dataclass(frozen=True, slots=True)
class SiLU(Layer):
    """x times its own sigmoid (Elfwing, Uchibe, Doya, 2017)."""

    op, torch_class, torch_function = "silu", "SiLU", "silu"
    pattern = example = form = "i"

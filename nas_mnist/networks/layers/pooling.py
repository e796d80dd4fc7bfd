"""Pooling: the largest of a square, and the mean of a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.layers import Layer, Shape

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nas_mnist.networks.packing import PackedRun


@dataclass(frozen=True, slots=True)
class MaxPool(Layer):
    """The largest value of each `kernel`×`kernel` square; the stride is the kernel."""

    op = "maxpool"
    stem = "pool"
    pattern = r"m(?P<kernel>\d{1,4})"
    example = "m2"
    starts_unit = True
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

    def notation(self) -> str:
        return f"m{self.kernel}"

    @classmethod
    def from_match(cls, **groups: str | None) -> Layer:
        return cls(int(groups["kernel"] or 0))

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        return nn.MaxPool2d(self.kernel)

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        from torch.nn import functional

        return functional.max_pool2d(values, self.kernel)

    def called(self, name: str) -> str:
        return f"functional.max_pool2d({{}}, {self.kernel})"


@dataclass(frozen=True, slots=True)
class GlobalAveragePool(Layer):
    """The mean of each channel over the whole map."""

    op = "gap"
    pattern = example = "g"
    starts_unit = True

    def output_shape(self, shape: Shape) -> Shape:
        return shape[0], 1, 1

    def window(self, shape: Shape) -> tuple[int, int]:
        return shape[1], 1

    def notation(self) -> str:
        return "g"

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        return nn.AdaptiveAvgPool2d(1)

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        from torch.nn import functional

        return functional.adaptive_avg_pool2d(values, 1)

    def called(self, name: str) -> str:
        return "functional.adaptive_avg_pool2d({}, 1)"

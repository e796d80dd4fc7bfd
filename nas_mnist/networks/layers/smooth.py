"""What is smoother than a max-pool and a ReLU: both cost no parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.layers import Layer, Shape, as_module, exported_function
from nas_mnist.networks.packing import PackedRun

if TYPE_CHECKING:
    from torch import Tensor, nn


def anti_aliased_pool(values: Tensor) -> Tensor:
    """The largest of each 2×2 square at every place, blurred by the weights 1, 2, 1 both ways and
    thinned by two, as Zhang proposed (2019). Means of 2×2 squares, twice, are that blur."""
    import torch
    from torch.nn import functional

    # The larger of two rows, then of two columns: much faster on a CPU than a max-pool.
    padded = functional.pad(values, (1, 1, 1, 1), value=-torch.inf)
    rows = torch.maximum(padded[:, :, 1:], padded[:, :, :-1])
    largest = torch.maximum(rows[..., 1:], rows[..., :-1])
    return functional.avg_pool2d(functional.avg_pool2d(largest, 2, 1), 2)


@dataclass(frozen=True, slots=True)
class AntiAliasedPool(Layer):
    """An anti-aliased pool (Zhang: Making Convolutional Networks Shift-Invariant Again, 2019)."""

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
        return as_module(anti_aliased_pool)

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        pooled = run.compiled.AntiAliased.apply if run.compiled else anti_aliased_pool
        return pooled(values)

    def called(self, name: str) -> str:
        return "anti_aliased_pool({})"

    def functions(self, shape: Shape) -> tuple[str, ...]:
        return (exported_function(anti_aliased_pool),)


@dataclass(frozen=True, slots=True)
class SiLU(Layer):
    """x times its own sigmoid (Elfwing, Uchibe, Doya, 2017)."""

    op, torch_class, torch_function = "silu", "SiLU", "silu"
    pattern = example = form = "i"

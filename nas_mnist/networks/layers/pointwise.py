"""Layers that work on each value, or on each channel, by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.layers import Layer, Shape

if TYPE_CHECKING:
    from torch import Tensor

    from nas_mnist.networks.packing import PackedRun


@dataclass(frozen=True, slots=True)
class ReLU(Layer):
    op = "relu"
    pattern = example = form = "r"
    torch_class, torch_function = "ReLU", "relu"


@dataclass(frozen=True, slots=True)
class BatchNorm(Layer):
    """Batch normalization with a trained scale and shift for each channel."""

    op, stem = "batchnorm", "norm"
    pattern = example = form = "n"
    torch_class = "BatchNorm2d"

    def parameters(self, shape: Shape) -> int:
        return 2 * shape[0]

    def arguments(self, shape: Shape) -> tuple[Any, ...]:
        return (shape[0],)

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        from torch.nn import functional

        weight, bias = run.parameter(folded=False), run.parameter(folded=False)
        mean, variance = next(run.running), next(run.running)
        values = run.unfolded(values)
        values = functional.batch_norm(values, mean, variance, weight, bias, run.training)
        return run.refolded(values)


@dataclass(frozen=True, slots=True)
class Dropout(Layer):
    """Dropout of single values."""

    op, stem = "dropout", "dropout"
    pattern, example = r"x(?P<p>\d(?:\.\d{1,6})?)", "x0.1"
    torch_class = "Dropout"
    p: float = 0.0
    """share of values set to zero while training"""

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

    op = "dropout2d"
    pattern, example = r"y(?P<p>\d(?:\.\d{1,6})?)", "y0.1"
    torch_class = "Dropout2d"

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        from torch.nn import functional

        return functional.dropout2d(values, self.p, run.training)


def dropout(values: Tensor, rate: float) -> Tensor:
    """Dropout of single values, for training.

    On a CPU torch draws them one value at a time, which took a third of a small network's step;
    this takes 4 values from each draw of 64 bits. The rate is met to within 1/131,072.
    """
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

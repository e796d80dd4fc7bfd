"""The image made upright before the network looks at it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas_mnist.networks.layers import Layer, Shape
from nas_mnist.networks.packing import PackedRun

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Deskew(Layer):
    """Centres each image on its mass and shears it upright. It has no parameters. Receptive fields
    behind it are counted in pixels of the upright image."""

    op, starts_unit = "deskew", True
    pattern = example = form = "u"

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        from nas_mnist.networks.deskewing import deskew

        class Module(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return deskew(x)

        return Module()

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        from nas_mnist.networks.deskewing import deskew

        return deskew(values)

    def made(self, name: str, shape: Shape) -> list[str]:
        return []

    def called(self, name: str) -> str:
        return "deskew({})"

    def functions(self) -> str:
        from nas_mnist.networks import deskewing

        return inspect.getsource(deskewing.deskew)

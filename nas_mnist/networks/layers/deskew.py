"""The image made upright before the network looks at it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas_mnist.networks.layers import Layer, Shape
from nas_mnist.networks.packing import PackedRun

if TYPE_CHECKING:
    from torch import Tensor, nn


_IMPORTS = """\
    import torch
    from torch.nn import functional

"""


def deskew(images: Tensor) -> Tensor:
    """Each image moved so that its mass is in the middle, and sheared upright by its moments, as
    LeCun et al. prepared digits (1998): (batch, channels, side, side). Its lowest value is taken
    for the background."""
    import torch
    from torch.nn import functional

    side = images.shape[-1]
    background = images.amin((2, 3), keepdim=True)
    ink = (images - background).flatten(0, 1)
    # Centres of pixels, where -1 and 1 are the edges.
    place = (2 * torch.arange(side, device=ink.device, dtype=ink.dtype) + 1) / side - 1
    mass = ink.sum((1, 2)).clamp(min=1e-6)
    by_row = ink @ place
    x, y = by_row.sum(1) / mass, ink.sum(2) @ place / mass
    covariance = by_row @ place / mass - x * y
    variance = (ink.sum(2) @ place**2 / mass - y**2).clamp(min=1e-6)
    x, y, shear = (own[:, None, None] for own in (x, y, covariance / variance))
    rows = place[:, None]
    columns = place + (shear * rows + x)
    grid = torch.stack((columns, (rows + y).expand_as(columns)), dim=1).permute(0, 2, 3, 1)
    upright = functional.grid_sample(ink.unsqueeze(1), grid, align_corners=False)
    return upright.view_as(images) + background


@dataclass(frozen=True, slots=True)
class Deskew(Layer):
    """Centres each image on its mass and shears it upright. It has no parameters. Receptive fields
    behind it are counted in pixels of the upright image."""

    op, starts_unit = "deskew", True
    pattern = example = form = "u"

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        class Module(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return deskew(x)

        return Module()

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        return deskew(values)

    def made(self, name: str, shape: Shape) -> list[str]:
        return []

    def called(self, name: str) -> str:
        return "deskew({})"

    def functions(self) -> str:
        return inspect.getsource(deskew).replace(_IMPORTS, "")  # the file has them at its top

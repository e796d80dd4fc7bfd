"""The image made upright before the network looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nas_mnist.networks.layers import Layer, Shape, as_module, exported_function
from nas_mnist.networks.packing import PackedRun

if TYPE_CHECKING:
    from torch import Tensor, nn


def deskew(images: Tensor, sized: bool = False) -> Tensor:
    """Each image moved so that its mass is in the middle, and sheared upright by its moments, as
    LeCun et al. prepared digits (1998): (batch, channels, side, side). `sized`: its width and
    height also go half of the way, as a factor, to those of most digits, as Liu et al. took the
    square root of the aspect ratio (2004). Its lowest value is taken for the background."""
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
    width = height = torch.ones_like(x)
    if sized:  # deviations of most digits: 0.243 and 0.39 of half a side
        spread = ink.sum(1) @ place**2 / mass - x**2 - covariance**2 / variance
        width = (spread.clamp(min=1e-6).sqrt() / 0.243).sqrt().clamp(0.5, 2.0)
        height = (variance.sqrt() / 0.39).sqrt().clamp(0.5, 2.0)
    own = (x, y, covariance / variance, width, height)
    x, y, shear, width, height = (values[:, None, None] for values in own)
    rows = height * place[:, None]
    columns = width * place + (shear * rows + x)
    grid = torch.stack((columns, (rows + y).expand_as(columns)), dim=1).permute(0, 2, 3, 1)
    upright = functional.grid_sample(ink.unsqueeze(1), grid, align_corners=False)
    return upright.view_as(images) + background


@dataclass(frozen=True, slots=True)
class Deskew(Layer):
    """Centres each image on its mass and shears it upright, and if `sized` brings it nearer to the
    usual size. It has no parameters. Receptive fields behind it are counted in pixels of the
    upright image."""

    op, starts_unit, prepares = "deskew", True, True
    pattern, example = "u(?P<sized>1)?", "u"
    sized: bool = False

    def notation(self) -> str:
        return "u1" if self.sized else "u"

    def module(self, shape: Shape) -> nn.Module:
        return as_module(partial(deskew, sized=self.sized))

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        return deskew(values, self.sized)

    def called(self, name: str) -> str:
        return "deskew({}, sized=True)" if self.sized else "deskew({})"

    def functions(self, shape: Shape) -> tuple[str, ...]:
        return (exported_function(deskew),)

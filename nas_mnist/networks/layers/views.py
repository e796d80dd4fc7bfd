"""The image looked at several times, each time changed a little, and the scores averaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas_mnist.networks.layers import Layer, Shape, exported_function
from nas_mnist.networks.packing import PackedRun

if TYPE_CHECKING:
    from torch import Tensor, nn


def views(images: Tensor) -> Tensor:
    """The images (batch, channels, side, side), and behind them four views of all: turned by 8°
    either way and moved aside, larger and smaller by 8 % and moved up or down, by 0.7 pixels:
    (5 x batch, channels, side, side). Their lowest value is taken for the background."""
    import torch
    from torch.nn import functional

    # Cosine and sine of the turn, by the size, and how far right and down a pixel is read.
    changes = [
        (0.99, 0.139, 0.7, 0),
        (0.99, -0.139, -0.7, 0),
        (0.926, 0, 0, 0.7),
        (1.087, 0, 0, -0.7),
    ]
    background, pixel = images.amin((2, 3), keepdim=True), 2 / images.shape[-1]
    seen = [images]
    for cosine, sine, right, down in changes:
        rows = [[cosine, sine, right * pixel], [-sine, cosine, down * pixel]]
        maps = torch.tensor([rows], dtype=images.dtype, device=images.device)
        grid = functional.affine_grid(maps, [1, 1, *images.shape[2:]], align_corners=False)
        grid = grid.expand(images.shape[0], -1, -1, -1)
        changed = functional.grid_sample(images - background, grid, align_corners=False)
        seen.append(changed + background)
    return torch.cat(seen)


def averaged(scores: Tensor, count: int) -> Tensor:
    """The mean over so many views, which lie one after another in the first dimension."""
    return scores.view(count, -1, *scores.shape[1:]).mean(0)


@dataclass(frozen=True, slots=True)
class Views(Layer):
    """Lets the network look at each image five times, turned, resized and moved a little, and
    average the scores, as Krizhevsky et al. did with crops (2012). It has no parameters, and what
    follows costs five times the MACs. In training each image is seen once, as it is."""

    op, starts_unit = "views", True
    pattern = example = form = "v"

    def copies(self) -> int:
        return 5

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        class Module(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x if self.training else views(x)

        return Module()

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        return values if run.training else views(values)

    def forward_lines(self, name: str, reads: str, writes: str) -> list[str]:
        return [f"{writes} = {reads} if self.training else views({reads})"]

    def functions(self, shape: Shape) -> tuple[str, ...]:
        return (exported_function(views),)


def average(count: int) -> nn.Module:
    """What a network with so many views ends in."""
    from torch import nn

    class Module(nn.Module):
        views = count

        def forward(self, x: Tensor) -> Tensor:
            return x if self.training else averaged(x, count)

    return Module()

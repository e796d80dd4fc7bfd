"""Augmentation of a whole batch on its device: one affine map an image, then jitter."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from nas_mnist.training.recipe import Augmentation

CHANGES = 7
"""Random numbers that one image's augmentation takes: rotation, shear, scale, two shifts,
contrast and brightness."""


def random_changes(count: int, generator: torch.Generator | None = None) -> Tensor:
    """What `augment` changes in that many images: (count, CHANGES), uniform within ±1."""
    return torch.rand(count, CHANGES, generator=generator) * 2 - 1


def augment(images: Tensor, augmentation: Augmentation, changes: Tensor) -> Tensor:
    """Images each changed in its own way.

    `images`: (batch, channels, height, width) float32, from 0 (background) to 1. What enters
    from outside the image is background. `changes`: (batch, CHANGES), of `random_changes`, each
    a share of its setting. The same shape and range come back.
    """
    if augmentation.rotation or augmentation.shift or augmentation.scale or augmentation.shear:
        maps = _affine_maps(changes, augmentation, images.shape[-1])
        grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
        images = functional.grid_sample(
            images, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
    contrast, brightness = changes[:, 5:].view(-1, 2, 1, 1, 1).unbind(dim=1)
    if augmentation.contrast:
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = mean + (images - mean) * (1 + contrast * augmentation.contrast)
    if augmentation.brightness:
        images = images * (1 + brightness * augmentation.brightness)
    if augmentation.contrast or augmentation.brightness:
        images = images.clamp(0, 1)
    return images


def _affine_maps(changes: Tensor, augmentation: Augmentation, side: int) -> Tensor:
    """Maps from output to input places in `affine_grid`'s units, ±1 from edge to edge:
    (batch, 2, 3). The image turns by a, shears by b along its rows and grows by s, so the map
    is the inverse: [[cos a, sin a], [-sin a, cos a]] · [[1, -tan b], [0, 1]] / s."""
    turn, slant, growth, right, down = changes[:, :5].unbind(dim=1)
    angle = turn * math.radians(augmentation.rotation)
    shear = torch.tan(slant * math.radians(augmentation.shear))
    size = 1 + growth * augmentation.scale
    cosine, sine = torch.cos(angle) / size, torch.sin(angle) / size
    shift = 2 * augmentation.shift / side
    rows = (
        torch.stack((cosine, sine - cosine * shear, right * shift), dim=1),
        torch.stack((-sine, cosine + sine * shear, down * shift), dim=1),
    )
    return torch.stack(rows, dim=1)

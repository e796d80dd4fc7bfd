"""Augmentation of a whole batch on its device: one affine map an image, then jitter."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from nas_mnist.training.recipe import Augmentation


def augment(images: Tensor, augmentation: Augmentation) -> Tensor:
    """Images changed at random, each in its own way, drawn from torch's global generator.

    `images`: (batch, channels, height, width) float32, from 0 (background) to 1. What enters
    from outside the image is background. The same shape and range come back.
    """
    if augmentation.rotation or augmentation.shift or augmentation.scale or augmentation.shear:
        maps = _affine_maps(images, augmentation)
        grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
        images = functional.grid_sample(
            images, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
    if augmentation.contrast:
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = mean + (images - mean) * (1 + _draw(images, augmentation.contrast))
    if augmentation.brightness:
        images = images * (1 + _draw(images, augmentation.brightness))
    if augmentation.contrast or augmentation.brightness:
        images = images.clamp(0, 1)
    return images


def _draw(images: Tensor, width: float) -> Tensor:
    """One number an image, uniform within ±width: (batch, 1, 1, 1)."""
    return (torch.rand(len(images), 1, 1, 1, device=images.device) * 2 - 1) * width


def _affine_maps(images: Tensor, augmentation: Augmentation) -> Tensor:
    """Maps from output to input places in `affine_grid`'s units, ±1 from edge to edge:
    (batch, 2, 3). The image turns by a, shears by b along its rows and grows by s, so the map
    is the inverse: [[cos a, sin a], [-sin a, cos a]] · [[1, -tan b], [0, 1]] / s."""
    batch, _, _, side = images.shape
    draws = torch.rand(5, batch, device=images.device) * 2 - 1
    angle = draws[0] * math.radians(augmentation.rotation)
    shear = torch.tan(draws[1] * math.radians(augmentation.shear))
    size = 1 + draws[2] * augmentation.scale
    cosine, sine = torch.cos(angle) / size, torch.sin(angle) / size
    shift = draws[3:] * (2 * augmentation.shift / side)
    rows = (
        torch.stack((cosine, sine - cosine * shear, shift[0]), dim=1),
        torch.stack((-sine, cosine + sine * shear, shift[1]), dim=1),
    )
    return torch.stack(rows, dim=1)

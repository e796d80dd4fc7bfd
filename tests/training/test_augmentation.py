"""Augmentation changes images as its settings say, and nothing else."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nas_mnist.training.recipe import Augmentation, Recipe
from nas_mnist.training.trainer import augment, draw_batches

NONE = Augmentation(rotation=0, shift=0, scale=0)


@pytest.fixture
def blobs() -> Tensor:
    """Smooth blobs, each off the middle in its own place: (256, 1, 28, 28)."""
    generator = torch.Generator().manual_seed(0)
    centres = 13.5 + 5 * (2 * torch.rand(256, 2, generator=generator) - 1)
    axis = torch.arange(28.0)
    rows = torch.exp(-((axis - centres[:, :1]) ** 2) / 8)
    columns = torch.exp(-((axis - centres[:, 1:]) ** 2) / 8)
    return (rows[:, :, None] * columns[:, None, :]).unsqueeze(1)


def augmented(images: Tensor, augmentation: Augmentation, seed: int = 0) -> Tensor:
    changes = torch.rand(len(images), 7, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return augment(images, augmentation, changes)


def centres(images: Tensor) -> Tensor:
    """Centre of mass from the image's middle, rows and columns: (n, 2), pixels."""
    axis = torch.arange(28.0) - 13.5
    mass = images.sum(dim=(1, 2, 3))
    rows = (images.sum(dim=3).squeeze(1) * axis).sum(dim=1) / mass
    columns = (images.sum(dim=2).squeeze(1) * axis).sum(dim=1) / mass
    return torch.stack((rows, columns), dim=1)


def test_nothing_is_nothing(blobs: Tensor) -> None:
    assert torch.equal(augmented(blobs, NONE), blobs)


def test_shift_moves_each_image_within_its_range(blobs: Tensor) -> None:
    moved = centres(augmented(blobs, Augmentation(rotation=0, shift=2, scale=0))) - centres(blobs)
    assert moved.abs().max() <= 2.01
    assert moved.abs().max(dim=0).values.min() > 1.8
    assert moved.mean(dim=0).abs().max() < 0.25


def test_rotation_keeps_the_distance_from_the_middle(blobs: Tensor) -> None:
    before = centres(blobs)
    after = centres(augmented(blobs, Augmentation(rotation=30, shift=0, scale=0)))
    assert torch.allclose(before.norm(dim=1), after.norm(dim=1), atol=0.05)
    far = before.norm(dim=1) > 3
    angle = torch.atan2(after[:, 0], after[:, 1]) - torch.atan2(before[:, 0], before[:, 1])
    angle = torch.remainder(angle[far] + math.pi, 2 * math.pi) - math.pi
    assert torch.rad2deg(angle).abs().max() == pytest.approx(30, abs=2)


def test_scale_grows_and_shrinks_about_the_middle(blobs: Tensor) -> None:
    before = centres(blobs).norm(dim=1)
    after = centres(augmented(blobs, Augmentation(rotation=0, shift=0, scale=0.2))).norm(dim=1)
    ratio = (after / before)[before > 2]
    assert 0.79 < ratio.min() < 0.84
    assert 1.16 < ratio.max() < 1.21


def test_shear_moves_columns_by_rows(blobs: Tensor) -> None:
    before = centres(blobs)
    after = centres(augmented(blobs, Augmentation(rotation=0, shift=0, scale=0, shear=20)))
    assert torch.allclose(before[:, 0], after[:, 0], atol=0.05)
    slope = ((after - before)[:, 1] / before[:, 0])[before[:, 0].abs() > 2]
    assert slope.abs().max() == pytest.approx(math.tan(math.radians(20)), abs=0.03)


@pytest.mark.parametrize("setting", ["brightness", "contrast"])
def test_jitter_stays_in_range(blobs: Tensor, setting: str) -> None:
    jitter = Augmentation(rotation=0, shift=0, scale=0, **{setting: 0.4})
    changed = augmented(blobs, jitter)
    assert changed.min() >= 0
    assert changed.max() <= 1
    ratio = changed.amax(dim=(1, 2, 3)) / blobs.amax(dim=(1, 2, 3))
    assert ratio.min() < 0.7
    assert not torch.equal(changed, blobs)


def test_one_seed_one_augmentation(blobs: Tensor) -> None:
    everything = Augmentation(shear=5, brightness=0.1, contrast=0.1)
    first = augmented(blobs, everything, seed=3)
    assert torch.equal(augmented(blobs, everything, seed=3), first)
    assert not torch.equal(augmented(blobs, everything, seed=4), first)


def test_the_last_epochs_can_be_plain(blobs: Tensor) -> None:
    """With the order that they have anyway; the epochs before are what they are."""
    plain = Recipe(epochs=3, batch_size=16, augmentation={"plain_epochs": 2})
    usual = plain.changed({"augmentation": {"plain_epochs": 0}})
    for epoch in (1, 2, 3):
        (order, changes), (as_usual, changed) = (
            draw_batches(32, own, 7, epoch) for own in (plain, usual)
        )
        assert torch.equal(order, as_usual)
        assert torch.equal(changes, changed if epoch == 1 else torch.zeros_like(changed))
    assert torch.allclose(augment(blobs[:16], Augmentation(), changes[0]), blobs[:16], atol=1e-5)

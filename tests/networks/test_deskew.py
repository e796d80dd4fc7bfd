"""Deskewing, held against moments taken pixel by pixel."""

from __future__ import annotations

import statistics

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nas_mnist.networks.architecture import parse_notation
from nas_mnist.networks.layers.deskew import deskew


def moments(image: Tensor) -> tuple[float, float, float]:
    """Of the ink: the middle, in pixels from the image's, and the shear."""
    total, x, y = 0.0, 0.0, 0.0
    pixels = [(i - 13.5, j - 13.5, float(image[i, j])) for i in range(28) for j in range(28)]
    total = sum(ink for *_, ink in pixels)
    x, y = (sum(at[n] * at[2] for at in pixels) / total for n in (1, 0))
    covariance = sum((at[1] - x) * (at[0] - y) * at[2] for at in pixels)
    return x, y, covariance / sum((at[0] - y) ** 2 * at[2] for at in pixels)


def slanted(shear: float, right: float, down: float) -> Tensor:
    """A smooth upright stroke, moved and sheared: rows further down lie further to the right."""
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    y = rows - 13.5 - down
    x = columns - 13.5 - right - shear * y
    return torch.exp(-((x / 2) ** 2) - (y / 5) ** 2)


@pytest.mark.parametrize(("shear", "right", "down"), [(0, 0, 0), (0.5, 2, -1.5), (-0.3, -2, 2)])
@pytest.mark.parametrize("background", [0.0, -0.42])
def test_a_stroke_is_made_upright(
    shear: float, right: float, down: float, background: float
) -> None:
    image = slanted(shear, right, down)
    x, y, slant = moments(image)
    assert (x, y, slant) == pytest.approx((right, down, shear), abs=0.05)
    (made,) = deskew((image + background)[None, None])
    assert moments(made[0] - background) == pytest.approx((0, 0, 0), abs=0.05)
    assert functional.l1_loss(made[0] - background, slanted(0, 0, 0)) < 0.005


def test_real_digits_are_upright() -> None:
    from nas_mnist.training.datasets import load_dataset

    images = load_dataset("digits").test.images[:50].float() / 255
    before, after = (
        statistics.fmean(abs(moments(image)[2]) for image in own[:, 0])
        for own in (images, deskew(images))
    )
    assert after < before / 5


def spreads(image: Tensor) -> tuple[float, float]:
    """Deviations of the ink along rows and columns, in halves of the side."""
    place = (torch.arange(28.0) - 13.5) / 14
    shares = image / image.sum()
    return tuple(
        float((own @ place**2 - (own @ place) ** 2).sqrt())
        for own in (shares.sum(0), shares.sum(1))
    )


@pytest.mark.parametrize("shear", [0.0, 0.4])
def test_a_size_goes_half_of_the_way(shear: float) -> None:
    image = slanted(shear, 1, -1)
    width, height = spreads(slanted(0, 0, 0))
    found = spreads(deskew(image[None, None], sized=True)[0, 0])
    assert found == pytest.approx(((width * 0.243) ** 0.5, (height * 0.39) ** 0.5), rel=0.05)
    assert spreads(deskew(image[None, None])[0, 0]) == pytest.approx((width, height), rel=0.05)


@pytest.mark.parametrize("sized", [False, True])
def test_a_blank_image_stays_blank(sized: bool) -> None:
    blank = torch.full((2, 3, 28, 28), -0.4)
    assert torch.equal(deskew(blank, sized), blank)


def test_each_channel_is_an_image() -> None:
    images = torch.rand(4, 3, 28, 28)
    apart = [deskew(images[:, [channel]]) for channel in range(3)]
    assert torch.equal(deskew(images), torch.cat(apart, dim=1))


def test_it_costs_nothing() -> None:
    plain, upright = map(parse_notation, ("c6rn-g-c10k1", "u1-c6rn-g-c10k1"))
    assert (upright.parameters, upright.macs) == (plain.parameters, plain.macs)
    assert upright.receptive_field == plain.receptive_field

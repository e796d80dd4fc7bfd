"""Dropout as it is trained: torch's own, but for how the CPU draws."""

from __future__ import annotations

import pytest
import torch

from nas_mnist.networks.layers.convolution import dropout

LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_rate_scale_and_layout(rate: float, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    images = torch.ones(64, 10, 25, 25).to(memory_format=layout).requires_grad_()
    dropped = dropout(images, rate)
    share = float((dropped == 0).float().mean())
    assert share == pytest.approx(rate, abs=4 * (rate * (1 - rate) / images.numel()) ** 0.5)
    assert dropped[dropped != 0].unique().tolist() == pytest.approx([1 / (1 - rate)])
    assert dropped.is_contiguous(memory_format=layout)
    (gradient,) = torch.autograd.grad(dropped.sum(), images)
    assert torch.equal(gradient, dropped)


def test_a_seed_drops_the_same_again() -> None:
    masks = []
    for _ in range(2):
        torch.manual_seed(3)
        masks.append(dropout(torch.ones(8, 4, 5, 5), 0.3))
    assert torch.equal(*masks)

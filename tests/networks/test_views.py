"""Views of an image, each held against a stroke changed alike, and a network against them all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.architecture import build_network, parse_notation
from nas_mnist.networks.layers.views import views


def stroke(slope: float, size: float, right: float = 0, down: float = 0) -> Tensor:
    """A smooth stroke along (1, slope), and so much longer and wider."""
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    x, y = (columns - 13.5 - right) / size, (rows - 13.5 - down) / size
    length = (1 + slope**2) ** 0.5
    along, across = (x + slope * y) / length, (y - slope * x) / length
    return torch.exp(-((along / 7) ** 2) - (across / 3) ** 2)


@pytest.mark.parametrize("background", [0.0, -0.42])
def test_each_view_is_what_it_is_said_to_be(background: float) -> None:
    """Turned by 8° either way and moved aside, larger and smaller by 8 % and moved up or down."""
    slope = 0.1405  # of 8°
    expected = [(0, 1, 0, 0), (slope, 1, -0.7, 0), (-slope, 1, 0.7, 0)]
    expected += [(0, 1.08, 0, -0.7), (0, 0.92, 0, 0.7)]
    seen = views((stroke(0, 1) + background)[None, None])[:, 0]
    assert len(seen) == len(expected)
    for found, made in zip(seen, expected, strict=True):
        others = [own for own in expected if own != made]
        error = (found - background - stroke(*made)).abs().max()
        assert error < 0.04
        assert all(error < (found - background - stroke(*own)).abs().max() / 3 for own in others)


def test_scores_are_averaged() -> None:
    torch.manual_seed(0)
    network = build_network("u-v-c6rn-m2-c8rn-g-c10k1").eval()
    once = build_network("u-c6rn-m2-c8rn-g-c10k1").eval()
    once.load_state_dict(network.state_dict())
    images = torch.rand(4, 1, 28, 28)
    upright, *others = (module for module in once)
    apart = [torch.nn.Sequential(*others)(own) for own in views(upright(images)).split(4)]
    assert torch.allclose(network(images), torch.stack(apart).mean(0), atol=1e-6)
    assert not torch.allclose(network(images), once(images), atol=1e-3)
    assert torch.equal(network.train()(images), once.train()(images))


def test_a_blank_image_stays_blank() -> None:
    blank = torch.full((2, 3, 28, 28), -0.4)
    assert torch.equal(views(blank), blank.repeat(5, 1, 1, 1))


def test_it_has_no_parameters_and_costs_macs() -> None:
    once, often = map(parse_notation, ("c6rn-g-c10k1", "v-c6rn-g-c10k1"))
    assert (often.views, often.parameters, often.macs) == (5, once.parameters, 5 * once.macs)
    assert (once.views, often.receptive_field) == (1, once.receptive_field)


@pytest.mark.parametrize(
    ("notation", "said"),
    [
        ("v-u-v-c6-g-c10k1", "at most one layer of views"),
        ("c4-[v-c4p1]-g-c10k1", "layer 'views' cannot stand within another"),
        ("c4-w2[v-c4p1]-g-c10k1", "layer 'views' cannot stand within another"),
    ],
)
def test_where_it_cannot_be(notation: str, said: str) -> None:
    with pytest.raises(ArchitectureError, match=said):
        parse_notation(notation)

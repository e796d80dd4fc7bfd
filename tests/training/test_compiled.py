"""Compiled kernels do what torch does: values and gradients, and dropout of its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nas_mnist.networks.architecture import parse_notation
from nas_mnist.networks.layers.convolution import Dropout
from nas_mnist.networks.packing import PackedRun
from nas_mnist.training import compiled
from nas_mnist.training.packed import PackedNetwork
from nas_mnist.training.trainer import initial_network

CPU = torch.device("cpu")
# What stands between convolutions in every order that there is a pass for, odd sides and one
# channel among them; pools of ties, since many values behind a ReLU are equal.
NETWORKS = {
    "relu norm": "c5rn-g-c10k1",
    "norm relu": "c5nr-g-c10k1",
    "norm alone": "c5n-g-c10k1",
    "relu norm relu pool": "c17rnr-m2-g-c10k1",
    "norm relu pool": "c6nr-m3-c3k1rn-m2-g-c10k1",
    "pool alone": "c6-m2-c1nm2-g-c10k1",
    "relu pool": "c6r-m2-c4r-g-c10k1",
    "pool that leaves rows out": "c4rn-m4-dn-m4-g-c10k1",
    "widest pool": "c3p1rn-m28-c10k1",
    "separable": "c6rn-dc9k1rn-m2-dp1rc8k1b-g-c10k1b",
    "5x5 separable": "c20rn-dk5c24k1rn-m2-dk5p2bc36k1rn-g-c10k1",
    "first of 5x5": "c7k5p2brn-m2-g-c10k1",
    "norm without scale": "c6rn0-m2-dc9k1rn0-g-c10k1",
    "smooth": "c6in-a2-c4rn-a2-c5p1-g-c10k1",
    "smooth pools of ties, one channel": "c1r-a2-c5rn-a2-c3k1r-a2-g-c10k1",
    "repeated": "c6rn-w3[dp1-c6k1rn0-m2]-w2c6p1-g-c10k1",
    "deskewed, several views": "u1-v-c6rn-m2-g-c10k1",
}


def run(notation: str, kind: torch.dtype, kernels: bool) -> list[Tensor]:
    """Scores, gradients and running statistics of one step in training."""
    torch.manual_seed(0)
    architecture = parse_notation(notation)
    networks = [initial_network(architecture, seed, CPU, kind) for seed in (1, 2)]
    with torch.no_grad():
        for network in networks:
            for parameter in network.parameters():
                parameter += 0.1 * torch.randn_like(parameter)  # signs of all kinds
    packed = PackedNetwork([architecture] * 2, networks, compiled if kernels else None)
    images = torch.randn(8, 1, 28, 28).to(kind)
    weights = [weight.requires_grad_() for weight in packed.parameters.side_by_side()]
    scores = packed.run(images, 2, weights, training=True)
    loss = (scores * torch.linspace(-1, 1, scores.numel(), dtype=kind).view_as(scores)).sum()
    gradients = torch.autograd.grad(loss, weights)
    with torch.inference_mode():
        judged = packed.run(images, 1, packed.parameters.side_by_side(), training=False)
    return [scores.detach(), *gradients, *packed.running, judged]


@pytest.mark.parametrize("notation", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(
    ("kind", "within"), [(torch.float64, 1e-11), (torch.float32, 2e-4)], ids=["64", "32"]
)
def test_they_do_what_torch_does(notation: str, kind: torch.dtype, within: float) -> None:
    for own, its in zip(run(notation, kind, True), run(notation, kind, False), strict=True):
        assert own.dtype == its.dtype
        torch.testing.assert_close(own, its, rtol=within, atol=within)


@pytest.mark.parametrize("notation", NETWORKS.values(), ids=NETWORKS)
def test_bfloat16_is_no_coarser_than_torch(notation: str) -> None:
    right = run(notation, torch.float32, False)
    with torch.autocast("cpu", torch.bfloat16):
        own, its = (run(notation, torch.float32, kernels) for kernels in (True, False))
    far = [
        [float((a - b).norm() / (b.norm() + 1e-3)) for a, b in zip(these, right, strict=True)]
        for these in (own, its)
    ]
    assert max(far[0]) < 1.5 * max(far[1]) + 0.01


def dropped(
    rate: float, seed: int, shape: tuple[int, ...] = (64, 40, 26, 26)
) -> tuple[Tensor, Tensor]:
    """What dropout leaves of ones, and the gradient of its sum."""
    torch.manual_seed(seed)
    ones = torch.ones(shape).to(memory_format=torch.channels_last).requires_grad_()
    stage = compiled.stage((Dropout(rate),))
    assert stage is not None
    left = stage.run_packed(ones, PackedRun(iter(()), iter(()), 1, 1, True))
    (gradient,) = torch.autograd.grad(left.sum(), ones)
    return left.detach(), gradient


@pytest.mark.parametrize("rate", [0.0225, 0.25, 0.9, 0.999999])
def test_dropout_keeps_its_rate_everywhere(rate: float) -> None:
    left, gradient = dropped(rate, 0)
    assert torch.equal(left, gradient)
    kept = left > 0
    if rate > 0.99:
        assert kept.double().mean() < 1e-4
        return
    assert left[kept].unique().tolist() == pytest.approx([1 / (1 - rate)], rel=1e-4)
    for axis in range(4):  # an image, a channel, a row or a column is dropped as often as any
        others = [other for other in range(4) if other != axis]
        shares, count = kept.double().mean(others), kept.numel() / kept.shape[axis]
        deviation = (rate * (1 - rate) / count) ** 0.5
        assert (shares - (1 - rate)).abs().max() < 5 * deviation
        assert shares.std() < 1.5 * deviation


def test_dropout_is_drawn_anew() -> None:
    rate = 0.3
    first, second = dropped(rate, 1)[0] > 0, dropped(rate, 2)[0] > 0
    assert torch.equal(dropped(rate, 1)[0] > 0, first)
    neighbours = [(first, second), (first[1:], first[:-1])]
    neighbours += [(first[:, 1:], first[:, :-1]), (first[:, :, 1:], first[:, :, :-1])]
    neighbours += [(first[..., 1:], first[..., :-1])]
    for one, other in neighbours:  # as often together as chance has it
        together, count = (~one & ~other).double().mean(), one.numel()
        assert abs(together - rate**2) < 5 * (rate**2 * (1 - rate**2) / count) ** 0.5


def test_rows_longer_than_the_table_of_random_numbers() -> None:
    left, gradient = dropped(0.5, 0, (2, 3000, 1, 28))
    assert torch.equal(left, gradient)
    assert abs((left > 0).double().mean() - 0.5) < 0.01

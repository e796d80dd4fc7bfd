"""Networks trained as one are the networks trained one by one."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas_mnist.errors import DivergedError, RequestError
from nas_mnist.networks.architecture import parse_notation
from nas_mnist.networks.layers import Layer, Shape
from nas_mnist.training.datasets import Dataset, split_dataset
from nas_mnist.training.pack import Member, Pack
from nas_mnist.training.recipe import Recipe
from nas_mnist.training.trainer import EpochRecord, Trainer, accuracy
from tests.conftest import named

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class ScaledNorm(Layer):
    """A layer of a user's own, without a batched forward: a norm with a trained number more, and
    a running statistic for each channel."""

    op = "scaled-norm"
    pattern = r"q(?P<start>\d(?:\.\d)?)"
    example = "q0.5"
    start: float

    def parameters(self, shape: Shape) -> int:
        return 2 * shape[0] + 1

    def notation(self) -> str:
        return f"q{self.start:g}"

    @classmethod
    def from_match(cls, **groups: str | None) -> Layer:
        return cls(float(groups["start"] or 0))

    def module(self, shape: Shape) -> nn.Module:
        return _ScaledNorm(shape[0], self.start)


class _ScaledNorm(nn.Module):
    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.scale = nn.Parameter(torch.tensor(start))

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x)
        return self.scale * normed


@dataclass(frozen=True, slots=True)
class Softplus(Layer):
    """Another, without anything to train."""

    op = "softplus"
    pattern = example = form = "y"

    def module(self, shape: Shape) -> nn.Module:
        return nn.Softplus()


# Every kind of layer, and widths of one topology: even, odd, a single channel.
NOTATIONS = {
    "dense": ["c6rn-c4b-m2-c8k1-rn-c10rn-g-c10k1", "c5rn-c7b-m2-c3k1-rn-c1rn-g-c10k1"],
    "separable": ["c6rn-dc9k1rn-m2-dbc8k1-g-c10k1b", "c1rn-dc4k1rn-m2-dbc12k1-g-c10k1b"],
    "squeeze-excite": ["c6rn-s3-m2-c8rns2-g-c10k1", "c5rn-s1-m2-c9rns4-g-c10k1"],
    "residual": ["c6rn-[c6p1rn-c6p1n]r-m2-g-c10k1", "c4rn-[c4p1rn-c4p1n]r-m2-g-c10k1"],
    "repeat": ["c6rn-w2c6p1-m2-w2dp1b-g-c10k1", "c5rn-w2c5p1-m2-w2dp1b-g-c10k1"],
    "repeat of several": [
        "c6rn0-m2-w3[dp1-c6k1rn0-m2]-w2[dk1c3k1-c6k1]-g-c10k1",
        "c5rn0-m2-w3[dp1-c5k1rn0-m2]-w2[dk1c7k1-c5k1]-g-c10k1",
    ],
    "fallback": ["c6rn-[q0.5c6p1n]-m2-c8rq2-g-c10k1", "c4rn-[q0.5c4p1n]-m2-c9rq2-g-c10k1"],
    "fallback repeated": ["c6rn-w2[c6p1yn]-m2-g-c10k1", "c4rn-w2[c4p1yn]-m2-g-c10k1"],
    "deskewed, norms unscaled": ["u-c6rn0-m2-dc9k1rn0-g-c10k1", "u-c5rn0-m2-dc4k1rn0-g-c10k1"],
    "views": ["u1-v-c6rn-m2-dc9k1rn-g-c10k1", "u1-v-c5rn-m2-dc4k1rn-g-c10k1"],
    "smooth": ["c6in0-a2-dc9k1in-g-c10k1", "c4in0-a2-dc3k1in-g-c10k1"],
    "normed head": ["c4p1rn-m2-c6rn-g-c10k1-n", "c7p1rn-m2-c2rn-g-c10k1-n"],
}
RECIPES = {
    "sgd": Recipe(epochs=2, batch_size=32),
    "plain sgd": Recipe(epochs=2, batch_size=32, momentum=0, weight_decay=0, average_epochs=0),
    "adamw": Recipe(epochs=2, batch_size=32, optimizer="adamw", weight_decay=0.05),
}


def members(notations: list[str], recipe: Recipe, rates: tuple[float, ...]) -> list[Member]:
    return [
        Member(parse_notation(notation), recipe.changed({"learning_rate": rate}), seed)
        for seed, (notation, rate) in enumerate(zip(notations, rates, strict=True), start=3)
    ]


def pack_of(
    dataset: Dataset, wanted: list[Member], device: torch.device = CPU, **options: Any
) -> Pack:
    train, validation = split_dataset(dataset, 0, 832)  # 26 steps an epoch
    return Pack(
        wanted, train, validation, normalization=dataset.normalization, device=device, **options
    )


def solo(
    dataset: Dataset, member: Member, precision: torch.dtype, device: torch.device = CPU
) -> Trainer:
    train, validation = split_dataset(dataset, 0, 832)
    return Trainer(
        member.architecture,
        member.recipe,
        train,
        validation,
        normalization=dataset.normalization,
        seed=member.seed,
        device=device,
        precision=precision,
    )


def furthest(first: nn.Module, second: nn.Module) -> float:
    """The largest difference between weights or running statistics of two networks."""
    ours, theirs = first.state_dict(), second.state_dict()
    names = [name for name in ours if not name.endswith("num_batches_tracked")]
    return max(float((ours[name] - theirs[name]).abs().max()) for name in names)


@pytest.mark.parametrize(
    ("networks", "recipe"),
    [
        *(("dense", "sgd"), ("dense", "plain sgd"), ("dense", "adamw")),
        # Not with adamw: behind a norm a constant channel has no gradient but rounding, which
        # Adam divides by its own size, so that any two orders of summation part at once.
        *(("separable", "sgd"), ("normed head", "sgd")),
        *(("deskewed, norms unscaled", "sgd"), ("views", "sgd"), ("smooth", "sgd")),
        *(
            ("squeeze-excite", "sgd"),
            ("residual", "sgd"),
            ("repeat", "sgd"),
            ("repeat of several", "sgd"),
            ("fallback", "sgd"),
            ("fallback repeated", "sgd"),
        ),
    ],
)
@pytest.mark.parametrize(
    ("count", "kernels"), [(1, True), (2, True), (2, False)], ids=["alone", "pair", "by torch"]
)
def test_a_member_is_its_solo_run(
    digits: Dataset, networks: str, recipe: str, count: int, kernels: bool
) -> None:
    """Over 52 steps in float64: other widths, rates, orders and augmentations beside it."""
    notations, settings = NOTATIONS[networks], RECIPES[recipe]
    # Low enough not to make chaos of the last bit.
    rates = (0.003, 0.001) if settings.optimizer == "adamw" else (0.02, 0.01)
    wanted = members(notations[:count], settings, rates[:count])
    pack = pack_of(digits, wanted, precision=torch.float64, kernels=kernels)
    packed = list(pack)
    for place, member in enumerate(wanted):
        trainer = solo(digits, member, torch.float64)
        for ours, theirs in zip(packed, trainer, strict=True):
            record = ours[place]
            assert isinstance(record, EpochRecord)
            assert record.train_loss == pytest.approx(theirs.train_loss, abs=1e-6)
            assert record.learning_rate == pytest.approx(theirs.learning_rate)
            assert record.train_accuracy == theirs.train_accuracy
            assert record.accuracy == theirs.accuracy
            assert record.loss == pytest.approx(theirs.loss, abs=1e-9)
            assert EpochRecord.of(
                record.entry("val_accuracy"), "val_accuracy"
            ).loss == pytest.approx(record.loss, abs=1e-6)
        assert furthest(pack.network(place), trainer.network) < 1e-10


def test_one_that_is_stopped_leaves_the_others_as_they_are(digits: Dataset) -> None:
    recipe = Recipe(epochs=3, batch_size=32)
    notation = "c6rn-m2-c8rn-g-c10k1"
    wanted = members([notation, "c4rn-m2-c9rn-g-c10k1", notation], recipe, (0.02, 0.03, 0.01))
    pack = pack_of(digits, wanted, precision=torch.float64)
    seen = []
    for outcomes in pack:
        seen.append(sorted(outcomes))
        if len(seen) == 1:
            pack.stop(1)
    assert seen == [[0, 1, 2], [0, 2], [0, 2]]
    for place in (0, 2):
        trainer = solo(digits, wanted[place], torch.float64)
        list(trainer)
        assert furthest(pack.network(place), trainer.network) < 1e-10
    stopped = solo(digits, wanted[1], torch.float64)
    next(iter(stopped))
    assert furthest(pack.network(1), stopped.network) < 1e-10


def test_one_that_diverges_leaves_the_others_as_they_are(digits: Dataset) -> None:
    recipe = Recipe(epochs=2, batch_size=32, weight_decay=1, warm_up=0)
    wanted = members(["c6rn-m2-c8rn-g-c10k1"] * 2, recipe, (100, 0.05))
    pack = pack_of(digits, wanted)
    outcomes = list(pack)
    assert isinstance(outcomes[0][0], DivergedError)
    assert "peak learning rate 100" in str(outcomes[0][0])
    assert list(outcomes[1]) == [1]
    record = outcomes[1][1]
    assert isinstance(record, EpochRecord)
    assert math.isfinite(record.train_loss)


def test_all_stopped_ends_the_training(digits: Dataset) -> None:
    pack = pack_of(digits, members(["c4rn-g-c10k1"], Recipe(epochs=3), (0.1,)))
    for _ in pack:
        pack.stop(0)
    assert sum(1 for _ in pack) == 0


def test_one_seed_gives_one_pack(digits: Dataset) -> None:
    """With dropout, and whatever is drawn before or between."""
    wanted = members(
        ["c6rnx0.1-m2-c8rny0.1-g-c10k1"] * 2, Recipe(epochs=2, batch_size=32), (0.1,) * 2
    )
    first, second = pack_of(digits, wanted), pack_of(digits, wanted)
    torch.manual_seed(99)
    list(first)
    before = torch.random.get_rng_state()
    list(second)
    assert torch.equal(torch.random.get_rng_state(), before)
    for place in range(2):
        assert furthest(first.network(place), second.network(place)) == 0


def test_what_cannot_be_one_pack(digits: Dataset) -> None:
    recipe = Recipe(epochs=1)
    for others in (
        [Member(parse_notation("c6rn-c6rn-g-c10k1"), recipe, 1)],
        [Member(parse_notation("c6rnx0.1-g-c10k1"), recipe, 1)],
        [Member(parse_notation("c6rn-g-c10k1"), recipe.changed({"batch_size": 64}), 1)],
    ):
        with pytest.raises(ValueError, match="one topology and one recipe"):
            pack_of(digits, [Member(parse_notation("c6rn-g-c10k1"), recipe, 0), *others])


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_it_learns_real_mnist(mnist: Dataset, precision: torch.dtype) -> None:
    train, validation = split_dataset(mnist, 0, 3000)
    validation = validation.at(torch.arange(2000))
    recipe = Recipe(epochs=3, batch_size=64)
    pack = Pack(
        members(["c6rn-m2-c8rnx0.05-m2-c10rn-g-c10k1"] * 2, recipe, (0.1, 0.1)),
        train,
        validation,
        normalization=mnist.normalization,
        device=CPU,
        precision=precision,
    )
    *_, last = pack
    for place in range(2):
        record = last[place]
        assert isinstance(record, EpochRecord)
        assert record.accuracy >= 80
        # Evaluation is float32, together or alone.
        alone = accuracy(pack.network(place), validation, mnist.normalization)
        assert alone == pytest.approx(record.accuracy, abs=0.011)


class Orthogonal(torch.optim.Optimizer):
    """A matrix optimizer of a user's own, in the manner of Muon: the moves of a convolution's
    weights as a matrix whose singular values are all one; other parameters by their sign."""

    def __init__(self, params: list[Tensor], lr: float, momentum: float = 0.9) -> None:
        matrices = [weights for weights in params if weights.dim() > 1]
        others = [weights for weights in params if weights.dim() <= 1]
        groups = [{"params": group} for group in (others, matrices)]
        super().__init__(groups, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weights in group["params"]:
                memory = self.state[weights].setdefault("memory", torch.zeros_like(weights))
                memory.mul_(group["momentum"]).add_(weights.grad)
                move = memory.sign()
                if weights.dim() > 1:
                    left, _, right = torch.linalg.svd(memory.flatten(1), full_matrices=False)
                    move = (left @ right).view_as(weights)
                weights.sub_(group["lr"] * move)


@pytest.mark.parametrize("optimizer", ["torch.optim:RMSprop", f"{__name__}:Orthogonal"])
def test_an_optimizer_of_ones_own(digits: Dataset, optimizer: str) -> None:
    """As alone, also when a network is stopped."""
    settings = {"epochs": 2, "batch_size": 64, "optimizer": named(optimizer), "weight_decay": 0.0}
    recipe = Recipe(**settings, momentum=0.5)
    notations = ["c5rn-m2-c4rn-g-c10k1", "c4rn-m2-c6rn-g-c10k1", "c3rn-m2-c5rn-g-c10k1"]
    wanted = members(notations, recipe, (3e-4, 1e-4, 2e-4))
    pack = pack_of(digits, wanted, precision=torch.float64)
    for epoch, _ in enumerate(pack):
        if epoch == 0:
            pack.stop(1)
    for index in (0, 2):
        trainer = solo(digits, wanted[index], torch.float64)
        list(trainer)
        assert furthest(pack.network(index), trainer.network) < 1e-10


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("torch.optim:NoSuch", "torch.optim has no 'NoSuch'"),
        ("no_module:Optimizer", "add --plugin no_module"),
        ("torch:zeros", "recipe: optimizer 'torch:zeros': "),
        ("torch.optim:LBFGS", "its steps need a closure; choose one whose steps do not"),
    ],
)
def test_optimizers_that_are_none(digits: Dataset, optimizer: str, message: str) -> None:
    recipe = Recipe(epochs=1, optimizer=named(optimizer))
    with pytest.raises(RequestError, match=re.escape(message)):
        pack_of(digits, members(["c4rn-g-c10k1"], recipe, (0.1,)))

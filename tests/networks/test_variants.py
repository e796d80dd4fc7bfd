"""Networks with one decision undone: another network, of no more parameters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks import variants as to
from nas_mnist.networks.architecture import Limit, format_notation, parse_notation
from nas_mnist.networks.layers.composite import Repeat, Residual
from nas_mnist.networks.layers.convolution import BatchNorm
from nas_mnist.networks.references import references
from nas_mnist.networks.resizing import as_wide_as, refitted, widened
from nas_mnist.training.decisions import DECISIONS, first_pool, lifecycle, undone
from nas_mnist.training.recipe import Recipe
from tests.networks.test_skeleton import CHOICES, Point, decode

RECIPE = Recipe(learning_rate=0.2)


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        (to.without(BatchNorm), "c8rn-[c8p1rn]-w2c8p1-g-c10k1n", "c8r-[c8p1r]-w2[c8p1r]-g-c10k1"),
        (to.without(BatchNorm), "c8r-g-c10k1", None),
        (to.without_average, "c8rn-m2-c9rn-g-c12k1r-c10k1", "c8rn-m2-c9rn-c10k11"),
        (to.without_average, "c8rn-m2-c10k13", None),
        (to.pool_moved(-1), "c8rn-c9rn-m2-c7rn-g-c10k1", "c8rn-m2-c9rn-c7rn-g-c10k1"),
        (to.pool_moved(-1), "c8rn-m2-c9rn-c7rn-g-c10k1", None),
        (to.pool_moved(-2), "c8-c9-c7-m2-c7-g-c10k1", "c8-m2-c9-c7-c7-g-c10k1"),
        (to.pool_moved(-2), "c8rn-c9rn-m2-c7rn-g-c10k1", None),
        (to.pool_moved(1), "c8rn-a2-dc9k1rn-c7rn-g-c10k1", "c8rn-dc9k1rn-a2-c7rn-g-c10k1"),
        (to.pool_moved(1), "c8rn-m2-c9rn-g-c10k1", None),
        (to.deeper(-1), "u-c8rn-m2-c9rn-c7rn-g-c10k1", "u-c8rn-m2-c9rn-g-c10k1"),
        (to.deeper(-1), "c8rn-m2-c9rn-g-c10k1", None),
        (to.deeper(1), "c8rn-m2-dk5c9k1rn-g-c10k1", "c8rn-m2-dk5c9k1rn-dk5p2c9k1rn-g-c10k1"),
        (to.of_convolutions("dense"), "c8rn-dk5p1c9k1rn-g-c10k1", "c8rn-c9k5p1rn-g-c10k1"),
        (to.of_convolutions("separable"), "c8rn-c9k5p1rn-g-c10k1", "c8rn-dk5p1c9k1rn-g-c10k1"),
        (to.of_convolutions("separable"), "c8rn-m2-dc9k1rn-g-c10k1", None),
        (to.squeezed(0), "c8rn-m2-c4k1rn-c9rn-g-c10k1", "c8rn-m2-c9rn-g-c10k1"),
        (to.squeezed(0.5), "c8rn-m2-c9rn-g-c10k1", "c8rn-m2-c4k1rn-c9rn-g-c10k1"),
        (to.squeezed(0.5), "c8rn-m2-c4k1rn-c9rn-g-c10k1", None),
        (to.hidden_layer(0), "c8rn-g-c16k1r-c10k1", "c8rn-g-c10k1"),
        (to.hidden_layer(2), "c8rn-g-c10k1n", "c8rn-g-c16k1r-c10k1n"),
        (to.dropped_out(0.05), "c8rnx0.1-m2-c9rn-g-c10k1", "c8rnx0.05-m2-c9rnx0.05-g-c10k1"),
        (to.wider_first_block(0.5), "c8rn-[c8p1rn]-m2-c9-g-c10k1", "c4rn-[c4p1rn]-m2-c9-g-c10k1"),
        (to.unwrapped(Residual), "c8rn-[c8p1rn-[c8p1]]-g-c10k1", "c8rn-c8p1rn-c8p1-g-c10k1"),
        (to.unwrapped(Repeat), "c8rn-w3[dp1c8k1rn]-g-c10k1", "c8rn-dp1c8k1rn-g-c10k1"),
    ],
)
def test_one_decision(change: to.Change, before: str, after: str | None) -> None:
    made = change(parse_notation(before))
    assert made == (None if after is None else parse_notation(after))


def test_what_cannot_be() -> None:
    network = parse_notation("c8rn-m2-c4k1rn-w2[dp1c4k1rn]-g-c10k1")
    with pytest.raises(ArchitectureError, match="keeps its width"):
        to.squeezed(0)(network)
    with pytest.raises(ArchitectureError, match="the smallest such network has 4,348 parameters"):
        large = to.without_average(parse_notation("c8rn-c8rn-m2-c10rn-g-c10k1"))
        assert large
        refitted(large, Limit(1520))


def test_widths_are_found_again() -> None:
    """Those that must agree do, and the scores stay."""
    network = parse_notation("c8rn-[c16p1rn-c8p1rn]-m2-w2c8p1-c16s4-g-c10k1")
    assert format_notation(widened(network, 2)) == (
        "c16rn-[c32p1rn-c16p1rn]-m2-w2c16p1-c32s8-g-c10k1"
    )
    for most in (2000, 4000, 40_000):
        fitted = refitted(network, Limit(most))
        assert 0.9 * most < fitted.parameters <= most
        assert as_wide_as(network, fitted) == fitted


@given(CHOICES)
def test_every_decision_undone_is_within_the_size(point: Point) -> None:
    network = decode(point, 8000)
    base, *others = undone(network, RECIPE)
    assert (base.architecture, base.recipe) == (network, RECIPE)
    assert len({own.name for own in others}) == len(others)
    for own in others:
        assert own.architecture.parameters <= network.parameters
        assert own.impossible or (own.architecture, own.recipe) != (network, RECIPE)
    names = {own.name for own in others}
    assert {"batch-norm", "augmentation", "schedule", "peak-half", "average"} <= names
    kinds = {"dense", "separable"} & names
    assert kinds <= ({"dense"} if point["convolution"] == "separable" else {"separable"})


@given(CHOICES)
def test_a_lifecycle_ends_in_the_network(point: Point) -> None:
    network = decode(point, 8000)
    skeleton, *others = lifecycle(network, RECIPE)
    assert skeleton.architecture.parameters > 2 * network.parameters
    assert all(own.architecture.parameters <= network.parameters for own in others)
    assert (others[-1].architecture, others[-1].recipe) == (network, RECIPE)
    plain = skeleton.recipe
    assert (plain.schedule, plain.average_epochs, plain.augmentation.rotation) == ("constant", 0, 0)
    assert "n" not in format_notation(skeleton.architecture)


def test_the_lifecycle_of_a_hand_made_network() -> None:
    """In the order that its author took, with the step that spends what the average saved."""
    steps = lifecycle(references()["s7-dropout-7914"].architecture, RECIPE)
    assert [own.name for own in steps] == [
        *("skeleton", "lighter", "batch-norm", "dropout", "average-pool", "capacity"),
        *("pool-later", "augmentation", "schedule", "average"),
    ]
    by_name: dict[str, Any] = {own.name: own.architecture for own in steps}
    assert by_name["average-pool"].parameters < by_name["capacity"].parameters
    assert first_pool(by_name["capacity"]) == 7 and first_pool(by_name["pool-later"]) == 5


def test_every_reference_can_be_explained() -> None:
    for found in references().values():
        if found.architecture.parameters < 10**6:
            assert len(undone(found.architecture, RECIPE)) > 4
            assert lifecycle(found.architecture, RECIPE)[-1].architecture == found.architecture


@pytest.mark.parametrize("notation", ["c10k28", "u-c10k28b", "c10k1-g", "c10rn-w2c10p1-g"])
def test_networks_without_a_width_to_choose(notation: str) -> None:
    network = parse_notation(notation)
    assert lifecycle(network, RECIPE)[-1].architecture == network
    assert undone(network, RECIPE)


def test_the_first_pool_where_lifecycles_put_it() -> None:
    """If that is not one convolution away, which is a variant already."""
    late, near = references()["a7-no-dropout-7884"], references()["s7-dropout-7914"]
    (found,) = (own for own in undone(late.architecture, RECIPE) if own.name == "pool-at-5")
    assert format_notation(found.architecture).startswith("c10rn-c10rn-m2-c10rn-c10n-c10k1n-c14rn")
    assert found.title == "first pool at receptive field 5"
    assert found.architecture.parameters == late.architecture.parameters
    assert "pool-at-5" not in {own.name for own in undone(near.architecture, RECIPE)}


def test_without_normalization_at_a_lower_rate() -> None:
    """Only if there is any."""
    plain = undone(parse_notation("c8r-m2-c8r-g-c10k1"), RECIPE)
    assert "batch-norm-slow" not in {own.name for own in plain}
    found = {own.name: own for own in undone(parse_notation("c8rn-m2-c8rn-g-c10k1"), RECIPE)}
    slow, other = found["batch-norm-slow"], found["batch-norm"]
    assert slow.architecture == other.architecture
    assert slow.recipe.learning_rate == pytest.approx(RECIPE.learning_rate / 10)
    assert other.recipe == RECIPE


def test_names_are_unique() -> None:
    assert len({own.name for own in DECISIONS}) == len(DECISIONS)

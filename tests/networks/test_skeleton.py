"""The skeleton is feasible by construction."""

from __future__ import annotations

import json
import random
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from nas_mnist.errors import RequestError
from nas_mnist.networks.architecture import Architecture, Limit, format_notation
from nas_mnist.networks.layers.composite import Residual
from nas_mnist.networks.layers.convolution import Conv, DepthwiseConv, MaxPool
from nas_mnist.networks.resizing import MIN_WIDTH, fit
from nas_mnist.networks.skeleton import Block, Template
from nas_mnist.search.choices import CONVOLUTIONS, MAX_CONVOLUTIONS, MAX_POOLS
from nas_mnist.search.space import DEFAULT

Point = dict[str, Any]
POOL_RECEPTIVE_FIELDS = (3, 5, 7, 9)


def decode(point: Point, parameters_at_most: int) -> Architecture:
    return DEFAULT.decode(point, Limit(parameters_at_most))


def smallest() -> Architecture:
    return DEFAULT.smallest()


_DEPTH = st.integers(1, MAX_CONVOLUTIONS)
_RATIO = st.floats(0.5, 2.0)
CHOICES = st.builds(
    dict,
    first_pool_receptive_field=st.sampled_from(POOL_RECEPTIVE_FIELDS),
    pools=st.integers(1, MAX_POOLS),
    convolutions_2=_DEPTH,
    convolutions_3=_DEPTH,
    convolutions_4=_DEPTH,
    width_ratio_2=_RATIO,
    width_ratio_3=_RATIO,
    width_ratio_4=_RATIO,
    entry_ratio=st.floats(0.5, 1.0),
    squeeze_ratio=st.sampled_from((0.0, 0.5, 0.75)),
    head_ratio=st.sampled_from((0.0, 1.0, 2.0)),
    convolution=st.sampled_from(CONVOLUTIONS),
    dropout=st.sampled_from((0.0, 0.01, 0.1)),
)
LARGEST = {
    **{"first_pool_receptive_field": 9, "pools": 3},
    **{f"convolutions_{block}": 3 for block in (2, 3, 4)},
    **{f"width_ratio_{block}": 2.0 for block in (2, 3, 4)},
    **{"entry_ratio": 0.5, "squeeze_ratio": 0.75, "head_ratio": 2.0, "dropout": 0.1},
}
BUDGETS = st.integers(smallest().parameters, 100_000)


@given(CHOICES, BUDGETS)
@example(LARGEST, smallest().parameters)
@example(LARGEST, 10**9)
@example({}, smallest().parameters)
def test_every_draw_decodes_within_every_budget(choices: Point, budget: int) -> None:
    network = decode(choices, budget)
    assert network.parameters <= budget
    widths = [layer.out for layer in network.layers if isinstance(layer, Conv)]
    assert min(widths) >= MIN_WIDTH


@given(CHOICES, BUDGETS)
def test_no_single_width_could_be_wider(choices: Point, budget: int) -> None:
    network = decode(choices, budget)
    for place, layer in enumerate(network.layers[:-1]):
        if isinstance(layer, Conv):
            wider = Conv(layer.out + 1, kernel=layer.kernel, padding=layer.padding)
            layers = (*network.layers[:place], wider, *network.layers[place + 1 :])
            assert type(network)(layers).parameters > budget


@given(CHOICES, BUDGETS)
def test_decoding_is_a_function(choices: Point, budget: int) -> None:
    assert decode(choices, budget) == decode(choices, budget)


def drawn(generator: random.Random) -> Point:
    """One draw as the search's random start makes it."""
    return dict(
        first_pool_receptive_field=generator.choice(POOL_RECEPTIVE_FIELDS),
        pools=generator.randint(1, MAX_POOLS),
        convolutions_2=generator.randint(1, MAX_CONVOLUTIONS),
        convolutions_3=generator.randint(1, MAX_CONVOLUTIONS),
        convolutions_4=generator.randint(1, MAX_CONVOLUTIONS),
        width_ratio_2=2 ** generator.uniform(-1, 1),
        width_ratio_3=2 ** generator.uniform(-1, 1),
        width_ratio_4=2 ** generator.uniform(-1, 1),
        entry_ratio=generator.uniform(0.5, 1),
        squeeze_ratio=generator.choice((0.0, 0.5, 0.75)),
        head_ratio=generator.choice((0.0, 1.0, 2.0)),
        convolution=generator.choice(CONVOLUTIONS),
        dropout=generator.choice((0.0, 0.05)),
    )


@pytest.mark.parametrize("budget", [1000, 2000, 4400, 8000, 20_000, 200_000])
def test_the_typical_draw_uses_the_budget(budget: int) -> None:
    generator = random.Random(budget)
    shares = [decode(drawn(generator), budget).parameters / budget for _ in range(100)]
    assert statistics.median(shares) >= 0.95
    assert statistics.quantiles(shares, n=20)[0] >= 0.95  # and so do 19 draws in 20


@given(CHOICES)
def test_choices_show_where_there_is_room(choices: Point) -> None:
    """At a budget that every combination fits, nothing gives way but pools without pixels."""
    network = decode(choices, 50_000)
    pools = [place for place, layer in enumerate(network.layers) if layer == MaxPool()]
    assert 1 <= len(pools) <= choices["pools"]
    before = network.costs[pools[0] - 1]
    assert before.receptive_field == choices["first_pool_receptive_field"]
    separable = any(isinstance(layer, DepthwiseConv) for layer in network.layers)
    assert separable == (choices["convolution"] == "separable")
    assert min(cost.output_shape[1] for cost in network.costs if cost.layer.op != "gap") >= 1


@given(CHOICES)
def test_at_least_two_by_two_pixels_reach_the_average(choices: Point) -> None:
    network = decode(choices, 8000)
    gap = [cost.layer.op for cost in network.costs].index("gap")
    assert network.costs[gap - 1].output_shape[1] >= 2


def test_the_smallest_network() -> None:
    least = smallest().parameters
    assert decode(LARGEST, least).parameters == least
    with pytest.raises(RequestError, match=f"budget {least - 1} is below the smallest network"):
        decode({}, least - 1)


GOLDEN = json.loads((Path(__file__).parent / "decoded.json").read_text())


@pytest.mark.parametrize(("point", "limit", "notation"), GOLDEN, ids=[g[2] for g in GOLDEN])
def test_points_decode_to_what_they_decoded_to(point: Point, limit: int, notation: str) -> None:
    """Drawn at random and decoded by version 0.1."""
    assert format_notation(decode(point, limit)) == notation


@pytest.mark.parametrize("macs", [60_000, 200_000, 400_000])
def test_a_second_cost_is_kept_too(macs: int) -> None:
    limit = Limit.of(8000, {"macs": macs})
    network = DEFAULT.decode({}, limit)
    assert network.macs <= macs
    assert network.parameters <= 8000
    assert Limit(8000).allows(network)
    assert not Limit.of(8000, {"macs": network.macs - 1}).allows(network)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"watts": 5}, "--limit watts=5: what can be limited is macs"),
        ({"parameters": 5}, "--limit parameters=5: what can be limited is macs"),
        ({"macs": 0}, "--limit macs=0 is below 1"),
    ],
)
def test_limits_that_mean_nothing(others: dict[str, int], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Limit.of(8000, others)


def test_no_network_within_a_second_cost() -> None:
    with pytest.raises(RequestError, match="no network of this skeleton is within 8,000 param"):
        DEFAULT.decode({}, Limit.of(8000, {"macs": 100}))


def test_widths_of_one_group_are_equal() -> None:
    """So a residual keeps its width."""
    residual = Block(depth=3, residual=True)
    shared = Block(depth=2, group="both")
    for blocks in ((Block(), residual), (shared, shared)):
        template = Template(blocks, head_ratio=1.0)
        network = fit(template, Limit(6000))
        assert 0.9 * 6000 < network.parameters <= 6000
        by_group = dict.fromkeys(template.groups())
        assert len(by_group) == (3 if blocks[1] is residual else 2)
    network = fit(Template((Block(), residual)), Limit(6000))
    (found,) = [layer for layer in network.layers if isinstance(layer, Residual)]
    assert len({layer.out for layer in found.layers if isinstance(layer, Conv)}) == 1


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_other_kernels_leave_pixels_too(kernel: int) -> None:
    template = Template((Block(depth=3, kernel=kernel),) * 4)
    network = fit(template, Limit(50_000))
    gap = [cost.layer.op for cost in network.costs].index("gap")
    assert network.costs[gap - 1].output_shape[1] >= 2

"""The skeleton is feasible by construction."""

from __future__ import annotations

import random
import statistics
from dataclasses import asdict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nas_mnist.errors import RequestError
from nas_mnist.networks.layers.convolution import Conv, DepthwiseConv
from nas_mnist.networks.layers.pooling import MaxPool
from nas_mnist.networks.skeleton import (
    CONVOLUTIONS,
    MAX_CONVOLUTIONS,
    MAX_POOLS,
    MIN_WIDTH,
    POOL_RECEPTIVE_FIELDS,
    Choices,
    decode,
    smallest,
)

_DEPTH = st.integers(1, MAX_CONVOLUTIONS)
_RATIO = st.floats(0.5, 2.0)
CHOICES = st.builds(
    Choices,
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
LARGEST = Choices(9, 3, 3, 3, 3, 2.0, 2.0, 2.0, 0.5, 0.75, 2.0, "dense", 0.1)
BUDGETS = st.integers(smallest().parameters, 100_000)


@given(CHOICES, BUDGETS)
@example(LARGEST, smallest().parameters)
@example(LARGEST, 10**9)
@example(Choices(), smallest().parameters)
def test_every_draw_decodes_within_every_budget(choices: Choices, budget: int) -> None:
    network = decode(choices, budget)
    assert network.parameters <= budget
    widths = [layer.out for layer in network.layers if isinstance(layer, Conv)]
    assert min(widths) >= MIN_WIDTH


@given(CHOICES, BUDGETS)
def test_no_single_width_could_be_wider(choices: Choices, budget: int) -> None:
    network = decode(choices, budget)
    for place, layer in enumerate(network.layers[:-1]):
        if isinstance(layer, Conv):
            wider = Conv(layer.out + 1, kernel=layer.kernel, padding=layer.padding)
            layers = (*network.layers[:place], wider, *network.layers[place + 1 :])
            assert type(network)(layers).parameters > budget


@given(CHOICES, BUDGETS)
def test_decoding_is_a_function(choices: Choices, budget: int) -> None:
    assert decode(choices, budget) == decode(choices, budget)


def drawn(generator: random.Random) -> Choices:
    """One draw as the search's random start makes it."""
    return Choices(
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
def test_choices_show_where_there_is_room(choices: Choices) -> None:
    """At a budget that every combination fits, nothing gives way but pools without pixels."""
    network = decode(choices, 50_000)
    pools = [place for place, layer in enumerate(network.layers) if layer == MaxPool()]
    assert 1 <= len(pools) <= choices.pools
    before = network.costs[pools[0] - 1]
    assert before.receptive_field == choices.first_pool_receptive_field
    separable = any(isinstance(layer, DepthwiseConv) for layer in network.layers)
    assert separable == (choices.convolution == "separable")
    assert min(cost.output_shape[1] for cost in network.costs if cost.layer.op != "gap") >= 1


@given(CHOICES)
def test_at_least_two_by_two_pixels_reach_the_average(choices: Choices) -> None:
    network = decode(choices, 8000)
    gap = [cost.layer.op for cost in network.costs].index("gap")
    assert network.costs[gap - 1].output_shape[1] >= 2


def test_the_smallest_network() -> None:
    least = smallest().parameters
    assert decode(LARGEST, least) == decode(Choices(**asdict(LARGEST)), least)
    assert decode(LARGEST, least).parameters == least
    with pytest.raises(RequestError, match=f"budget {least - 1} is below the smallest network"):
        decode(Choices(), least - 1)

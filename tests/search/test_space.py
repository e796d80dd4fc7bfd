"""The search space: feasible, and wide enough for the hand-made networks it names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)

from nas_mnist.errors import RequestError
from nas_mnist.networks.architecture import Limit
from nas_mnist.networks.layers.composite import Residual
from nas_mnist.networks.references import references
from nas_mnist.networks.skeleton import Template
from nas_mnist.search.choices import DEFAULT_CHOICES, Choice
from nas_mnist.search.space import DEFAULT, Space, find_space
from tests.conftest import named


@pytest.mark.parametrize("budget", [DEFAULT.smallest().parameters, 1000, 8000, 10**6])
def test_every_sample_is_within_the_budget(budget: int) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=budget))
    for _ in range(50):
        trial = study.ask()
        point = DEFAULT.suggest(trial)
        architecture = DEFAULT.decode(point, Limit(budget))
        assert architecture.parameters <= budget
        assert (
            architecture.parameters
            <= max(point["fill"] * budget, DEFAULT.smallest().parameters) + 1
        )
        assert trial.params.keys() == DEFAULT.distributions.keys()


def test_a_hand_made_network_is_tried_first() -> None:
    study = optuna.create_study()
    study.enqueue_trial(DEFAULT.first_points(Limit(8000))[0])
    point = DEFAULT.suggest(study.ask())
    assert DEFAULT.decode(point, Limit(8000)) == references()["s7-dropout-7914"].architecture


@pytest.mark.parametrize(
    ("budget", "count"), [(7913, 8), (7914, 9), (79_140, 9), (79_141, 8), (144, 1), (400, 4)]
)
def test_first_points_are_within_the_budget_and_of_different_networks(
    budget: int, count: int
) -> None:
    points = DEFAULT.first_points(Limit(budget))
    networks = [DEFAULT.decode(point, Limit(budget)) for point in points]
    assert len(set(networks)) == len(networks) == count
    assert all(network.parameters <= budget for network in networks)
    for point in points:
        # Raises ValueError unless it is a whole point of the space.
        optuna.trial.create_trial(value=0.0, params=point, distributions=DEFAULT.distributions)


@pytest.mark.parametrize("macs", [30_668, 100_000, 500_000])
def test_every_sample_is_within_a_second_limit(macs: int) -> None:
    """Views, which take five times the MACs, give way where nothing else is left to."""
    limit = Limit.of(8000, {"macs": macs})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=macs))
    points = [DEFAULT.suggest(study.ask()) for _ in range(60)]
    networks = [DEFAULT.decode(point, limit) for point in points]
    assert all(limit.allows(network) for network in networks)
    viewed = [network.views > 1 for network in networks]
    assert any(viewed) == (macs >= 153_340)  # what the smallest network takes with them
    first = [DEFAULT.decode(point, limit) for point in DEFAULT.first_points(limit)]
    assert first and all(limit.allows(own) and own.views == 1 for own in first)


@pytest.mark.parametrize(
    ("smallest", "budget", "first"),
    [(4000, 8000, 5), (4001, 8000, 3), (8000, 8000, 2), (144, 144, 1)],
)
def test_sizes_from_a_smallest(smallest: int, budget: int, first: int) -> None:
    """Aims are within smallest and budget, whoever draws; no first point is below."""
    space, limit = DEFAULT.from_size(smallest, budget), Limit(budget)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=budget))
    fills = [space.suggest(study.ask())["fill"] for _ in range(200)]
    fills += [space.spread_fill(3, number) for number in range(200)]
    points = space.first_points(limit)
    assert len(points) == first
    for fill in (*fills, *(point["fill"] for point in points)):
        assert smallest <= int(fill * budget + 1e-6) and fill <= 1
    if smallest < budget:
        assert min(fills) * budget < 1.02 * smallest and max(fills) > 0.98
    assert space.distributions.keys() == DEFAULT.distributions.keys()
    assert DEFAULT.from_size(None, budget) is DEFAULT


@pytest.mark.parametrize(
    ("smallest", "message"),
    [
        (8001, "--smallest 8,001 is above the budget (8,000 parameters); lower it"),
        (143, "--smallest 143 is below the smallest network of this skeleton (144 parameters); ra"),
    ],
)
def test_a_smallest_that_is_refused(smallest: int, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        DEFAULT.from_size(smallest, 8000)
    assert message in str(caught.value)


def test_the_version_names_the_space() -> None:
    """A change here means that no older study can be continued: raise it on purpose."""
    assert DEFAULT.version() == "81b996126c61"
    # Earlier ones, under which points decoded alike: of 0.1, then without kernel, deskew and views,
    # and without anti-aliased pools.
    earlier = "a103686daada", "792daa3b2821", "fc93a88df7a8"
    assert all(map(DEFAULT.accepts, earlier))
    assert not DEFAULT.accepts(None)
    assert not DEFAULT.accepts("another")


class _Residual(Choice):
    """A residual around all but the first convolution of block 2."""

    def apply(self, template: Template, value: Any) -> Template:
        first, second, *others = template.blocks
        second = replace(second, residual=value, depth=second.depth + value)
        return replace(template, blocks=(first, second, *others))


WIDER = Space(
    (*DEFAULT_CHOICES, _Residual("residual", CategoricalDistribution((False, True)), False))
)


@pytest.mark.parametrize("budget", [144, 1000, 8000])
def test_a_choice_more(budget: int) -> None:
    assert WIDER.version() != DEFAULT.version()
    assert "residual" in WIDER.topology_names
    assert not WIDER.accepts("a103686daada")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=budget))
    found = 0
    for _ in range(40):
        trial = study.ask()
        point = WIDER.suggest(trial)
        network = WIDER.decode(point, Limit(budget))
        assert network.parameters <= budget
        has = any(isinstance(layer, Residual) for layer in network.layers)
        assert point["residual"] or not has
        found += has
    assert found or budget == 144  # the smallest network has none
    older = {name: value for name, value in point.items() if name != "residual"}
    assert WIDER.decode(older, Limit(budget)) == DEFAULT.decode(older, Limit(budget))


def test_first_points_of_a_narrower_space() -> None:
    """Each keeps to the space's ranges; what is not of it is its default."""
    own: dict[str, BaseDistribution] = {
        "convolution": CategoricalDistribution(("dense",)),
        "peak_learning_rate": FloatDistribution(0.001, 0.01),
    }
    choices = (
        replace(
            c, distribution=own[c.name], default={"peak_learning_rate": 0.005}.get(c.name, "dense")
        )
        if c.name in own
        else c
        for c in DEFAULT_CHOICES
        if c.name != "views"
    )
    points = Space(tuple(choices)).first_points(Limit(8000))
    assert len(points) > 4
    for point in points:
        assert "views" not in point and point["convolution"] == "dense"
        assert point["peak_learning_rate"] == 0.005


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ((*DEFAULT_CHOICES, DEFAULT_CHOICES[0]), "first_pool_receptive_field is there twice"),
        (DEFAULT_CHOICES[:-1], "fill is missing"),
    ],
)
def test_lists_of_choices_that_are_refused(choices: tuple[Choice, ...], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Space(choices)


def test_spaces_by_name() -> None:
    assert find_space("default") is DEFAULT
    with pytest.raises(RequestError, match="--space 'x' is not one of default, and not MODULE"):
        find_space("x")
    with pytest.raises(RequestError, match="is not a Space"):
        find_space(named("nas_mnist.search.space:find_space"))

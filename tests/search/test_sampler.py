"""Samplers: every one draws whole points, and none of a network already tried."""

from __future__ import annotations

import copy
import math

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from nas_mnist.errors import RequestError
from nas_mnist.execution.creation import DIRECTIONS
from nas_mnist.networks.architecture import Architecture, Limit, format_notation
from nas_mnist.search.sampler import SAMPLERS, SearchSampler
from nas_mnist.search.space import DEFAULT
from tests.conftest import named

BUDGET = 1000
# Trials, with and without a third of them pruned, after which every sampler draws from what it
# has seen.
PAST_STARTUP = 17
PAST_STARTUP_UNPRUNED = 12


DEFAULT_SAMPLER = "tpe-spread"


def decoded(trial: optuna.Trial, budget: int = BUDGET) -> Architecture:
    return DEFAULT.decode(DEFAULT.suggest(trial), Limit(budget))


def drawn(name: str, trials: int, seed: int, *, budget: int = BUDGET) -> list[str]:
    """Networks of a study whose accuracy grows with size: every sampler is past its start-up."""
    sampler = SearchSampler(named(name), seed, DEFAULT, Limit(budget))
    study = optuna.create_study(directions=list(DIRECTIONS), sampler=sampler)
    networks = []
    for number in range(trials):
        trial = study.ask()
        architecture = decoded(trial, budget)
        assert trial.params.keys() == DEFAULT.distributions.keys()
        networks.append(format_notation(architecture))
        trial.set_user_attr("notation", networks[-1])
        if number % 3:
            study.tell(trial, [architecture.parameters, 90 + architecture.parameters / 1000])
        else:
            study.tell(trial, state=TrialState.PRUNED)
    return networks


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_network_is_drawn_twice(name: str) -> None:
    networks = drawn(name, PAST_STARTUP, seed=0, budget=3 * BUDGET)
    assert len(set(networks)) == len(networks)


def test_a_seed_draws_the_same_again() -> None:
    assert drawn(DEFAULT_SAMPLER, PAST_STARTUP, seed=3) == drawn(
        DEFAULT_SAMPLER, PAST_STARTUP, seed=3
    )
    assert drawn(DEFAULT_SAMPLER, PAST_STARTUP, seed=3) != drawn(
        DEFAULT_SAMPLER, PAST_STARTUP, seed=4
    )


def test_sizes_are_spread_evenly() -> None:
    """Within every tenth of the range of sizes, whatever the trials before have shown."""
    sampler = SearchSampler("tpe-spread", 0, DEFAULT, Limit(BUDGET))
    study = optuna.create_study(directions=list(DIRECTIONS), sampler=sampler)
    for _ in range(50):
        trial = study.ask()
        parameters = decoded(trial).parameters
        study.tell(trial, [parameters, 90 + 1000 / parameters])  # the smallest are the best
    tenths = [int(-10 * math.log10(trial.params["fill"])) for trial in study.trials]
    assert sorted(set(tenths)) == list(range(10))
    assert max(map(tenths.count, tenths)) <= 6


@pytest.mark.parametrize("smallest", [BUDGET // 2, BUDGET])
@pytest.mark.parametrize("name", [*SAMPLERS, "optuna.samplers:RandomSampler"])
def test_every_sampler_keeps_to_the_smallest(name: str, smallest: int) -> None:
    space = DEFAULT.from_size(smallest, BUDGET)
    sampler = SearchSampler(named(name), 0, space, Limit(BUDGET))
    study = optuna.create_study(directions=list(DIRECTIONS), sampler=sampler)
    for _ in range(PAST_STARTUP_UNPRUNED):
        trial = study.ask()
        point = space.suggest(trial)
        assert smallest <= int(point["fill"] * BUDGET + 1e-6) <= BUDGET
        parameters = space.decode(point, Limit(BUDGET)).parameters
        assert 0.9 * smallest < parameters <= BUDGET  # widths are whole
        study.tell(trial, [parameters, 90 + 1000 / parameters])  # the smallest are the best


@pytest.mark.parametrize("name", SAMPLERS)
def test_means_of_reruns_are_seen(name: str) -> None:
    """They stand in for single runs, and steer all samplers but those that learn nothing."""
    points = []
    for means in ({}, dict.fromkeys(range(0, PAST_STARTUP_UNPRUNED, 2), 99.9)):
        sampler = SearchSampler(named(name), 0, DEFAULT, Limit(BUDGET), means=means)
        study = optuna.create_study(directions=list(DIRECTIONS), sampler=sampler)
        for _ in range(PAST_STARTUP_UNPRUNED):
            trial = study.ask()
            parameters = decoded(trial).parameters
            study.tell(trial, [parameters, 90 + parameters / 1000])
        points.append(study.trials[-1].params)
    assert (points[0] == points[1]) == (name == "random" or name == "nsga2")


def test_generations_go_on_beside_means() -> None:
    """What NSGA-II notes of a trial is in the study, and seen, where reruns give means too."""
    sampler = SearchSampler("nsga2", 0, DEFAULT, Limit(BUDGET), means={0: 91.0})
    study = optuna.create_study(directions=list(DIRECTIONS), sampler=sampler)
    for _ in range(102):
        trial = study.ask()
        study.tell(trial, [decoded(trial).parameters, 90])
    noted = [[v for k, v in own.system_attrs.items() if "generation" in k] for own in study.trials]
    assert noted == [[0]] * 50 + [[1]] * 50 + [[2]] * 2


def test_where_there_is_but_one_network_it_is_repeated() -> None:
    """The smallest budget has one network, deskewed or not, viewed once or often, with either kind
    of pool, and its eleven dropout rates; then repeats are replicates."""
    networks = drawn("random", 100, seed=0, budget=144)
    assert len(networks) == 100
    assert len(set(networks)) <= 88


@pytest.mark.parametrize(("state", "again"), [(TrialState.FAIL, True), (TrialState.PRUNED, False)])
def test_only_a_network_that_diverged_may_be_drawn_again(state: TrialState, again: bool) -> None:
    point = drawn("random", 1, seed=0)[0]
    study = optuna.create_study(directions=list(DIRECTIONS))
    study.add_trial(create_trial(state=state, user_attrs={"notation": "other"}))
    study.add_trial(create_trial(state=state, user_attrs={"notation": point}))
    # The sampler is told that this is trial 0: it draws what it drew first.
    first = copy.copy(study.trials[0])
    sampler = SearchSampler("random", 0, DEFAULT, Limit(BUDGET))
    drawn_again = sampler.sample_relative(study, first, DEFAULT.distributions)
    network = DEFAULT.decode(drawn_again, Limit(BUDGET))
    assert (format_notation(network) == point) == again


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_on_logarithms(name: str) -> None:
    """It draws as the plain sampler would in a study whose objectives are logarithms."""
    sampler = SearchSampler(f"{name}-log", 5, DEFAULT, Limit(BUDGET), distinct=False)
    plain = optuna.create_study(directions=list(DIRECTIONS), sampler=sampler)
    logs = optuna.create_study(
        directions=["minimize", "minimize"],
        sampler=SearchSampler(name, 5, DEFAULT, Limit(BUDGET), distinct=False),
    )
    for _ in range(PAST_STARTUP_UNPRUNED):
        for study, logarithmic in ((plain, False), (logs, True)):
            trial = study.ask()
            parameters = decoded(trial).parameters
            error = 1 + 1000 / parameters + trial.params["dropout"]
            error = round(1024 * error) / 1024  # what 100 - (100 - error) is, to the last bit
            values = (
                [math.log(parameters), math.log(error)]
                if logarithmic
                else [parameters, 100 - error]
            )
            study.tell(trial, values)
    assert [trial.params for trial in plain.trials] == [trial.params for trial in logs.trials]


@pytest.mark.parametrize("name", ["optuna.samplers:RandomSampler", "optuna.samplers:TPESampler"])
def test_a_sampler_of_the_users_own(name: str) -> None:
    assert len(set(drawn(name, 5, seed=1))) == 5
    assert drawn(name, 5, seed=1) == drawn(name, 5, seed=1) != drawn(name, 5, seed=2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nosuch", "--sampler 'nosuch' is not one of tpe-spread, tpe-log"),
        ("optuna.samplers:NoSuch", "optuna.samplers has no 'NoSuch'"),
        ("no_module:Sampler", "add --plugin no_module"),
        ("optuna.trial:create_trial", "unexpected keyword argument 'seed'"),
        ("builtins:dict", "it makes a dict, not an Optuna sampler"),
    ],
)
def test_samplers_that_are_none(name: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        SearchSampler(named(name), 0, DEFAULT, Limit(BUDGET))
    assert message in str(caught.value)

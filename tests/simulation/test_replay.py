"""Replays: on two networks whose end is known, and on the published curves."""

from __future__ import annotations

import pandas as pd
import pytest

from nas_mnist.search.pruner import DominancePruner, NoPruner, make_pruner
from nas_mnist.search.sampler import SAMPLER
from nas_mnist.simulation.comparison import (
    Setting,
    compare_pruners,
    compare_searches,
    side_by_side,
    summary,
    traces,
)
from nas_mnist.simulation.curves import Curve, CurveTable, Network
from nas_mnist.simulation.replay import Search, replay, simulate_search
from nas_mnist.simulation.surrogate import Surrogate

GOOD = Curve([90.0, 95.0, 96.0, 97.0, 97.5, 98.0], 98.1)
POOR = Curve([20.0, 30.0, 40.0, 50.0, 60.0, 70.0], 70.2)
PRUNER = DominancePruner(6, 10_000)


def test_a_poor_larger_network_is_stopped_at_the_first_rung() -> None:
    search = Search(8000)
    assert not search.run(1000, GOOD, GOOD.test, PRUNER, exempt=False)
    before = search.hypervolume()
    assert search.run(2000, POOR, POOR.test, PRUNER, exempt=False)
    assert search.epochs == [6, 7]
    assert search.hypervolume() == before
    # Nothing smaller leads the next.
    assert not search.run(500, POOR, POOR.test, PRUNER, exempt=False)
    assert search.epochs == [6, 7, 13]
    assert search.hypervolume() > before


def test_exempt_trials_go_on_and_show_the_pruners_mistakes() -> None:
    late = Curve([20.0, 30.0, 40.0, 97.0, 98.0, 99.0], 99.0)
    search = Search(8000)
    for parameters, curve in ((1000, GOOD), (2000, POOR), (3000, late)):
        assert not search.run(parameters, curve, curve.test, PRUNER, exempt=parameters > 1000)
    assert (search.spared(), search.wrongful()) == (2, 1)
    assert search.epochs == [6, 12, 18]


def test_without_a_pruner_the_order_makes_no_difference_in_the_end() -> None:
    networks = [
        Network(1000, [GOOD]),
        Network(2000, [POOR]),
        Network(500, [POOR]),
    ]
    searches = [replay(networks, NoPruner(), seed, 8000) for seed in range(4)]
    assert {search.epochs[-1] for search in searches} == {18}
    assert len({round(search.hypervolume(), 9) for search in searches}) == 1


def test_the_promise_of_pruning(table: CurveTable) -> None:
    """At least 99% of the hypervolume for at most half of the epochs, and more than what rules
    blind to size keep for as many epochs."""
    rules = side_by_side(compare_pruners(table, seeds=20))
    dominance = rules[rules["pruner"] == "dominance"].iloc[0]
    assert dominance["epochs"] <= 50
    assert dominance["hypervolume"] >= 99
    for name in ("median", "one-epoch"):
        blind = rules[rules["pruner"] == name]
        matched = blind[(blind["epochs"] - dominance["epochs"]).abs() < 5]
        assert len(matched)
        assert (matched["hypervolume"] < dominance["hypervolume"]).all()


def test_a_search_begins_with_what_is_proven(surrogate: Surrogate) -> None:
    """It is worth as much before the first sample as a search from nothing after many."""
    proven, nothing = (
        simulate_search(surrogate, "random", NoPruner(), 30, 0, proven=proven)
        for proven in (True, False)
    )
    assert proven.trace[8] > nothing.trace[29]


def test_a_seed_simulates_the_same_search_again(surrogate: Surrogate) -> None:
    pruner = make_pruner("dominance", 6, 10_000)
    one, same, other = (simulate_search(surrogate, SAMPLER, pruner, 20, seed) for seed in (1, 1, 2))
    assert one == same
    assert one.trace != other.trace
    assert len(one.epochs) == 20
    assert one.repeats == 0


@pytest.fixture(scope="session")
def results(surrogate: Surrogate) -> list[tuple[Setting, int, Search]]:
    settings = [Setting("random", "none", 60, 2), Setting("random", "dominance", 30, 2)]
    return list(compare_searches(surrogate, settings, workers=1))


def test_summary(results: list[tuple[Setting, int, Search]]) -> None:
    rows = {row["pruner"]: row for row in summary(results, epochs=6, trials=30).to_dict("records")}
    assert rows["none"]["epochs_share"] == 100
    assert rows["dominance"]["epochs_share"] < 100
    assert rows["none"]["random_trials"] <= 60
    # As many epochs as the cheapest spent: that is the pruned one's own end, on average.
    assert rows["dominance"]["at_equal_epochs"] <= rows["dominance"]["hypervolume"] + 0.5


def test_traces(results: list[tuple[Setting, int, Search]]) -> None:
    frame = traces(results)
    assert isinstance(frame, pd.DataFrame)
    for _, trace in frame.groupby("pruner"):
        assert trace["epochs"].is_monotonic_increasing
        assert trace["hypervolume"].iloc[-1] > trace["hypervolume"].iloc[0]

"""Who is rerun, where it is known who should be."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest

from nas_mnist.search.selection import apart, contenders, rungs

NOISE = 0.01  # variance of a run's log error


def chosen(
    sizes: list[float],
    means: list[float],
    sds: list[float],
    runs: int = 4,
    most: int = 4,
    noise: float = NOISE,
) -> list[int]:
    covariance = np.diag(np.square(sds))
    return contenders(np.log(sizes), np.array(means), covariance, noise, runs, most)


@pytest.mark.parametrize(
    ("reruns", "found"),
    [
        (0, []),
        (1, [(1, 1)]),
        (2, [(1, 1), (1, 1)]),
        (4, [(2, 1), (1, 1), (1, 2)]),
        (5, [(2, 1), (1, 1), (1, 2), (1, 4)]),
        (10, [(4, 1), (2, 1), (2, 2), (2, 4)]),
        (33, [(13, 1), (7, 1), (7, 2), (6, 4)]),
        (40, [(16, 1), (8, 1), (8, 2), (8, 4)]),
    ],
)
def test_rungs(reruns: int, found: list[tuple[int, int]]) -> None:
    assert rungs(reruns) == found


@pytest.mark.parametrize("reruns", range(201))
def test_rungs_add_up(reruns: int) -> None:
    found = rungs(reruns)
    assert sum(runs for runs, _ in found) == reruns
    assert all(runs > 0 for runs, _ in found)
    assert [most for _, most in found] == sorted(most for _, most in found)


@pytest.mark.parametrize(
    ("means", "sds", "probability", "taken"),
    [
        pytest.param([], [], 0.9, [], id="none"),
        pytest.param([99.0], [0.1], 0.9, [0], id="one"),
        pytest.param([99.0, 99.5], [0.1, 0.1], 0.9, [0, 1], id="two-apart"),
        pytest.param([99.0, 99.01], [0.1, 0.1], 0.9, [0, 1], id="the-last-always"),
        pytest.param([98.0, 98.05, 99.0], [0.1] * 3, 0.9, [0, 2], id="one-in-doubt"),
        pytest.param([98.0, 98.1, 98.2, 98.3], [0.1] * 4, 0.9, [0, 2, 3], id="a-slope"),
        pytest.param([98.0, 98.1, 98.2, 98.3], [0.1] * 4, 0.5, [0, 1, 2, 3], id="a-coin-is-enough"),
        pytest.param([98.0, 98.1, 98.2, 98.3], [0.001] * 4, 0.99, [0, 1, 2, 3], id="no-doubt"),
    ],
)
def test_apart(means: list[float], sds: list[float], probability: float, taken: list[int]) -> None:
    assert apart(means, sds, probability) == taken


@pytest.mark.parametrize(
    ("sizes", "means", "sds", "found"),
    [
        pytest.param(
            [1000, 1010, 4000, 4010],
            [0.5, 0.5, -0.5, -0.5],
            [0.001, 0.001, 0.1, 0.1],
            {2, 3},
            id="those-that-cannot-be-told-apart",
        ),
        pytest.param(
            [1000, 2000, 4000], [0.5, 3.0, 0.0], [0.1, 0.1, 0.1], {0, 2}, id="not-the-undisputed"
        ),
        pytest.param([4000, 1000], [0.0, 0.02], [0.1, 0.1], {0, 1}, id="in-any-order"),
        pytest.param([1000, 1000], [0.0, 0.0], [0.1, 0.1], {0, 1}, id="equal-sizes"),
    ],
)
def test_who_is_rerun(
    sizes: list[float], means: list[float], sds: list[float], found: set[int]
) -> None:
    assert set(chosen(sizes, means, sds)) == found


def test_who_is_in_more_doubt_is_rerun_more() -> None:
    counts = Counter(chosen([1000, 1000, 1000], [0.0, 0.0, 0.0], [0.2, 0.05, 0.05], runs=6, most=9))
    assert counts[0] == max(counts.values())


@pytest.mark.parametrize("most", [1, 2, 3])
def test_at_most_so_many_of_each(most: int) -> None:
    found = Counter(chosen([1000, 2000], [0.0, 0.0], [0.1, 0.1], runs=100, most=most))
    assert found == {0: most, 1: most}


@pytest.mark.parametrize("runs", [0, 1, 5])
def test_as_many_runs_as_asked_for(runs: int) -> None:
    assert len(chosen([1000, 2000, 3000], [0.0] * 3, [0.1] * 3, runs=runs)) == runs


@pytest.mark.parametrize(
    ("means", "sds", "noise"),
    [
        pytest.param([0.0], [0.1], NOISE, id="one-network"),
        pytest.param([0.0, -0.5], [0.0, 0.0], NOISE, id="perfect-knowledge"),
        pytest.param([0.0, 0.0], [0.1, 0.1], 1e-9, id="runs-without-noise"),
        pytest.param([0.0, 0.0], [0.1, 0.1], 1e6, id="runs-that-tell-nothing"),
    ],
)
def test_of_any_knowledge(means: list[float], sds: list[float], noise: float) -> None:
    found = chosen([1000, 2000][: len(means)], means, sds, noise=noise)
    assert len(found) <= 4
    assert set(found) <= set(range(len(means)))


def test_of_nothing() -> None:
    assert contenders(np.empty(0), np.empty(0), np.empty((0, 0)), NOISE, 4, 1) == []


def test_what_one_run_tells_of_its_like() -> None:
    """Of two that are nearly one, the second rerun goes to another network."""
    covariance = np.array([[1.0, 0.999, 0.0], [0.999, 1.0, 0.0], [0.0, 0.0, 1.0]]) * 0.01
    found = contenders(np.log([1000.0] * 3), np.zeros(3), covariance, 1e-6, 2, 1)
    assert 2 in found


def test_a_thousand_networks_take_no_time() -> None:
    draws = np.random.default_rng(0)
    sizes = np.log(draws.uniform(500, 8000, 1000))
    means = 6 - 0.8 * sizes + draws.normal(0, 0.1, 1000)
    begun = time.process_time()
    found = contenders(sizes, means, 0.01 * np.eye(1000), NOISE, 33, 2)
    assert time.process_time() - begun < 1
    assert len(found) == 33

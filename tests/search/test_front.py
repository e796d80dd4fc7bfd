"""The front against Optuna's own, and its area against a count of cells."""

from __future__ import annotations

import math

import optuna
import pytest
from hypothesis import given, strategies as st
from optuna.trial import create_trial

from nas_mnist.search.front import front_indices, hypervolume

POINTS = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), max_size=30)


@given(POINTS)
def test_it_equals_optunas(points: list[tuple[int, int]]) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.add_trials([create_trial(values=list(map(float, point))) for point in points])
    assert sorted(front_indices(points)) == [trial.number for trial in study.best_trials]


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([], []),
        ([(5, 90)], [0]),
        ([(5, 90), (5, 91)], [1]),
        ([(5, 90), (6, 90)], [0]),
        ([(6, 91), (5, 90)], [1, 0]),
        ([(5, 90), (5, 90)], [0, 1]),
        ([(5, 90), (7, 92), (6, 89)], [0, 1]),
    ],
)
def test_small_cases(points: list[tuple[float, float]], front: list[int]) -> None:
    assert front_indices(points) == front


@pytest.mark.parametrize(
    ("points", "area"),
    [
        pytest.param([], 0, id="no-point"),
        pytest.param([(1000, 90)], 0, id="no-better-than-the-reference"),
        pytest.param([(1000, 99)], math.log(8) * math.log(10), id="one"),
        pytest.param([(9000, 99.9)], 0, id="too-large"),
        pytest.param([(1000, 99), (2000, 98)], math.log(8) * math.log(10), id="dominated"),
        pytest.param(
            [(4000, 99.9), (1000, 99)],
            math.log(8) * math.log(10) + math.log(2) * math.log(10),
            id="two-steps",
        ),
    ],
)
def test_hypervolume_of_small_fronts(points: list[tuple[float, float]], area: float) -> None:
    assert hypervolume(points, (8000, 90)) == pytest.approx(area)


def test_no_error_at_all_has_a_finite_hypervolume() -> None:
    assert math.isfinite(hypervolume([(1000, 100)], (8000, 90)))


@given(POINTS)
def test_hypervolume_is_the_share_of_cells_that_are_dominated(
    points: list[tuple[int, int]],
) -> None:
    """Counted cell by cell on a grid of factors e, of sizes up to e^13 and errors down to e^-12."""
    scaled = [(math.exp(size), 100 - math.exp(-error)) for size, error in points]
    cells = sum(
        any(size <= x and error >= y + 1 for size, error in points)
        for x in range(1, 13)
        for y in range(0, 6)
    )
    reference = (math.exp(13), 100 - 1)
    capped = [(size, min(accuracy, 100 - math.exp(-6))) for size, accuracy in scaled]
    assert hypervolume(capped, reference) == pytest.approx(cells, abs=1e-6)

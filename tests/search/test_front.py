"""The front against Optuna's own."""

from __future__ import annotations

import optuna
import pytest
from hypothesis import given, strategies as st
from optuna.trial import create_trial

from nas_mnist.search.front import front_indices

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

"""The area of a front against a count of cells."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import pytest
from hypothesis import given

from tests.search.test_front import POINTS

SCRIPT = Path(__file__).parents[2] / "studies" / "pruner_simulation" / "hypervolume.py"
hypervolume = runpy.run_path(str(SCRIPT))["hypervolume"]


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

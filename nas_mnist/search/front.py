"""Fronts of parameters (fewer is better) against accuracy (more is better)."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Percent: below one image in a hundred thousand, so that no error has no logarithm to fail at.
MIN_LOGGED_ERROR = 1e-3


def front_indices(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (parameters, accuracy) that no other beats: none has as few
    parameters and as much accuracy, and one of the two better. Equal points stand together.
    Ordered by parameters, then by index."""
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda at: (points[at][0], -points[at][1])):
        last = points[front[-1]] if front else None
        if last is None or points[index][1] > last[1] or points[index] == last:
            front.append(index)
    return front


def on_log_scale(parameters: float, accuracy: float) -> tuple[float, float]:
    """Natural logarithms of parameters and of the error (100 - accuracy in percent)."""
    return math.log(parameters), math.log(max(100 - accuracy, MIN_LOGGED_ERROR))

"""Fronts of parameters (fewer is better) against accuracy (more is better)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

# Percent: below one image in a hundred thousand, so that no error has no logarithm to fail at.
MIN_LOGGED_ERROR = 1e-3


def front_indices(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (parameters, accuracy) that no other beats: none has as few
    parameters and as much accuracy, and one of the two better. Equal points stand together.
    Ordered by parameters, then by index."""
    order = sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1]))
    front: list[int] = []
    for index in order:
        if (
            not front
            or points[index][1] > points[front[-1]][1]
            or (points[index] == points[front[-1]])
        ):
            front.append(index)
    return front


def on_log_scale(parameters: float, accuracy: float) -> tuple[float, float]:
    """Natural logarithms of parameters and of the error (100 - accuracy in percent)."""
    return math.log(parameters), math.log(max(100 - accuracy, MIN_LOGGED_ERROR))


def hypervolume(points: Iterable[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Area between the front of `points` (parameters, accuracy in percent) and `reference`, with
    parameters and error (100 - accuracy) on natural-log scales.

    Points that the reference beats in either count nothing (Zitzler, Thiele: Multiobjective
    optimization using evolutionary algorithms, 1998).
    """
    ceiling = math.log(reference[0]), math.log(100 - reference[1])
    logs = sorted(
        on_log_scale(parameters, accuracy)
        for parameters, accuracy in points
        if parameters < reference[0] and accuracy > reference[1]
    )
    area, best = 0.0, ceiling[1]
    for size, error in logs:
        if error < best:
            area += (ceiling[0] - size) * (best - error)
            best = error
    return area

"""Fronts of parameters (fewer is better) against accuracy (more is better)."""

import math
from collections.abc import Iterable, Sequence

MIN_LOGGED_ERROR = 1e-3  # percent: the logarithm of no error at all would fail


def front_indices(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (parameters, accuracy) that no other beats, by parameters, then by
    index. Equal points stand together."""
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda at: (points[at][0], -points[at][1])):
        last = points[front[-1]] if front else None
        if last is None or points[index][1] > last[1] or points[index] == last:
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

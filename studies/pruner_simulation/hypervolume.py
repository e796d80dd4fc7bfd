"""How much a front is worth, as one number."""

from __future__ import annotations

import math
from collections.abc import Iterable

from nas_mnist.search.front import on_log_scale


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

"""Fronts of parameters (fewer is better) against accuracy (more is better)."""

from __future__ import annotations

from collections.abc import Sequence


def front_places(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the points (parameters, accuracy) that no other beats: none has as few
    parameters and as much accuracy, and one of the two better. Equal points stand together.
    Ordered by parameters, then by place."""
    order = sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1]))
    front: list[int] = []
    for place in order:
        if (
            not front
            or points[place][1] > points[front[-1]][1]
            or (points[place] == points[front[-1]])
        ):
            front.append(place)
    return front

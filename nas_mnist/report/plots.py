"""What all figures share: colours, the axis of accuracies, and their box."""

from typing import Any

FRONT_COLOR, PALE_COLOR = "#1f5fbf", "#9bb8e3"
_DRAWN_MIN_ERROR = 0.01  # of 0 on the logarithmic axis: one image of 10,000
_ACCURACIES = [0, 50, 80, 90, 95, 97, 98, 98.5, 99, 99.2, 99.4, 99.5, 99.6, 99.7, 99.8, 99.9]
_SIZES = [base * 10**power for power in range(1, 8) for base in (1, 2, 5)]


def drawn_error(accuracy: float) -> float:
    """Where an accuracy in percent stands on ACCURACY_AXIS."""
    return max(_DRAWN_MIN_ERROR, 100 - accuracy)


ACCURACY_AXIS = {
    **{"title": "accuracy (%), on a log scale of the error", "type": "log"},
    "tickvals": [*map(drawn_error, _ACCURACIES)],
    "ticktext": [f"{accuracy:g}" for accuracy in _ACCURACIES],
}

SIZE_AXIS = {
    **{"title": "parameters", "type": "log", "showline": True, "tickvals": _SIZES},
    "ticktext": [f"{size:,}" for size in _SIZES],
}


def box(height: int, **layout: Any) -> dict[str, Any]:
    """The layout that all figures share; `height` in pixels."""
    margin = {"t": 20, "r": 20}
    return {"template": "plotly_white", "height": height, "margin": margin, **layout}

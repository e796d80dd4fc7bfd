"""The study's pictures, as plotly figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import plotly.graph_objects as go

from nas_mnist.errors import RequestError
from nas_mnist.execution.confirmation import Confirmed, confirmed
from nas_mnist.execution.records import StudyRecord, TrialRecord
from nas_mnist.networks.architecture import Architecture
from nas_mnist.networks.notation import format_notation
from nas_mnist.networks.references import references
from nas_mnist.report.page import figure_part, page
from nas_mnist.search.front import front_indices
from nas_mnist.training.runs import Reproduced

FRONT_COLOR = "#1f5fbf"
_CLAIMS, _TRIALS = "#7fa3d9", "#a9c4ea"
_REFERENCES, _RETRAINED, _BUDGET = "#8a8a8a", "#5f5f5f", "#b03030"
_SIZE_TICKS = [base * 10**power for power in range(1, 8) for base in (1, 2, 5)]
ACCURACY_TICKS = [0, 50, 80, 90, 95, 98, 99, 99.2, 99.4, 99.5, 99.6, 99.7, 99.8, 99.9]
# One image of 10,000: where an error of 0 is drawn on the logarithmic axis.
DRAWN_MIN_ERROR = 0.01


class Point(NamedTuple):
    """A network in a picture."""

    architecture: Architecture
    accuracy: float
    """percent"""
    more: str
    """what else to say of it"""


def drawn_error(accuracy: float) -> float:
    """Where an accuracy is drawn on a logarithmic axis of errors; all in percent."""
    return max(DRAWN_MIN_ERROR, 100 - accuracy)


def front_figure(record: StudyRecord, reproduced: Sequence[Reproduced] = ()) -> go.Figure:
    """Parameters against accuracy in percent: the front as a step line, the other completed
    trials, the budget, on MNIST the references as published, and of the networks of `reproduced`
    the best mean test accuracy that a step of theirs came to.

    Once networks are confirmed, the line is that of mean test accuracies, with standard
    deviations as bars; until then that of validation accuracies. Both axes are logarithmic, the
    upright one in the error (100 - accuracy), so that 99.4 and 99.5% stand as far apart as 94
    and 95%.
    """
    front, known = record.front(), confirmed(record)
    on_front = {trial.number for trial in front}
    others = [trial for trial in record.complete() if trial.number not in on_front]
    figure = go.Figure()
    _add_points(
        figure,
        [_claim(trial) for trial in others],
        name="other completed trials, validation",
        marker={"color": _TRIALS, "size": 6},
    )
    if record.spec.dataset == "mnist":
        _add_points(
            figure,
            [
                Point(
                    reference.architecture,
                    reference.published_accuracy,
                    f"{reference.name}, published",
                )
                for reference in references().values()
                if reference.published_accuracy is not None
            ],
            name="hand-made, published: test, best epoch",
            marker={"color": _REFERENCES, "size": 8, "symbol": "diamond-open"},
        )
    if reproduced:
        _add_retrained(figure, reproduced)
    if known:
        _add_points(
            figure,
            [_claim(trial) for trial in front],
            name="front, validation in the search",
            marker={"color": _CLAIMS, "size": 7, "symbol": "circle-open"},
        )
        _add_confirmed(figure, known)
    else:
        _add_points(
            figure,
            [_claim(trial) for trial in front],
            name="front, validation",
            mode="lines+markers",
            line={"shape": "hv", "color": FRONT_COLOR, "width": 2},
            marker={"size": 9, "color": FRONT_COLOR},
        )
    _add_budget(figure, record.spec.budget)
    figure.update_layout(
        template="plotly_white",
        title={
            "text": f"{record.name}: what parameters buy in {record.spec.epochs} epochs",
            "subtitle": {"text": _subtitle(known)},
        },
        height=560,
        legend={"orientation": "h", "y": -0.16},
        margin={"t": 90, "r": 30},
    )
    sizes = [trial.architecture.parameters for trial in front]
    sizes += [step.architecture.parameters for step in reproduced]
    errors = [error for trace in figure.data[1:] for error in trace.y]
    set_axes(figure, [*sizes, record.spec.budget], errors)
    return figure


def _add_retrained(figure: go.Figure, reproduced: Sequence[Reproduced]) -> None:
    best: dict[Architecture, Reproduced] = {}
    for step in sorted(reproduced, key=lambda step: step.test_mean):
        best[step.architecture] = step
    points = [
        Point(
            network,
            found.test_mean,
            f"{found.step.reference}, {found.step.lifecycle} step {found.step.number}, "
            f"seeds: {len(found.runs)}",
        )
        for network, found in best.items()
    ]
    _add_points(
        figure,
        points,
        name="hand-made, retrained here: test, final epoch, mean ± sd",
        marker={"color": _RETRAINED, "size": 8, "symbol": "diamond"},
        error_y=_bars([found.test_sd for found in best.values()], _RETRAINED),
    )


def _claim(trial: TrialRecord) -> Point:
    more = f"trial {trial.number}, test {trial.test_accuracy:.2f} % in the search"
    return Point(trial.architecture, trial.val_accuracy, more)


def _add_confirmed(figure: go.Figure, known: Sequence[Confirmed]) -> None:
    """Means with their spread, and the line of those that none of them beats."""
    indices = front_indices([(found.architecture.parameters, found.mean) for found in known])
    _add_points(
        figure,
        [Point(known[index].architecture, known[index].mean, "") for index in indices],
        name="confirmed front",
        mode="lines",
        line={"shape": "hv", "color": FRONT_COLOR, "width": 2},
        showlegend=False,
        hoverinfo="skip",
    )
    _add_points(
        figure,
        [
            Point(
                found.architecture,
                found.mean,
                f"trial {found.trial.number}, seeds: {len(found.runs)}, "
                f"lowest of the last 4 epochs {found.last4_min:.2f} %",
            )
            for found in known
        ],
        name="confirmed: test, mean ± sd of fresh seeds",
        marker={"size": 9, "color": FRONT_COLOR},
        error_y=_bars([found.sd for found in known], FRONT_COLOR),
    )


def _bars(spreads: Sequence[float | None], color: str) -> dict[str, object]:
    array = [spread or 0 for spread in spreads]
    return {"type": "data", "array": array, "thickness": 1.5, "color": color}


def _subtitle(known: Sequence[Confirmed]) -> str:
    if not known:
        return "Unconfirmed: one run of each network."
    counts = sorted({len(found.runs) for found in known})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"Confirmed with fresh seeds ({seeds}): test accuracy at the final epoch, mean ± sd."


def _add_budget(figure: go.Figure, budget: int) -> None:
    figure.add_vline(x=budget, line={"dash": "dash", "color": _BUDGET})
    figure.add_annotation(
        x=math.log10(budget),  # shapes take the value, annotations its logarithm
        y=0,
        yref="paper",
        text=f"budget {budget:,}",
        textangle=-90,
        xanchor="right",
        yanchor="bottom",
        showarrow=False,
        font={"color": _BUDGET},
    )


def write_figure(figure: go.Figure, file: Path) -> None:
    """Write a figure by its file's ending: an offline .html page, or .png and .svg pictures.

    Raises RequestError for another ending, or if pictures cannot be drawn here.
    """
    check_figure_name(file)
    if file.suffix == ".html":
        title = str(figure.layout.title.text or file.stem)
        file.write_text(page(title, [figure_part(figure)]), "utf-8")
        return
    try:
        figure.write_image(file, width=1000, height=600, scale=1 if file.suffix == ".svg" else 2)
    except (ImportError, ValueError, RuntimeError):
        raise RequestError(
            f"figure {file}: pictures need kaleido (pip install 'nas-mnist[image]') and an "
            "installed Chrome or Chromium; or write .html"
        ) from None


def check_figure_name(file: Path) -> None:
    """Raise RequestError for a file's ending that `write_figure` cannot write."""
    if file.suffix not in (".html", ".png", ".svg"):
        raise RequestError(f"figure {file}: the ending must be .html, .png or .svg")


def _add_points(
    figure: go.Figure,
    points: Sequence[Point],
    *,
    name: str,
    mode: str = "markers",
    **style: object,
) -> None:
    if "hoverinfo" not in style:
        style["hovertemplate"] = (
            "%{customdata[0]}<br>%{x:,} parameters, %{customdata[1]:.2f} %"
            "<br>%{customdata[2]}<extra></extra>"
        )
    figure.add_scatter(
        x=[point.architecture.parameters for point in points],
        y=[drawn_error(point.accuracy) for point in points],
        customdata=[
            (format_notation(point.architecture), point.accuracy, point.more) for point in points
        ],
        name=name,
        mode=mode,
        **style,
    )


def set_axes(figure: go.Figure, sizes: Sequence[int], errors: Sequence[float]) -> None:
    """Logarithmic axes of parameters and accuracy that show these sizes and errors whole."""
    low, high = (min(errors), max(errors)) if errors else (DRAWN_MIN_ERROR, 100)
    figure.update_xaxes(
        title="parameters",
        type="log",
        range=[math.log10(min(sizes) / 1.3), math.log10(max(sizes) * 1.8)],
        tickvals=_SIZE_TICKS,
        ticktext=[f"{size:,}" for size in _SIZE_TICKS],
        showline=True,
    )
    figure.update_yaxes(
        title="accuracy (%)",
        type="log",
        range=[math.log10(min(100, high * 1.2)), math.log10(low / 1.2)],
        tickvals=[drawn_error(accuracy) for accuracy in ACCURACY_TICKS],
        ticktext=[f"{accuracy:g}" for accuracy in ACCURACY_TICKS],
        showline=True,
    )

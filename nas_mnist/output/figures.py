"""The study's pictures, as plotly figures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import plotly.graph_objects as go

from nas_mnist.arch.notation import format_notation
from nas_mnist.arch.references import references
from nas_mnist.errors import RequestError
from nas_mnist.search.study import StudyRecord

_FRONT, _TRIALS, _REFERENCES, _BUDGET = "#1f5fbf", "#a9c4ea", "#8a8a8a", "#b03030"
_SIZE_TICKS = [base * 10**power for power in range(1, 8) for base in (1, 2, 5)]
_ACCURACY_TICKS = [0, 50, 80, 90, 95, 98, 99, 99.2, 99.4, 99.5, 99.6, 99.7, 99.8, 99.9]
# One image of 10,000: where an error of 0 is drawn on the logarithmic axis.
_LEAST_ERROR = 0.01


def front_figure(record: StudyRecord) -> go.Figure:
    """Parameters against validation accuracy in percent: the front as a step line, the other
    completed trials, the budget, and on MNIST the references as published.

    Both axes are logarithmic, the upright one in the error (100 - accuracy), so that 99.4 and
    99.5% stand as far apart as 94 and 95%.
    """
    front = record.front()
    on_front = {trial.number for trial in front}
    others = [trial for trial in record.complete() if trial.number not in on_front]
    budget, epochs = record.config.budget, record.config.epochs
    figure = go.Figure()
    _add_points(
        figure,
        [(t.architecture.parameters, t.val_accuracy, f"trial {t.number}") for t in others],
        notations=[trial.notation for trial in others],
        name="other completed trials, validation",
        marker={"color": _TRIALS, "size": 6},
    )
    if record.config.dataset == "mnist":
        published = [
            (known, known.published_accuracy)
            for known in references().values()
            if known.published_accuracy is not None
        ]
        _add_points(
            figure,
            [(known.architecture.parameters, best, known.name) for known, best in published],
            notations=[format_notation(known.architecture) for known, _ in published],
            name="hand-made, published: test, best epoch",
            marker={"color": _REFERENCES, "size": 8, "symbol": "diamond"},
        )
    _add_points(
        figure,
        [
            (
                trial.architecture.parameters,
                trial.val_accuracy,
                f"trial {trial.number}, test {trial.test_accuracy:.2f} %",
            )
            for trial in front
        ],
        notations=[trial.notation for trial in front],
        name="front, validation",
        mode="lines+markers",
        line={"shape": "hv", "color": _FRONT, "width": 2},
        marker={"size": 9, "color": _FRONT},
    )
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
    figure.update_layout(
        template="plotly_white",
        title={
            "text": f"{record.config.study}: what parameters buy in {epochs} epochs",
            "subtitle": {"text": "Unconfirmed: one run of each network."},
        },
        legend={"orientation": "h", "y": -0.16},
        margin={"t": 90, "r": 30},
    )
    _set_axes(figure, [trial.architecture.parameters for trial in front] + [budget])
    return figure


def write_figure(figure: go.Figure, file: Path) -> None:
    """Write a figure by its file's ending: an offline .html page, or .png and .svg pictures.

    Raises RequestError for another ending, or if pictures cannot be drawn here.
    """
    check_figure_name(file)
    if file.suffix == ".html":
        figure.write_html(file, include_plotlyjs=True)
        return
    try:
        figure.write_image(file, width=1000, height=600, scale=1 if file.suffix == ".svg" else 2)
    except (ImportError, ValueError, RuntimeError):
        raise RequestError(
            f"figure {file}: pictures need kaleido (`pip install kaleido`) and an installed "
            "Chrome or Chromium; or write .html"
        ) from None


def check_figure_name(file: Path) -> None:
    """Raise RequestError for a file's ending that `write_figure` cannot write."""
    if file.suffix not in (".html", ".png", ".svg"):
        raise RequestError(f"figure {file}: the ending must be .html, .png or .svg")


def _add_points(
    figure: go.Figure,
    points: list[tuple[int, float, str]],
    *,
    notations: Iterable[str],
    name: str,
    mode: str = "markers",
    **style: object,
) -> None:
    """Points of parameters, accuracy in percent and what else to say of each."""
    figure.add_scatter(
        x=[parameters for parameters, _, _ in points],
        y=[max(_LEAST_ERROR, 100 - accuracy) for _, accuracy, _ in points],
        customdata=[
            (notation, accuracy, more)
            for notation, (_, accuracy, more) in zip(notations, points, strict=True)
        ],
        hovertemplate="%{customdata[0]}<br>%{x:,} parameters, %{customdata[1]:.2f} %"
        "<br>%{customdata[2]}<extra></extra>",
        name=name,
        mode=mode,
        **style,
    )


def _set_axes(figure: go.Figure, sizes: list[int]) -> None:
    """Axes that show the front and the budget whole, and of the rest what is near."""
    errors = [error for trace in figure.data[1:] for error in trace.y]
    low, high = (min(errors), max(errors)) if errors else (_LEAST_ERROR, 100)
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
        tickvals=[max(_LEAST_ERROR, 100 - accuracy) for accuracy in _ACCURACY_TICKS],
        ticktext=[f"{accuracy:g}" for accuracy in _ACCURACY_TICKS],
        showline=True,
    )

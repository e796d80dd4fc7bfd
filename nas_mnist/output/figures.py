"""The study's pictures, as plotly figures."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go

from nas_mnist.arch.notation import format_notation
from nas_mnist.arch.references import references
from nas_mnist.errors import RequestError
from nas_mnist.search.study import StudyRecord

_FRONT, _TRIALS, _REFERENCES = "#1f5fbf", "rgba(31, 95, 191, 0.25)", "#8a8a8a"
# Below the front's least accurate member by this much, and no trial is shown: a network that
# learned nothing would flatten the rest of the picture.
_ROOM_BELOW = 0.25


def front_figure(record: StudyRecord) -> go.Figure:
    """Parameters (log) against validation accuracy in percent: the front as a step line, the
    other completed trials, the budget, and on MNIST the references as published."""
    front = record.front()
    figure = go.Figure()
    _add_trials(figure, record, {trial.number for trial in front})
    if record.config["dataset"] == "mnist":
        _add_references(figure)
    figure.add_scatter(
        x=[trial.architecture.parameters for trial in front],
        y=[trial.val_accuracy for trial in front],
        mode="lines+markers",
        line={"shape": "hv", "color": _FRONT, "width": 2},
        marker={"size": 9},
        name="front: validation accuracy",
        customdata=[(t.notation, t.number, t.test_accuracy) for t in front],
        hovertemplate="%{customdata[0]}<br>%{x:,} parameters, validation %{y:.2f} %, "
        "test %{customdata[2]:.2f} %<br>trial %{customdata[1]}<extra></extra>",
    )
    budget = record.config["budget"]
    figure.add_vline(
        x=budget,
        line={"dash": "dash", "color": "#b03030"},
        annotation={"text": f"budget {budget:,}", "textangle": -90, "yanchor": "top"},
        annotation_position="bottom left",
    )
    epochs = record.config["epochs"]
    figure.update_layout(
        template="plotly_white",
        title={
            "text": f"{record.name}: what each number of parameters buys in {epochs} epochs",
            "subtitle": {"text": "unconfirmed: one run a network, on validation images"},
        },
        legend={"orientation": "h", "y": -0.18},
        margin={"t": 90},
    )
    figure.update_xaxes(title="parameters", type="log", dtick="D1", showline=True)
    figure.update_yaxes(title="accuracy (%)", range=_accuracy_range(figure), showline=True)
    return figure


def write_figure(figure: go.Figure, file: Path) -> None:
    """Write a figure by its file's ending: an offline .html page, or .png and .svg pictures.

    Raises RequestError for another ending, or if pictures cannot be drawn here.
    """
    if file.suffix == ".html":
        figure.write_html(file, include_plotlyjs=True)
        return
    if file.suffix not in (".png", ".svg"):
        raise RequestError(f"figure {file}: the ending must be .html, .png or .svg")
    try:
        figure.write_image(file, width=1000, height=600, scale=1 if file.suffix == ".svg" else 2)
    except (ImportError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RequestError(
            f"figure {file}: pictures need `pip install nas-mnist[image]` and an installed "
            f"Chrome or Chromium ({reason}); or write .html"
        ) from None


def _add_trials(figure: go.Figure, record: StudyRecord, front: set[int]) -> None:
    others = [trial for trial in record.complete() if trial.number not in front]
    figure.add_scatter(
        x=[trial.architecture.parameters for trial in others],
        y=[trial.val_accuracy for trial in others],
        mode="markers",
        marker={"color": _TRIALS, "size": 6},
        name="other completed trials",
        customdata=[(trial.notation, trial.number) for trial in others],
        hovertemplate="%{customdata[0]}<br>%{x:,} parameters, validation %{y:.2f} %"
        "<br>trial %{customdata[1]}<extra></extra>",
    )


def _add_references(figure: go.Figure) -> None:
    """What hand-made networks published: test accuracy, the best epoch of one run."""
    found = [known for known in references().values() if known.published_accuracy is not None]
    figure.add_scatter(
        x=[known.architecture.parameters for known in found],
        y=[known.published_accuracy for known in found],
        mode="markers",
        marker={"color": _REFERENCES, "size": 8, "symbol": "diamond"},
        name="hand-made, as published: test accuracy, best epoch",
        customdata=[(known.name, format_notation(known.architecture)) for known in found],
        hovertemplate="%{customdata[0]}: %{customdata[1]}<br>%{x:,} parameters, "
        "published %{y:.2f} %<extra></extra>",
    )


def _accuracy_range(figure: go.Figure) -> list[float]:
    """From a little below all that matters, the front and the references, to a little above."""
    accuracies = [value for trace in figure.data[1:] for value in trace.y]
    if not accuracies:
        return [0, 100]
    low, high = min(accuracies), max(accuracies)
    room = max(0.05, _ROOM_BELOW * (high - low))
    return [max(0, low - room), min(100, high + room)]

"""How a study went, as plotly figures: learning curves, epochs, choices, the winner's mistakes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from nas_mnist.execution.confirmation import chosen, confirmed
from nas_mnist.execution.estimates import front
from nas_mnist.execution.records import StudyRecord, TrialRecord
from nas_mnist.report.front_table import EpochUsage
from nas_mnist.report.importances import Importance
from nas_mnist.report.plots import ACCURACY_AXIS, FRONT_COLOR, PALE_COLOR, box, drawn_error
from nas_mnist.report.tables import counted

_STOPPED, _REST = "#c98a2b", "rgba(128, 128, 128, 0.35)"
# From few parameters to many; about as dark as bright, for a page that inverts its figures.
_CURVE_COLORS = "#8a45c4", "#2f6fd0", "#1f8a80", "#6b8a1a", "#c4641a"


def curves_figure(record: StudyRecord) -> go.Figure:
    """Validation accuracy against epochs of the front, on a logarithmic scale of the error: of a
    few networks by the spread of their sizes, the others grey. Of those few that are confirmed
    also the mean on test images, dashed. StudyError if no trial has completed."""
    figure, few = go.Figure(), {trial.number for trial in _few(record)}
    for trial in (trial for trial in front(record) if trial.number not in few):
        own = {"line": {"color": _REST, "width": 1}, "showlegend": False, "hoverinfo": "skip"}
        _add_curve(figure, [entry["val_accuracy"] for entry in trial.curve], **own)
    runs = {found.trial.number: found.runs for found in confirmed(record)}
    for trial, color in zip(_few(record), _CURVE_COLORS, strict=False):
        name = f"{trial.architecture.parameters:,} parameters"
        tip = f"trial {trial.number}, epoch %{{x}}: %{{customdata:.2f}} %<extra></extra>"
        own = {"legendgroup": name, "name": name, "hovertemplate": tip}
        accuracies = [entry["val_accuracy"] for entry in trial.curve]
        _add_curve(figure, accuracies, line={"color": color, "width": 2.5}, **own)
        if trial.number in runs:
            tests = [[e["test_accuracy"] for e in run.curve] for run in runs[trial.number]]
            dashed = {"color": color, "dash": "dash", "width": 1.5}
            means = np.mean(tests, axis=0).tolist()
            _add_curve(figure, means, line=dashed, showlegend=False, **own)
    axes = {"xaxis": {"title": "epoch", "dtick": 1}, "yaxis": ACCURACY_AXIS}
    figure.update_layout(box(480, legend={"orientation": "h", "y": -0.15}, **axes))
    return figure.update_yaxes(autorange="reversed")


def _few(record: StudyRecord) -> list[TrialRecord]:
    """Of the front the smallest, the most accurate, and those between whose sizes are nearest to
    equal steps on a logarithmic scale."""
    shown, best = front(record), chosen(record).trial
    sizes = np.log([trial.architecture.parameters for trial in shown])
    steps = np.linspace(sizes[0], np.log(best.architecture.parameters), len(_CURVE_COLORS))
    return [shown[at] for at in sorted({int(abs(sizes - step).argmin()) for step in steps})]


def _add_curve(figure: go.Figure, accuracies: Sequence[float], **style: Any) -> None:
    epochs, errors = range(1, len(accuracies) + 1), [*map(drawn_error, accuracies)]
    own = {"mode": "lines", "customdata": accuracies}
    figure.add_scatter(x=[*epochs], y=errors, **own, **style)


def spending_figure(spent: EpochUsage, epochs: int) -> go.Figure:
    """Epochs by how their trials ended."""
    stopped = {
        f"stopped after epoch {epoch}: {counted(count, 'trial')}": count * epoch
        for epoch, count in spent.stopped.items()
    }
    finished = spent.epochs - sum(stopped.values())
    values = {f"finished: {counted(finished // epochs, 'trial')}": finished, **stopped}
    colors = [_STOPPED] * len(stopped) + [FRONT_COLOR]
    return _bar_figure(values, colors, "epochs trained", ",", 40)


def importance_figure(shares: Mapping[str, Importance]) -> go.Figure:
    """Choices by their share with its range, the largest on top."""
    named = {name.replace("_", " "): own.share for name, own in shares.items()}
    figure = _bar_figure(named, PALE_COLOR, "share", "", 26)
    drawn = [*shares.values()][::-1]
    bars = {
        "array": [max(0.0, own.high - own.share) for own in drawn],
        "arrayminus": [max(0.0, own.share - own.low) for own in drawn],
    }
    return figure.update_traces(error_x={**bars, "color": FRONT_COLOR, "thickness": 1.5})


def _bar_figure(
    values: Mapping[str, float], colors: str | list[str], title: str, number: str, height: int
) -> go.Figure:
    """Horizontal bars, the first on top; their colours from the lowest up."""
    names, lengths = list(values)[::-1], list(values.values())[::-1]
    style = {"orientation": "h", "marker_color": colors}
    if number:
        style["texttemplate"] = f"%{{x:{number}}}"
    axes = {"xaxis": {"title": title, "rangemode": "tozero"}, "yaxis": {"automargin": True}}
    return go.Figure(go.Bar(x=lengths, y=names, **style), box(120 + height * len(names), **axes))


def confusion_figure(
    labels: Sequence[int], answers: Sequence[int], names: Sequence[str]
) -> go.Figure:
    """Counts of what was shown and what was answered; right answers stand in the text alone, so
    that the colours are those of the mistakes."""
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (np.asarray(labels), np.asarray(answers)), 1)
    mistakes = np.where(np.eye(len(names), dtype=bool), 0, counts).tolist()
    style = {"texttemplate": "%{text}", "colorscale": "OrRd", "showscale": False}
    style["hovertemplate"] = "shown %{y}, answered %{x}: %{text}<extra></extra>"
    cells = go.Heatmap(z=mistakes, x=[*names], y=[*names], text=counts.tolist(), **style)
    answered = {"title": "answered", "type": "category", "side": "top"}
    shown = {"title": "shown", "type": "category", "autorange": "reversed"}
    return go.Figure(cells, box(560, xaxis=answered, yaxis=shown, margin={"t": 60, "r": 10}))

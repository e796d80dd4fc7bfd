"""Pictures of how a study went: learning curves, spent epochs, choices that matter, mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from nas_mnist.execution.confirmation import Confirmed
from nas_mnist.execution.records import TrialRecord
from nas_mnist.networks.layers import CLASSES
from nas_mnist.report.analysis import EpochUsage
from nas_mnist.report.figures import ACCURACY_TICKS, FRONT_COLOR, drawn_error

_FINISHED, _STOPPED = FRONT_COLOR, "#c98a2b"
_MARGIN = {"t": 40, "r": 20}  # below plotly's own buttons


def curves_figure(front: Sequence[TrialRecord], known: Sequence[Confirmed]) -> go.Figure:
    """Accuracy against epochs of each network of the front, the error on a logarithmic scale: on
    validation images in the search, and where it is confirmed the mean on test images, dashed."""
    figure = go.Figure()
    colors = sample_colorscale("Viridis", np.linspace(0, 0.9, max(2, len(front))).tolist())
    confirmed = {found.trial.number: found for found in known}
    for trial, color in zip(front, colors, strict=False):
        name = f"{trial.architecture.parameters:,}"
        accuracies = [entry["val_accuracy"] for entry in trial.curve]
        _add_curve(figure, accuracies, f"{name}, validation", color, "solid", trial.number)
        found = confirmed.get(trial.number)
        if found is not None:
            runs = [[entry["test_accuracy"] for entry in run.curve] for run in found.runs]
            mean = np.mean(runs, axis=0).tolist()
            _add_curve(figure, mean, f"{name}, test, confirmed", color, "dash", trial.number)
    figure.update_xaxes(title="epoch", dtick=1)
    figure.update_yaxes(
        title="accuracy (%)",
        type="log",
        autorange="reversed",
        tickvals=[drawn_error(accuracy) for accuracy in ACCURACY_TICKS],
        ticktext=[f"{accuracy:g}" for accuracy in ACCURACY_TICKS],
    )
    figure.update_layout(
        template="plotly_white", height=520, margin=_MARGIN, legend_title="parameters"
    )
    return figure


def spending_figure(spent: EpochUsage, epochs: int) -> go.Figure:
    """Epochs by how their trials ended."""
    stopped = sum(count * epoch for epoch, count in spent.stopped.items())
    finished = (spent.epochs - stopped) // epochs
    bars = [(f"finished: {finished} trials", spent.epochs - stopped, _FINISHED)]
    bars += [
        (f"stopped after epoch {epoch}: {count} trials", count * epoch, _STOPPED)
        for epoch, count in spent.stopped.items()
    ]
    names, values, colors = (list(column) for column in zip(*bars[::-1], strict=True))
    figure = go.Figure(
        go.Bar(x=values, y=names, orientation="h", marker_color=colors, texttemplate="%{x:,}")
    )
    figure.update_xaxes(title="epochs trained")
    figure.update_yaxes(automargin=True)
    figure.update_layout(template="plotly_white", height=120 + 40 * len(bars), margin=_MARGIN)
    return figure


def importance_figure(shares: Mapping[str, float]) -> go.Figure:
    """Choices by their share, the largest on top."""
    names = list(shares)[::-1]
    figure = go.Figure(
        go.Bar(
            x=[shares[name] for name in names],
            y=[name.replace("_", " ") for name in names],
            orientation="h",
            marker_color=_FINISHED,
            texttemplate="%{x:.2f}",
        )
    )
    figure.update_xaxes(title="share", rangemode="tozero")
    figure.update_yaxes(automargin=True)
    figure.update_layout(template="plotly_white", height=120 + 26 * len(names), margin=_MARGIN)
    return figure


def confusion_figure(labels: Sequence[int], answers: Sequence[int]) -> go.Figure:
    """Counts of what was shown and what was answered; right answers stand in the text alone, so
    that the colours are those of the mistakes."""
    counts = np.zeros((CLASSES, CLASSES), dtype=int)
    np.add.at(counts, (np.asarray(labels), np.asarray(answers)), 1)
    mistakes = np.where(np.eye(CLASSES, dtype=bool), 0, counts)
    names = [str(digit) for digit in range(CLASSES)]
    figure = go.Figure(
        go.Heatmap(
            z=mistakes.tolist(),
            x=names,
            y=names,
            text=counts.tolist(),
            texttemplate="%{text}",
            colorscale="OrRd",
            showscale=False,
            hovertemplate="shown %{y}, answered %{x}: %{text}<extra></extra>",
        )
    )
    figure.update_xaxes(title="answered", type="category", side="top")
    figure.update_yaxes(title="shown", type="category", autorange="reversed")
    figure.update_layout(template="plotly_white", width=640, height=560, margin={"t": 60, "r": 20})
    return figure


def _add_curve(
    figure: go.Figure, accuracies: Sequence[float], name: str, color: str, dash: str, trial: int
) -> None:
    figure.add_scatter(
        x=list(range(1, len(accuracies) + 1)),
        y=[drawn_error(accuracy) for accuracy in accuracies],
        customdata=list(accuracies),
        hovertemplate=f"trial {trial}, epoch %{{x}}: %{{customdata:.2f}} %<extra></extra>",
        name=name,
        mode="lines",
        line={"color": color, "dash": dash, "width": 2 if dash == "solid" else 1.5},
    )

"""The study's pictures, as plotly figures: its front, how it went, and its winner's mistakes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from nas_mnist.execution.confirmation import Confirmed, confirmed
from nas_mnist.execution.estimates import Estimated, estimates, front
from nas_mnist.execution.records import StudyRecord, TrialRecord
from nas_mnist.networks.architecture import Architecture, format_notation
from nas_mnist.networks.references import references
from nas_mnist.report.front_table import EpochUsage
from nas_mnist.report.tables import counted, last_epochs_text
from nas_mnist.training.paired import Difference
from nas_mnist.training.runs import Reproduced

FRONT_COLOR = "#1f5fbf"
_CLAIMS, _TRIALS = "#7fa3d9", "#a9c4ea"
_REFERENCES, _RETRAINED, _BUDGET, _STOPPED = "#8a8a8a", "#5f5f5f", "#b03030", "#c98a2b"
_DRAWN_MIN_ERROR = 0.01  # of 0 on the logarithmic axis: one image of 10,000
_LINE: dict[str, Any] = {"line": {"shape": "hv", "color": FRONT_COLOR, "width": 2}}
_DOT: dict[str, Any] = {"marker": {"size": 9, "color": FRONT_COLOR}}

Point = tuple[Architecture, float, float | None, str]
"""a network in a picture: its accuracy in percent, the deviation of that, what else to say of it"""


def _drawn_error(accuracy: float) -> float:
    return max(_DRAWN_MIN_ERROR, 100 - accuracy)


_SIZES = [base * 10**power for power in range(1, 8) for base in (1, 2, 5)]
_ACCURACIES = [0, 50, 80, 90, 95, 98, 99, 99.2, 99.4, 99.5, 99.6, 99.7, 99.8, 99.9]
_SIZE_AXIS = {
    **{"title": "parameters", "type": "log", "showline": True, "tickvals": _SIZES},
    "ticktext": [f"{size:,}" for size in _SIZES],
}
_ACCURACY_AXIS = {
    **{"title": "accuracy (%)", "type": "log", "tickvals": [*map(_drawn_error, _ACCURACIES)]},
    "ticktext": [f"{accuracy:g}" for accuracy in _ACCURACIES],
}


def front_figure(record: StudyRecord, reproduced: Sequence[Reproduced] = ()) -> go.Figure:
    """Parameters against accuracy in percent: the front as a step line, the other completed
    trials, the budget, on MNIST the references as published, and of the networks of `reproduced`
    the best mean test accuracy of their steps. Once networks are confirmed, the line joins those
    of the front, chosen by validation, at their mean test accuracies. The upright axis is
    logarithmic in the error."""
    shown, known, budget = front(record), confirmed(record), record.spec.budget
    on_front = {trial.number for trial in shown}
    others = [_claim(trial) for trial in record.complete() if trial.number not in on_front]
    figure = go.Figure()
    _add(figure, "other completed trials, validation", others, marker={"color": _TRIALS, "size": 6})
    if record.spec.dataset == "mnist":
        published = [
            (found.architecture, found.published_accuracy, None, f"{found.name}, published")
            for found in references().values()
            if found.published_accuracy is not None
        ]
        diamond = {"color": _REFERENCES, "size": 8, "symbol": "diamond-open"}
        _add(figure, "hand-made, published: test, best epoch", published, marker=diamond)
    if reproduced:
        _add_retrained(figure, reproduced)
    found = estimates(record)
    claims = [_claim(trial, found[trial.number]) for trial in shown]
    text = "Unconfirmed: validation accuracy, estimated from all runs."
    if known:
        circle = {"color": _CLAIMS, "size": 7, "symbol": "circle-open"}
        _add(figure, "front, validation, estimated in the search", claims, marker=circle)
        _add_confirmed(figure, known)
        counts = sorted({len(found.runs) for found in known})
        seeds = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
        text = f"Confirmed with fresh seeds ({seeds}): test accuracy at the final epoch, mean ± sd."
    else:
        _add(figure, "front, validation, estimated", claims, mode="lines+markers", **_LINE, **_DOT)
    sizes = [trial.architecture.parameters for trial in shown]
    sizes += [budget, *(step.architecture.parameters for step in reproduced)]
    errors = [error for trace in figure.data[1:] for error in trace.y] or [_DRAWN_MIN_ERROR, 100]
    title = f"{record.name}: what parameters buy in {counted(record.spec.epochs, 'epoch')}"
    figure.update_layout(
        _box(560, margin={"t": 90, "r": 30}, xaxis=_SIZE_AXIS, yaxis=_ACCURACY_AXIS),
        title={"text": title, "subtitle": {"text": text}},
        xaxis_range=np.log10([min(sizes) / 1.3, max(sizes) * 1.8]).tolist(),
        yaxis_range=np.log10([min(100, max(errors) * 1.2), min(errors) / 1.2]).tolist(),
        yaxis_showline=True,
        legend={"orientation": "h", "y": -0.16},
    )
    figure.add_vline(x=budget, line={"dash": "dash", "color": _BUDGET})
    low = {"y": 0, "yref": "paper", "xanchor": "right", "yanchor": "bottom", "textangle": -90}
    said = {"text": f"budget {budget:,}", "font_color": _BUDGET, "showarrow": False}
    # Shapes take the value, annotations its logarithm.
    return figure.add_annotation(x=math.log10(budget), **low, **said)


def _add(figure: go.Figure, name: str, points: Sequence[Point], **style: Any) -> None:
    tip = "%{customdata[0]}<br>%{x:,} parameters, %{customdata[1]:.2f} %<br>%{customdata[2]}"
    if "hoverinfo" not in style:
        style["hovertemplate"] = f"{tip}<extra></extra>"
    bars = [spread or 0 for _, _, spread, _ in points]
    if any(bars):
        color = style["marker"]["color"]
        style["error_y"] = {"type": "data", "array": bars, "thickness": 1.5, "color": color}
    figure.add_scatter(
        x=[network.parameters for network, *_ in points],
        y=[_drawn_error(accuracy) for _, accuracy, *_ in points],
        customdata=[(format_notation(network), mean, said) for network, mean, _, said in points],
        name=name,
        **{"mode": "markers", **style},
    )


def _claim(trial: TrialRecord, estimate: Estimated | None = None) -> Point:
    more = f"trial {trial.number}, test {trial.test_accuracy:.2f} % in the search"
    if estimate is None:
        return trial.architecture, trial.val_accuracy, None, more
    return trial.architecture, estimate.mean, estimate.sd, f"{more}, runs: {estimate.runs}"


def _add_retrained(figure: go.Figure, reproduced: Sequence[Reproduced]) -> None:
    points = {}  # the best of each network is the last
    for found in sorted(reproduced, key=lambda found: found.test_mean):
        step, network = found.step, found.architecture
        more = f"{step.reference}, {step.lifecycle} step {step.number}, seeds: {len(found.runs)}"
        points[network] = network, found.test_mean, found.test_sd, more
    name = "hand-made, retrained here: test, final epoch, mean ± sd"
    marker = {"color": _RETRAINED, "size": 8, "symbol": "diamond"}
    _add(figure, name, [*points.values()], marker=marker)


def _add_confirmed(figure: go.Figure, known: Sequence[Confirmed]) -> None:
    """Means with their spread, and the line of those on the front."""
    points = []
    for found in known:
        lowest = f"lowest of {last_epochs_text(len(found.runs[0].curve))} {found.last4_min:.2f} %"
        more = f"trial {found.trial.number}, seeds: {len(found.runs)}, {lowest}"
        points.append((found.architecture, found.mean, found.sd, more))
    best = [(found.architecture, found.mean, None, "") for found in known if found.on_front]
    bare: dict[str, Any] = {"mode": "lines", "showlegend": False, "hoverinfo": "skip"}
    _add(figure, "confirmed front", best, **bare, **_LINE)
    _add(figure, "confirmed: test, mean ± sd of fresh seeds", points, **_DOT)


def curves_figure(record: StudyRecord) -> go.Figure:
    """Accuracy against epochs of each network of the front, the error on a logarithmic scale: on
    validation images in the search, and where it is confirmed the mean on test images, dashed."""
    figure, shown = go.Figure(), front(record)
    colors = sample_colorscale("Viridis", np.linspace(0, 0.9, max(2, len(shown))).tolist())
    runs = {found.trial.number: found.runs for found in confirmed(record)}
    for trial, color in zip(shown, colors, strict=False):
        curves = [("validation", [entry["val_accuracy"] for entry in trial.curve], "solid", 2.0)]
        if trial.number in runs:
            tests = [[e["test_accuracy"] for e in run.curve] for run in runs[trial.number]]
            curves.append(("test, confirmed", np.mean(tests, axis=0).tolist(), "dash", 1.5))
        size, tip = trial.architecture.parameters, "epoch %{x}: %{customdata:.2f} %<extra></extra>"
        for kind, accuracies, dash, width in curves:
            epochs, errors = range(1, len(accuracies) + 1), [*map(_drawn_error, accuracies)]
            line = {"color": color, "dash": dash, "width": width}
            style = {"mode": "lines", "line": line, "customdata": accuracies}
            style |= {"hovertemplate": f"trial {trial.number}, {tip}"}
            figure.add_scatter(x=[*epochs], y=errors, name=f"{size:,}, {kind}", **style)
    axes = {"xaxis": {"title": "epoch", "dtick": 1}, "yaxis": _ACCURACY_AXIS}
    figure.update_layout(_box(520, **axes), legend_title="parameters")
    return figure.update_yaxes(autorange="reversed")


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


def importance_figure(shares: Mapping[str, float]) -> go.Figure:
    """Choices by their share, the largest on top."""
    named = {name.replace("_", " "): share for name, share in shares.items()}
    return _bar_figure(named, FRONT_COLOR, "share", ".2f", 26)


def differences_figure(
    title: str, differences: Mapping[str, Difference], *, in_order: bool = False
) -> go.Figure:
    """Differences with their 95% intervals, the largest loss on top, or `in_order`. One that is
    far beyond the others is cut off: its number stands beside its name."""
    ranked = [*differences.items()][::-1]  # bars are drawn from below
    if not in_order:
        ranked.sort(key=lambda own: -own[1].mean)
    ends = sorted(abs(own.mean) + own.chance for own in differences.values())
    most = 1.1 * min(ends[-1], 2 * ends[-2]) if len(ends) > 1 else None
    highest = max((own.mean + own.chance for own in differences.values()), default=0.0)
    spread = {"range": [-most, min(most, max(highest * 1.1, most / 9))]} if most else {}
    bars = go.Bar(
        x=[own.mean for _, own in ranked],
        y=[f"{name}  {own.mean:+.2f}" for name, own in ranked],
        orientation="h",
        marker_color=[FRONT_COLOR if own.beyond_chance else _TRIALS for _, own in ranked],
        error_x={"array": [own.chance for _, own in ranked], "color": "#555555", "thickness": 1},
        hovertemplate="%{y}<extra></extra>",
    )
    axes = {
        "xaxis": {"title": "difference in validation accuracy, points; 95% intervals", **spread},
        "yaxis": {"automargin": True},
    }
    return go.Figure(bars, _box(150 + 24 * len(ranked), title=title, margin={"t": 60}, **axes))


def _bar_figure(
    values: Mapping[str, float], colors: str | list[str], title: str, number: str, height: int
) -> go.Figure:
    """Horizontal bars, the first on top; their colours from the lowest up."""
    names, lengths = list(values)[::-1], list(values.values())[::-1]
    style = {"orientation": "h", "marker_color": colors, "texttemplate": f"%{{x:{number}}}"}
    axes = {"xaxis": {"title": title, "rangemode": "tozero"}, "yaxis": {"automargin": True}}
    return go.Figure(go.Bar(x=lengths, y=names, **style), _box(120 + height * len(names), **axes))


def _box(height: int, **layout: Any) -> dict[str, Any]:
    margin = {"t": 40, "r": 20}  # below plotly's own buttons
    return {"template": "plotly_white", "height": height, "margin": margin, **layout}


def confusion_figure(labels: Sequence[int], answers: Sequence[int]) -> go.Figure:
    """Counts of what was shown and what was answered; right answers stand in the text alone, so
    that the colours are those of the mistakes."""
    classes = 1 + max(*labels, *answers)
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (np.asarray(labels), np.asarray(answers)), 1)
    names = [str(digit) for digit in range(classes)]
    mistakes = np.where(np.eye(classes, dtype=bool), 0, counts).tolist()
    style = {"texttemplate": "%{text}", "colorscale": "OrRd", "showscale": False}
    style["hovertemplate"] = "shown %{y}, answered %{x}: %{text}<extra></extra>"
    cells = go.Heatmap(z=mistakes, x=names, y=names, text=counts.tolist(), **style)
    answered = {"title": "answered", "type": "category", "side": "top"}
    shown = {"title": "shown", "type": "category", "autorange": "reversed"}
    box = _box(560, width=640, margin={"t": 60, "r": 20}, xaxis=answered, yaxis=shown)
    return go.Figure(cells, box)

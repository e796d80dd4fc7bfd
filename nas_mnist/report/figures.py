"""What is drawn outside a report too, as plotly figures: a front, and differences of networks."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from nas_mnist.execution import confirmation
from nas_mnist.execution.confirmation import Candidate, Confirmed
from nas_mnist.execution.estimates import estimates
from nas_mnist.execution.records import StudyRecord, TrialRecord
from nas_mnist.networks.architecture import Architecture, format_notation
from nas_mnist.networks.references import Reference, references
from nas_mnist.report.claims import claims
from nas_mnist.report.plots import (
    ACCURACY_AXIS,
    FRONT_COLOR,
    PALE_COLOR,
    SIZE_AXIS,
    box,
    drawn_error,
)
from nas_mnist.report.tables import counted, last_epochs_text, spread_text
from nas_mnist.training.paired import Difference
from nas_mnist.training.runs import Reproduced

_BAND, _REFERENCES, _BUDGET = "rgba(31, 95, 191, 0.2)", "#5f5f5f", "#b03030"
_HEIGHT, _TOP, _BOTTOM, _RIGHT = 540, 78, 90, 130  # of the front's figure, in pixels
_VEIL = "rgba(255, 255, 255, 0.7)"  # behind a label, over lines
_NAME_PIXELS = 15  # from one name of a hand-made network to the next
_HALVES = 4  # budgets below which the best network is named: 1, 1/2, 1/4 and 1/8 of it
_FAR = 2.5  # times the budget: larger hand-made networks stand at the edge
_WIDE = 1.5  # times the largest error of the front: larger ones stand at the edge


class _Point(NamedTuple):
    """A network in a picture."""

    network: Architecture
    accuracy: float  # percent
    sd: float | None  # of that
    said: str  # what else there is to say of it
    name: str = ""  # of a hand-made one


class _Frame(NamedTuple):
    """How far a picture reaches. What lies beyond stands at its edge, as a triangle."""

    parameters: float
    error: float

    def place(self, point: _Point) -> tuple[float, float]:
        size, error = point.network.parameters, drawn_error(point.accuracy)
        return min(size, self.parameters), min(error, self.error)

    def symbol(self, point: _Point, usual: str) -> str:
        if point.network.parameters > self.parameters:
            return "triangle-right"
        return "triangle-down" if drawn_error(point.accuracy) > self.error else usual


def front_figure(record: StudyRecord, reproduced: Sequence[Reproduced] = ()) -> go.Figure:
    """Parameters against accuracy in percent, on a logarithmic scale of the error: the front, the
    other completed trials and the budget; on MNIST the hand-made networks as published, and those
    of `reproduced` at the best mean test accuracy of their steps. StudyError if no trial has
    completed.

    Before a confirmation, the front is a line of estimated validation accuracies with their band.
    Once networks are confirmed, it is a line of mean test accuracies through those that were chosen
    by validation, and the band is what the search expected of them.
    """
    # Of one moment: a trial may end meanwhile.
    shown, budget = confirmation.candidates(record), record.spec.budget
    best = confirmation.most_accurate(shown) or confirmation.chosen(record)  # which raises
    on_front = {entry.trial.number for entry in confirmation.of_front(shown)}
    confirmed = {entry.trial.number: entry.confirmed for entry in shown if entry.confirmed}
    believed: Mapping[int, Any] = claims(record) if confirmed else estimates(record)
    expected = {
        entry.trial.number: _expected(entry, *believed[entry.trial.number][:2])
        for entry in shown
        if entry.trial.number in on_front
    }
    known = {number: _confirmed(found) for number, found in confirmed.items()}
    others = [_trial(trial) for trial in record.complete() if trial.number not in expected | known]
    hand_made = references().values() if record.spec.dataset == "mnist" else ()
    published = [_published(found) for found in hand_made if found.published_accuracy is not None]
    retrained = _retrained(reproduced)
    sizes = [own.network.parameters for own in (*published, *retrained)]
    errors = [drawn_error(own.accuracy) for own in (expected | known).values()]
    most = max([budget, *(size for size in sizes if size <= _FAR * budget)])
    frame = _Frame(most, _WIDE * max(errors))

    figure = go.Figure()
    pale = {"color": PALE_COLOR, "size": 6}
    _add(figure, frame, "other trials: validation, one run", others, marker=pale)
    _add_band(figure, [*expected.values()], budget)
    diamond = {"color": _REFERENCES, "size": 8, "symbol": "diamond-open"}
    _add(figure, frame, "hand-made: published, best epoch", published, marker=diamond)
    diamond = {**diamond, "symbol": "diamond"}
    _add(figure, frame, "hand-made: retrained here, final epoch", retrained, marker=diamond)
    line: dict[str, Any] = {"line": {"shape": "hv", "color": FRONT_COLOR, "width": 2}}
    dot: dict[str, Any] = {"marker": {"size": 9, "color": FRONT_COLOR, "symbol": "circle"}}
    text = "Unconfirmed: validation accuracy, estimated from all runs; the band is 95%."
    if known:
        circle = {"size": 5, "color": FRONT_COLOR, "symbol": "circle-open"}
        said = "front: test, expected by the search"
        _add(figure, frame, said, [*expected.values()], marker=circle, error_y=None)
        bare: dict[str, Any] = {"mode": "lines", "showlegend": False, "hoverinfo": "skip"}
        through = [point for number, point in known.items() if number in on_front]
        _add(figure, frame, "confirmed front", through, **bare, **line)
        _add(figure, frame, "confirmed: test, mean ± sd", [*known.values()], **dot)
        counts = sorted({len(found.runs) for found in confirmed.values()})
        seeds = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
        text = f"Confirmed: test accuracy at the final epoch over {seeds} fresh seeds, mean ± sd."
        text += " Band: what the search expected, 95%."
    else:
        said = "front: validation, estimated"
        style = {"mode": "lines+markers", "error_y": None, **line, **dot}
        _add(figure, frame, said, [*expected.values()], **style)
    winner = (expected | known)[best.trial.number]
    star = {"size": 17, "color": FRONT_COLOR, "symbol": "star"}
    star["line"] = {"width": 1.5, "color": "white"}
    _add(figure, frame, "most accurate by validation", [winner], marker=star, error_y=None)

    points = [*others, *expected.values(), *known.values(), *published, *retrained]
    least = min(drawn_error(own.accuracy + (own.sd or 0)) for own in points)
    smallest = min(own.network.parameters for own in points)
    across = np.log10([smallest / 1.12, frame.parameters * 1.05])
    upright = np.log10([frame.error * 1.05, least / 1.2])
    title = f"{record.name}: what parameters buy in {counted(record.spec.epochs, 'epoch')}"
    figure.update_layout(
        box(_HEIGHT, xaxis=SIZE_AXIS, yaxis=ACCURACY_AXIS),
        title={"text": title, "subtitle": {"text": text}, "x": 0.02, "y": 0.95},
        margin={"t": _TOP, "b": _BOTTOM, "l": 70, "r": _RIGHT if published else 20},
        **{"xaxis_range": across.tolist(), "yaxis_range": upright.tolist()},
        yaxis_showline=True,
        legend={"orientation": "h", "y": -0.13, "yanchor": "top"},
    )
    _add_budget(figure, budget)
    named = {number: (expected | known)[number] for number in _best_below(expected, budget)}
    _name_best(figure, frame, [*named.values()])
    _name_hand_made(figure, frame, {own.name: own for own in (*retrained, *published)})
    return figure


def _add(
    figure: go.Figure, frame: _Frame, name: str, points: Sequence[_Point], **style: Any
) -> None:
    """Points with their bars, which `error_y=None` leaves out."""
    if not points:
        return
    # A legend shows the first one's symbol.
    points = sorted(points, key=lambda own: frame.symbol(own, "") != "")
    tip = "%{customdata[0]}<br>%{customdata[3]:,} parameters, %{customdata[1]:.2f} %"
    if "hoverinfo" not in style:
        style["hovertemplate"] = f"{tip}<br>%{{customdata[2]}}<extra></extra>"
    bars = [own.sd or 0 for own in points]
    if marker := style.get("marker"):
        symbols = [frame.symbol(own, marker.get("symbol", "circle")) for own in points]
        style["marker"] = {**marker, "symbol": symbols}
        if any(bars) and "error_y" not in style:
            own = {"type": "data", "array": bars, "thickness": 1.2, "color": marker["color"]}
            style["error_y"] = own
    places = [frame.place(own) for own in points]
    custom = [
        (format_notation(own.network), own.accuracy, own.said, own.network.parameters)
        for own in points
    ]
    x, y = zip(*places, strict=True)
    figure.add_scatter(x=x, y=y, customdata=custom, name=name, **{"mode": "markers", **style})


def _add_band(figure: go.Figure, points: Sequence[_Point], budget: int) -> None:
    """Two standard deviations to either side, up to the budget."""
    sizes = [*(own.network.parameters for own in points), budget]
    for side, fill in ((-2, None), (2, "tonexty")):
        errors = [drawn_error(own.accuracy + side * (own.sd or 0)) for own in points]
        line = {"shape": "hv", "width": 0}
        own = {"mode": "lines", "line": line, "fill": fill, "fillcolor": _BAND}
        figure.add_scatter(
            x=sizes, y=[*errors, errors[-1]], showlegend=False, hoverinfo="skip", **own
        )


def _add_budget(figure: go.Figure, budget: int) -> None:
    figure.add_vline(x=budget, line={"dash": "dash", "color": _BUDGET, "width": 1.5})
    low = {"y": 0, "yref": "paper", "xanchor": "right", "yanchor": "bottom", "textangle": -90}
    said = {"text": f"budget {budget:,}", "font_color": _BUDGET, "showarrow": False}
    # Shapes take the value, annotations its logarithm.
    figure.add_annotation(x=math.log10(budget), **low, **said)


def _best_below(points: Mapping[int, _Point], budget: int) -> list[int]:
    """The trials of the front that are expected to be best below the budget, its half, and so on,
    each once."""
    best: dict[int, None] = {}
    for halved in range(_HALVES):
        most = budget / 2**halved
        within = [number for number, own in points.items() if own.network.parameters <= most]
        if within:
            best[max(within, key=lambda number: points[number].accuracy)] = None
    return list(best)


def _name_best(figure: go.Figure, frame: _Frame, points: Sequence[_Point]) -> None:
    """Sizes and accuracies above the points, where the front leaves room."""
    arrow = {"showarrow": True, "arrowhead": 0, "arrowwidth": 1, "arrowcolor": FRONT_COLOR}
    left, right = figure.layout.xaxis.range
    for own in points:
        size, error = frame.place(own)
        aside = 0 if math.log10(size) < left + 0.15 * (right - left) else -34  # not on the axis
        text = f"<b>{own.network.parameters:,}</b><br>{spread_text(own.accuracy, own.sd)}"
        place = {"x": math.log10(size), "y": math.log10(error), "ax": aside, "ay": -46}
        figure.add_annotation(text=text, **place, **arrow, font_color=FRONT_COLOR, bgcolor=_VEIL)


def _name_hand_made(figure: go.Figure, frame: _Frame, points: Mapping[str, _Point]) -> None:
    """A column of names on the right, each as near to its point as the others let it."""
    from sklearn.isotonic import isotonic_regression

    if not points:
        return
    high, low = figure.layout.yaxis.range
    gap = (high - low) * _NAME_PIXELS / (_HEIGHT - _TOP - _BOTTOM)
    heights = {name: math.log10(frame.place(own)[1]) for name, own in points.items()}
    ranked = sorted(heights, key=lambda name: heights[name])
    steps = gap * np.arange(len(ranked))
    # Least squares under a distance between neighbours is isotonic regression.
    wanted = [heights[name] for name in ranked] - steps
    ends = {"y_min": low, "y_max": max(low, high - steps[-1])}
    column = figure.layout.xaxis.range[1]
    for name, height in zip(ranked, isotonic_regression(wanted, **ends) + steps, strict=True):
        size = points[name].network.parameters
        text = re.sub(r"-\d+[km]?$", "", name)
        text += f" ({size:,})" if size > frame.parameters else ""
        tail = {"ax": column, "ay": height, "axref": "x", "ayref": "y", "xanchor": "left"}
        place = {"x": math.log10(frame.place(points[name])[0]), "y": heights[name]}
        arrow = {"arrowhead": 0, "arrowwidth": 0.5, "arrowcolor": _REFERENCES}
        font = {"size": 10, "color": _REFERENCES}
        figure.add_annotation(text=text, name="hand-made", **place, **tail, **arrow, font=font)


def _trial(trial: TrialRecord) -> _Point:
    more = f"trial {trial.number}, test {trial.test_accuracy:.2f} % in the search"
    return _Point(trial.architecture, trial.val_accuracy, None, more)


def _expected(entry: Candidate, mean: float, sd: float) -> _Point:
    said = _trial(entry.trial).said
    return _Point(entry.trial.architecture, mean, sd, f"{said}, runs: {entry.estimate.runs}")


def _confirmed(found: Confirmed) -> _Point:
    lowest = f"lowest of {last_epochs_text(len(found.runs[0].curve))} {found.last4_min:.2f} %"
    more = f"trial {found.trial.number}, seeds: {len(found.runs)}, {lowest}"
    return _Point(found.architecture, found.mean, found.sd, more)


def _published(found: Reference) -> _Point:
    accuracy = found.published_accuracy or 0.0
    return _Point(found.architecture, accuracy, None, f"{found.name}, published", found.name)


def _retrained(reproduced: Sequence[Reproduced]) -> list[_Point]:
    points = {}  # the best of each network is the last
    for found in sorted(reproduced, key=lambda found: found.test_mean):
        step, network = found.step, found.architecture
        more = f"{step.reference}, {step.lifecycle} step {step.number}, seeds: {len(found.runs)}"
        points[network] = _Point(network, found.test_mean, found.test_sd, more, f"{step.reference}")
    return [*points.values()]


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
        marker_color=[FRONT_COLOR if own.beyond_chance else PALE_COLOR for _, own in ranked],
        error_x={"array": [own.chance for _, own in ranked], "color": "#555555", "thickness": 1},
        hovertemplate="%{y}<extra></extra>",
    )
    axes = {
        "xaxis": {"title": "difference in validation accuracy, points; 95% intervals", **spread},
        "yaxis": {"automargin": True},
    }
    return go.Figure(bars, box(150 + 24 * len(ranked), title=title, margin={"t": 60}, **axes))

"""The front's figure holds what it says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from nas_mnist.errors import RequestError
from nas_mnist.execution.estimates import estimates, front
from nas_mnist.networks.references import references
from nas_mnist.report.figures import front_figure
from nas_mnist.report.page import write_figure
from nas_mnist.training.runs import Reproduced, Run, lifecycle_steps, step_recipe
from nas_mnist.training.trainer import EpochRecord
from tests.conftest import Search


def test_front_figure(digits_search: Search) -> None:
    record = digits_search.record()
    shown, known = front(record), estimates(record)
    figure = front_figure(record)
    (line,) = [trace for trace in figure.data if trace.line.shape == "hv"]
    assert list(line.x) == [trial.architecture.parameters for trial in shown]
    assert list(line.y) == [100 - known[trial.number].mean for trial in shown]
    assert [custom[0] for custom in line.customdata] == [trial.notation for trial in shown]
    assert [custom[1] for custom in line.customdata] == [
        known[trial.number].mean for trial in shown
    ]
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.shapes[0].x0 == 1500
    assert figure.layout.annotations[0].text == "budget 1,500"
    high, low = figure.layout.yaxis.range
    assert all(low < math.log10(error) < high for error in line.y)


def test_retrained_networks_stand_beside_the_front(digits_search: Search) -> None:
    """Each at the best mean that a step of it came to."""

    def reproduced(number: int, *tests: float) -> Reproduced:
        step = lifecycle_steps("a7-8k")[number - 1]
        assert step.reference is not None
        network = references()[step.reference].architecture
        runs = [Run(seed, [EpochRecord(1, 0, 0, 0, test, 1)]) for seed, test in enumerate(tests)]
        return Reproduced(step, network, step_recipe(step), tuple(runs))

    record = digits_search.record()
    steps = [reproduced(8, 90, 92), reproduced(9, 80, 82), reproduced(6, 70)]
    (added,) = {trace.name: trace for trace in front_figure(record, steps).data}.keys() - {
        trace.name for trace in front_figure(record).data
    }
    figure = front_figure(record, steps)
    (trace,) = [trace for trace in figure.data if trace.name == added]
    assert sorted(zip(trace.x, trace.y, trace.error_y.array, strict=True)) == [
        (6070, 30, 0),
        (7884, 9, pytest.approx(2**0.5)),
    ]
    assert any("a7-no-dropout-7884, a7-8k step 8, seeds: 2" in say[2] for say in trace.customdata)
    low, high = figure.layout.xaxis.range
    assert low < math.log10(7884) < high


def test_the_page_is_offline(digits_search: Search, tmp_path: Path) -> None:
    file = tmp_path / "front.html"
    write_figure(front_figure(digits_search.record()), file)
    page = file.read_text()
    assert "Plotly.newPlot" in page
    assert 'src="http' not in page


def test_other_endings_are_refused(digits_search: Search, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"must be \.html, \.png or \.svg"):
        write_figure(front_figure(digits_search.record()), tmp_path / "front.gif")

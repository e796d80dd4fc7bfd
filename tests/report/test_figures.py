"""The front's figure holds what it says."""

from __future__ import annotations

import math
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from nas_mnist.errors import RequestError
from nas_mnist.execution.confirmation import chosen, confirmed
from nas_mnist.execution.estimates import estimates, front
from nas_mnist.execution.records import StudyRecord, load_study
from nas_mnist.networks.references import references
from nas_mnist.report.figures import front_figure
from nas_mnist.report.page import write_figure
from nas_mnist.training.runs import Reproduced, Run, lifecycle_steps, step_recipe
from nas_mnist.training.trainer import EpochRecord
from tests.conftest import Search

RESULTS = Path(__file__).parents[2] / "results"


def test_front_figure(digits_search: Search) -> None:
    record = digits_search.record()
    shown, known = front(record), estimates(record)
    figure = front_figure(record)
    (line,) = [trace for trace in figure.data if trace.line.shape == "hv" and trace.line.width]
    assert list(line.x) == [trial.architecture.parameters for trial in shown]
    assert list(line.y) == [100 - known[trial.number].mean for trial in shown]
    assert [custom[0] for custom in line.customdata] == [trial.notation for trial in shown]
    assert [custom[1] for custom in line.customdata] == [
        known[trial.number].mean for trial in shown
    ]
    low, high = [trace for trace in figure.data if trace.line.width == 0]
    assert high.fill == "tonexty"
    ends = [(100 - known[t.number].mean, 2 * known[t.number].sd) for t in shown]
    assert list(low.y) == pytest.approx([error + by for error, by in [*ends, ends[-1]]])
    assert list(high.y) == pytest.approx([max(0.01, e - by) for e, by in [*ends, ends[-1]]])
    assert (low.x[-1], high.x[-1]) == (1500, 1500)
    (star,) = [trace for trace in figure.data if trace.marker.symbol == ("star",)]
    assert star.customdata[0][0] == chosen(record).trial.notation
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.shapes[0].x0 == 1500
    assert figure.layout.annotations[0].text == "budget 1,500"
    largest = shown[-1].architecture.parameters
    assert figure.layout.annotations[1].text.startswith(f"<b>{largest:,}</b>")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    folder = tmp_path_factory.mktemp("published")
    shutil.copy(RESULTS / "unpruned" / "study.db", folder)
    return load_study("unpruned", f"sqlite:///{folder}/study.db")


def test_no_point_is_cut_off(published: StudyRecord) -> None:
    """What is beyond the axes stands at their ends, and points there."""
    figure = front_figure(published)
    (left, right), (down, up) = figure.layout.xaxis.range, figure.layout.yaxis.range
    beyond = 0
    for trace in figure.data:
        for x, y in zip(trace.x, trace.y, strict=True):
            assert left < math.log10(x) < right, trace.name
            assert up < math.log10(y) < down or trace.line.width == 0, trace.name
        if not trace.marker.symbol:
            continue
        for symbol, custom in zip(trace.marker.symbol, trace.customdata, strict=True):
            assert (symbol == "triangle-right") == (custom[3] > 10**right)
            beyond += symbol.startswith("triangle")
    assert beyond >= 3  # hand-made networks of tens of thousands and of millions


def test_hand_made_networks_are_named_apart(published: StudyRecord) -> None:
    figure = front_figure(published)
    names = [own for own in figure.layout.annotations if own.name == "hand-made"]
    assert {"a7-no-dropout", "s7-dropout", "setup (6,379,786)"} <= {own.text for own in names}
    assert len({own.text for own in names}) == len(references())
    down, up = figure.layout.yaxis.range
    height = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    pixels = sorted((own.ay - up) / (down - up) * height for own in names)
    assert all(after - before > 14.9 for before, after in pairwise(pixels))
    assert 0 <= pixels[0] <= pixels[-1] <= height


def test_the_best_at_each_size_is_named(published: StudyRecord) -> None:
    """By validation, and with what its fresh seeds found."""
    texts = [own.text for own in front_figure(published).layout.annotations]
    means = {found.architecture.parameters: found.mean for found in confirmed(published)}
    for size in (997, 1972, 3986, 7903):
        (text,) = [text for text in texts if text.startswith(f"<b>{size:,}</b>")]
        if size in means:
            assert f"<br>{means[size]:.2f} ± " in text
    assert sum(text.startswith("<b>") for text in texts) == 4


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
    drawn = zip(trace.customdata, trace.error_y.array, strict=True)
    assert sorted((custom[3], custom[1], sd) for custom, sd in drawn) == [
        (6070, 70, 0),
        (7884, 91, pytest.approx(2**0.5)),
    ]
    assert any("a7-no-dropout-7884, a7-8k step 8, seeds: 2" in say[2] for say in trace.customdata)
    # Far larger than the budget of 1,500: at the edge.
    assert set(trace.marker.symbol) <= {"triangle-right", "triangle-down"}
    low, high = figure.layout.xaxis.range
    assert all(low < math.log10(x) < high for x in trace.x)


def test_the_page_is_offline(digits_search: Search, tmp_path: Path) -> None:
    file = tmp_path / "front.html"
    write_figure(front_figure(digits_search.record()), file)
    page = file.read_text()
    assert "Plotly.newPlot" in page
    assert 'src="http' not in page


def test_other_endings_are_refused(digits_search: Search, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"must be \.html, \.png or \.svg"):
        write_figure(front_figure(digits_search.record()), tmp_path / "front.gif")

"""The front's figure holds what it says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from nas_mnist.errors import RequestError
from nas_mnist.output.figures import front_figure, write_figure
from tests.conftest import Search


def test_front_figure(digits_search: Search) -> None:
    record = digits_search.record()
    front = record.front()
    figure = front_figure(record)
    (line,) = [trace for trace in figure.data if trace.line.shape == "hv"]
    assert list(line.x) == [trial.architecture.parameters for trial in front]
    assert list(line.y) == [100 - trial.val_accuracy for trial in front]
    assert [custom[0] for custom in line.customdata] == [trial.notation for trial in front]
    assert [custom[1] for custom in line.customdata] == [trial.val_accuracy for trial in front]
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.shapes[0].x0 == 1500
    assert figure.layout.annotations[0].text == "budget 1,500"
    high, low = figure.layout.yaxis.range
    assert all(low < math.log10(error) < high for error in line.y)


def test_the_page_is_offline(digits_search: Search, tmp_path: Path) -> None:
    file = tmp_path / "front.html"
    write_figure(front_figure(digits_search.record()), file)
    page = file.read_text()
    assert "Plotly.newPlot" in page
    assert 'src="http' not in page


def test_other_endings_are_refused(digits_search: Search, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"must be \.html, \.png or \.svg"):
        write_figure(front_figure(digits_search.record()), tmp_path / "front.gif")

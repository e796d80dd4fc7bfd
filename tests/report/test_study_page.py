"""The report, read as text and looked at in a real browser."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from nas_mnist.execution.estimates import front
from nas_mnist.report.figures import (
    confusion_figure,
    curves_figure,
    importance_figure,
    spending_figure,
)
from nas_mnist.report.front_table import EpochUsage
from nas_mnist.report.page import figure_part, page, table_part, text_part, write_report
from nas_mnist.training.datasets import Dataset
from tests.browser import look
from tests.conftest import Search, runner


def check_drawn(file: Path, folder: Path, plots: int) -> str:
    seen, console = look(file.as_uri(), folder)
    assert not console
    assert "data-failed" not in seen, re.findall(r'data-failed="[^"]*"', seen)
    assert 'data-drawn="all"' in seen
    assert seen.count('class="figure"') == plots
    assert len(re.findall(r'<div class="plot[^"]*js-plotly-plot"', seen)) == plots
    assert seen.count('class="plot-container') == plots
    return seen


def test_the_report_in_a_browser(digits_search: Search, tmp_path: Path) -> None:
    done = runner(digits_search.folder)("report", "demo", "-o", "made/report.html")
    assert done.code == 0, done.err
    file = digits_search.folder / "made" / "report.html"
    text = file.read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert file.stat().st_size < 3_000_000
    seen = check_drawn(file, tmp_path, plots=4)
    record = digits_search.record()
    best = front(record)[-1]
    assert best.notation in seen
    wrong = round((100 - best.test_accuracy) / 100 * 359)
    assert f"{wrong} of 359 test images wrong, {best.test_accuracy:.2f} % right" in seen
    assert seen.count("<img alt=") == min(wrong, 120)
    for trial in front(record):
        assert trial.notation in seen
    assert "&quot;budget&quot;: 1500" in text


def test_every_kind_of_figure_is_drawn(digits_search: Search, tmp_path: Path) -> None:
    record = digits_search.record()
    figures = [
        curves_figure(record),
        spending_figure(EpochUsage(100, 300, {1: 10, 4: 15}, 0, 0, 0), 15),
        importance_figure({"dropout": 0.7, "pools": 0.3}),
        confusion_figure([0, 1, 1, 9], [0, 1, 7, 9]),
    ]
    file = tmp_path / "page.html"
    file.write_text(page("all", [figure_part(figure) for figure in figures]))
    check_drawn(file, tmp_path, plots=4)


def test_a_script_that_fails_is_noticed(tmp_path: Path) -> None:
    """The check above can fail."""
    file = tmp_path / "page.html"
    file.write_text(page("broken", ['<script class="figure">{</script>']))
    seen, console = look(file.as_uri(), tmp_path)
    assert console
    assert "data-failed" in seen
    assert "data-drawn" not in seen


def test_text_of_a_database_stays_text() -> None:
    hostile = "</script><script>alert(1)</script>&"
    figure = spending_figure(EpochUsage(1, 1, {}, 0, 0, 0), 1)
    figure.update_layout(title=hostile)
    parts = [
        text_part(hostile, "h2"),
        text_part(hostile),
        table_part([["notation"], [hostile]]),
        figure_part(figure),
    ]
    assert "<script>alert" not in page(hostile, parts)


def test_spending_and_confusion_show_what_they_are_given() -> None:
    figure = spending_figure(EpochUsage(100, 300, {1: 10, 4: 15}, 0, 0, 0), 15)
    (bar,) = figure.data
    assert dict(zip(bar.y, bar.x, strict=True)) == {
        "finished: 2 trials": 30,
        "stopped after epoch 1: 10 trials": 10,
        "stopped after epoch 4: 15 trials": 60,
    }
    (heat,) = confusion_figure([0, 1, 1, 9], [0, 1, 7, 9]).data
    assert heat.text[1][7] == heat.z[1][7] == 1
    assert (heat.text[1][1], heat.z[1][1]) == (1, 0)


def test_the_page_needs_the_winners_weights(
    digits_search: Search, digits: Dataset, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    write_report(digits_search.record(), digits, file)
    assert "What the winner gets wrong" in file.read_text()
    copy = tmp_path / "copy"
    shutil.copytree(digits_search.folder, copy)
    shutil.rmtree(copy / "studies" / "demo")
    done = runner(copy)("report", "demo", "-o", "r.html")
    assert done.code == 1
    assert "its weights are not in" in done.err
    assert not (copy / "r.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("report", "demo", "-o", "report.txt"), 2, "must end in .html"),
        (("report", "nosuch", "-o", "report.html"), 2, "no such file"),
    ],
)
def test_bad_requests(
    digits_search: Search, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = runner(digits_search.folder)(*arguments)
    assert (done.code, len(done.err.splitlines())) == (code, 1)
    assert message in done.err

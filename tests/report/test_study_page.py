"""The report, read as text and looked at in a real browser."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from nas_mnist.execution.confirmation import chosen
from nas_mnist.execution.estimates import front
from nas_mnist.report.drawing import boxes
from nas_mnist.report.front_table import EpochUsage
from nas_mnist.report.importances import Importance
from nas_mnist.report.page import figure_json, page, write_report
from nas_mnist.report.study_figures import (
    confusion_figure,
    curves_figure,
    importance_figure,
    spending_figure,
)
from nas_mnist.training.datasets import Dataset
from tests.browser import look
from tests.conftest import Search, runner

DIGITS = [str(digit) for digit in range(10)]


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
    assert '"budget": 1500' in html.unescape(text)


def test_every_kind_of_figure_is_drawn(digits_search: Search, tmp_path: Path) -> None:
    record = digits_search.record()
    figures = [
        curves_figure(record),
        spending_figure(EpochUsage(100, 300, {1: 10, 4: 15}, 0, 0, 0), 15),
        importance_figure({"dropout": Importance(0.7, 0.5, 0.9), "pools": Importance(0.3, 0, 0.4)}),
        confusion_figure([0, 1, 1, 9], [0, 1, 7, 9], DIGITS),
    ]
    file = tmp_path / "page.html"
    file.write_text(page("all", text="", figures=map(figure_json, figures)))
    check_drawn(file, tmp_path, plots=4)


def test_a_script_that_fails_is_noticed(tmp_path: Path) -> None:
    """The check above can fail."""
    file = tmp_path / "page.html"
    file.write_text(page("broken", text="", figures=["{"]))
    seen, console = look(file.as_uri(), tmp_path)
    assert console
    assert "data-failed" in seen
    assert "data-drawn" not in seen


# What a person does, and what it leads to; told to whoever shows the page.
_USING = """<script>
const used = async () => {
  while (!document.documentElement.dataset.drawn) await new Promise(go => setTimeout(go, 50));
  const told = {}, page = document.documentElement;
  told.overflow = page.scrollWidth - page.clientWidth;
  told.clipped = [...document.querySelectorAll(".plot")]
    .filter(plot => plot.scrollWidth > plot.parentElement.clientWidth).length;
  const table = document.querySelector("table.columns"), body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells], named = text =>
    heads.findIndex(head => head.textContent.trim() === text);
  const column = at => [...body.rows].map(row => row.cells[at].textContent);
  told.shown = heads.filter(head => !head.hidden).map(head => head.textContent);
  heads[named("MACs")].querySelector("button").click();
  told.rising = column(named("MACs"));
  heads[named("MACs")].querySelector("button").click();
  told.falling = column(named("MACs"));
  const box = [...document.querySelectorAll(".choice label")]
    .find(label => label.textContent.trim() === "notation").querySelector("input");
  box.click();
  told.notations = column(named("notation"));
  told.notation_shown = !heads[named("notation")].hidden;
  const plot = document.querySelector(".plot"), layout = plot._fullLayout;
  const trace = plot.data.find(own => own.name?.startsWith("most accurate")), size = layout._size;
  const drag = plot.querySelector(".nsewdrag"), place = drag.getBoundingClientRect();
  const at = { bubbles: true, view: window,
    clientX: place.left + layout.xaxis.d2p(trace.x[0]),
    clientY: place.top + layout.yaxis.d2p(trace.y[0]) };
  for (const kind of ["mousemove", "mousedown", "mouseup"]) {
    drag.dispatchEvent(new MouseEvent(kind, at));
    await new Promise(go => setTimeout(go, 200));
  }
  const open = [...document.querySelectorAll("[data-notation]")].filter(own => !own.hidden);
  told.clicked = open.map(own => own.dataset.notation);
  told.layers = open.map(own => own.textContent).join();
  told.failed = page.dataset.failed ?? "";
  parent.postMessage(told, "*");
};
used();
</script>"""
_SHOWING = """<iframe src="{}" style="width: {}px; height: 3000px; border: 0"></iframe>
<script>addEventListener("message", event => {{
  document.body.dataset.told = JSON.stringify(event.data);
}});</script>"""


@pytest.mark.parametrize("width", [1400, 390])
def test_the_report_is_used(
    digits_search: Search, digits: Dataset, tmp_path: Path, width: int
) -> None:
    """A heading and a point are clicked, and a column is chosen; nothing runs out of the page."""
    record, file = digits_search.record(), tmp_path / "report.html"
    write_report(record, digits, file)
    file.write_text(file.read_text().replace("</body>", f"{_USING}</body>"))
    outside = tmp_path / "outside.html"
    outside.write_text(_SHOWING.format(file.as_uri(), width))
    seen, console = look(outside.as_uri(), tmp_path)
    (told,) = re.findall(r'data-told="([^"]*)"', seen)
    found = json.loads(html.unescape(told))
    assert (console, found["failed"], found["overflow"], found["clipped"]) == ([], "", 0, 0)
    assert found["shown"] == ["trial", "parameters", "MACs", "validation %"]
    shown = front(record)
    costs = sorted(trial.architecture.macs for trial in shown)
    assert [int(text.replace(",", "")) for text in found["rising"]] == costs
    assert found["falling"] == found["rising"][::-1]
    assert found["notation_shown"]
    assert sorted(found["notations"]) == sorted(trial.notation for trial in shown)
    best = chosen(record).trial
    assert found["clicked"] == [best.notation]
    for box in (box for block in boxes(best.architecture) for box in block):
        assert "×".join(map(str, box.shape)) in found["layers"]


def test_text_of_a_database_stays_text() -> None:
    hostile = "</script><script>alert(1)</script>&"
    figure = spending_figure(EpochUsage(1, 1, {}, 0, 0, 0), 1)
    figure.update_layout(title=hostile)
    assert "<script>alert" not in page(hostile, text=hostile, figures=[figure_json(figure)])
    network = SimpleNamespace(number=1, notation=hostile)
    report = defaultdict(str, front_rows=[["notation"], [hostile]], winner=network, title=hostile)
    report |= {"layer_rows": [["layer"], [hostile]], "networks": [(f'"{hostile}', [])]}
    made = page(hostile, report=report)
    assert made.count("&lt;script&gt;alert") >= 6
    assert "<script>alert" not in made


def test_spending_and_confusion_show_what_they_are_given() -> None:
    figure = spending_figure(EpochUsage(100, 300, {1: 10, 4: 15}, 0, 0, 0), 15)
    (bar,) = figure.data
    assert dict(zip(bar.y, bar.x, strict=True)) == {
        "finished: 2 trials": 30,
        "stopped after epoch 1: 10 trials": 10,
        "stopped after epoch 4: 15 trials": 60,
    }
    (heat,) = confusion_figure([0, 1, 1, 9], [0, 1, 7, 9], DIGITS).data
    assert heat.text[1][7] == heat.z[1][7] == 1
    assert (heat.text[1][1], heat.z[1][1]) == (1, 0)


def test_without_the_winners_weights(digits_search: Search, tmp_path: Path) -> None:
    """The page says what is missing, and has the rest."""
    shutil.copytree(digits_search.folder, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "studies" / "demo")
    done = runner(tmp_path)("report", "demo", "-o", "r.html")
    assert done.code == 0
    assert re.fullmatch(
        r"the report leaves out .*: its weights are not in .*\nwrote r.html\n", done.err
    )
    text = (tmp_path / "r.html").read_text()
    assert "the winner&#39;s weights are not at hand" in text
    assert "Health checks" in text


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

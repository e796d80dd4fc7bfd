"""Optuna's dashboard with what the tool adds to it, in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from PIL import Image

from nas_mnist.execution.estimates import front
from nas_mnist.execution.records import load_study
from nas_mnist.report.dashboard_extras import study_note, update_dashboard
from nas_mnist.report.figures import FRONT_COLOR
from tests.browser import look, photograph
from tests.conftest import CommandLine, Search, command, runner
from tests.execution.finished import started, url_of, wait_for_complete


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[str]:
    """Run `dashboard`; the address that it says it listens on."""
    process = subprocess.Popen(
        command("dashboard", *arguments, "--port", "0"),
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = process.stderr.readline()
    found = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+/\S*) until Ctrl-C\n", said)
    assert found, said + process.stderr.read()
    try:
        yield found[1]
    finally:
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=30)
        assert (process.returncode, rest) == (130, "")


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return bytes(answer.read())


def blue_pixels(picture: Image.Image) -> int:
    red, green, blue = (int(FRONT_COLOR[place : place + 2], 16) for place in (1, 3, 5))
    return sum(
        count
        for count, color in picture.getcolors(picture.width * picture.height)
        if color == (red, green, blue)
    )


def check_drawn(dom: str, figure: str) -> None:
    box = rf'<div class="[^"]*js-plotly-plot" id="user-defined-plot:{figure}"><div class="plot-cont'
    assert re.search(box, dom), f"{figure} is not drawn"


def test_the_dashboard_in_a_browser(digits_search: Search, tmp_path: Path) -> None:
    record = digits_search.record()
    with served(digits_search.folder, "demo") as page:
        seen = look(page, tmp_path / "study")
        note = look(page + "/note", tmp_path / "note")
        picture = photograph(page, tmp_path)
        root = page.partition("/dashboard")[0]
        number = page.rpartition("/")[2]
        detail = json.loads(fetched(f"{root}/api/studies/{number}"))
        listed = json.loads(fetched(f"{root}/api/studies"))["study_summaries"]
        files = {
            found["filename"]: fetched(f"{root}/artifacts/{number}/{found['artifact_id']}")
            for found in detail["artifacts"]
        }
    assert not seen.console
    assert not note.console
    assert [study["study_name"] for study in listed] == ["demo"]  # and not its reruns
    assert optuna.get_all_study_names(record.storage) == ["demo", "demo.reruns"]
    for trial in detail["trials"]:
        (curve,) = (own["value"] for own in trial["user_attrs"] if own["key"] == "curve")
        epochs = [own["val_accuracy"] for own in json.loads(curve)]
        assert [own["value"] for own in trial["intermediate_values"]] == pytest.approx(epochs)
    check_drawn(seen.dom, "front")
    check_drawn(seen.dom, "learning-curves")
    with pytest.raises(AssertionError, match="nothing is not drawn"):
        check_drawn(seen.dom, "nothing")
    assert "val_accuracy" in seen.dom
    # The front's line, in its own blue: nothing else on the page is of that colour.
    assert blue_pixels(picture) > 100
    for trial in front(record):
        assert trial.notation in note.dom
    results = digits_search.folder / "runs" / "demo"
    assert files == {name: (results / name).read_bytes() for name in ("winner.py", "winner.pt")}


def test_it_shows_a_search_that_runs(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    url = url_of(tmp_path)
    with started(tmp_path, "--trials", "5000", "--workers", "1") as search:  # does not end here
        wait_for_complete(search, url)
        with served(tmp_path, "demo") as page:
            first = look(page + "/note", tmp_path / "first")
            before = said_complete(first.dom)
            wait_for_complete(search, url, before + 4)
            deadline = time.monotonic() + 180
            while said_complete(look(page + "/note", tmp_path / "next").dom) <= before:
                assert time.monotonic() < deadline
            seen = look(page, tmp_path / "study")
        check_drawn(seen.dom, "front")
        assert not first.console + seen.console
        search.send_signal(signal.SIGINT)
        _, err = search.communicate(timeout=60)
    assert search.returncode == 130
    assert "Traceback" not in err


def said_complete(dom: str) -> int:
    found = re.search(r"(\d+) trials completed", dom)
    assert found
    return int(found[1])


def test_dressing_again_replaces(digits_search: Search, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(digits_search.folder, folder)
    record = load_study("demo", f"sqlite:///{folder}/studies/demo.db")

    def artifacts() -> list[str]:
        found = record.study._storage.get_study_system_attrs(record.study_id).items()
        metas = [json.loads(value) for name, value in found if name.startswith("artifacts:")]
        return sorted(meta["filename"] for meta in metas if meta)

    kept = len(list((folder / "studies" / "demo" / "artifacts").iterdir()))
    for _ in range(2):
        update_dashboard(record)
        assert artifacts() == ["winner.pt", "winner.py"]
    record.study.set_user_attr("winner", {**record.study.user_attrs["winner"], "is": "another"})
    update_dashboard(record)
    assert artifacts() == ["winner.pt", "winner.py"]
    assert len(list((folder / "studies" / "demo" / "artifacts").iterdir())) == kept


def test_a_note_before_the_first_trial_has_ended(tmp_path: Path) -> None:
    from nas_mnist.execution.creation import make_study
    from tests.execution.conftest import NORMALIZATION, config

    record = make_study(config(tmp_path), NORMALIZATION)
    update_dashboard(record)
    assert "No trial has completed yet." in study_note(record)


def test_without_its_weights(digits_search: Search, tmp_path: Path) -> None:
    """A database that was copied alone can be looked at all the same."""
    (tmp_path / "studies").mkdir()
    shutil.copy(digits_search.folder / "studies" / "demo.db", tmp_path / "studies")
    study = load_study("demo", f"sqlite:///{tmp_path}/studies/demo.db").study
    study.set_user_attr("winner", None)
    process = subprocess.Popen(
        command("dashboard", "demo", "--port", "0"), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    first, second = process.stderr.readline(), process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert "its weights are not in studies/demo/artifacts" in first
    assert second.startswith("listening on ")


def test_requests_that_are_wrong(digits_search: Search, nas_mnist: CommandLine) -> None:
    done = nas_mnist("dashboard")
    assert (done.code, done.err) == (2, "error: which study? name one, or a --storage\n")
    done = runner(digits_search.folder)("dashboard")
    assert (done.code, done.err) == (2, "error: which study? name one, such as demo\n")
    with served(digits_search.folder, "--storage", "sqlite:///studies/demo.db") as page:
        assert page.endswith("/dashboard/studies/1")
        taken = re.search(r":(\d+)/", page)
        assert taken
        done = runner(digits_search.folder)("dashboard", "demo", "--port", taken[1])
    assert done.code == 1
    assert done.err.endswith("Address already in use; try another\n")

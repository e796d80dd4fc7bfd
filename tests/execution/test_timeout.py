"""A search that is given a time: it stops within it, confirms what it has, and goes on later."""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

import nas_mnist
from nas_mnist.errors import RequestError
from nas_mnist.execution.confirmation import (
    START_SECONDS,
    confirmation_rows,
    confirmation_seconds,
    networks_to_confirm,
)
from nas_mnist.execution.records import Counts, load_study
from nas_mnist.execution.run import run_search
from nas_mnist.execution.spec import SearchConfig, resolve_config, seconds_of
from nas_mnist.execution.supervision import Progress
from nas_mnist.report.progress import time_is_up
from tests.conftest import Search, runner
from tests.execution.finished import (
    DIGITS,
    check_finished,
    started,
    trials,
    url_of,
    wait_for_complete,
)

TINY = (*DIGITS[:-1], "--epochs", "1", "--workers", "2")  # and confirmed
STOPS = 20  # seconds that stopping workers and writing files may take beside a loaded machine


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        *[("90", 90), ("45s", 45), ("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("1d", 86400)],
        *[
            ("1d2h3m4s", 93784),
            ("1.5h", 5400),
            ("1H 30M", 5400),
            ("0.5", 0.5),
            (90, 90),
            (2.5, 2.5),
        ],
    ],
)
def test_times(given: Any, seconds: float) -> None:
    assert seconds_of(given) == seconds
    assert SearchConfig(timeout=given).timeout == seconds


@pytest.mark.parametrize(
    "given",
    [
        "",
        "0",
        "0h",
        "-5",
        "-2h",
        "2x",
        "h",
        "1h30",
        "30m1h",
        "2:00",
        "inf",
        "nan",
        "soon",
        True,
        [],
    ],
)
def test_what_is_no_time(given: Any) -> None:
    with pytest.raises(RequestError) as caught:
        SearchConfig(timeout=given)
    said = f"--timeout {given!r} is not a time above 0 such as 90m, 2h, 1h30m or 600 (seconds)"
    assert str(caught.value) == said


def test_a_time_in_a_preset(tmp_path: Path) -> None:
    preset = tmp_path / "own.toml"
    for text, seconds in (("'1h30m'", 5400), ("600", 600), ("0.5", 0.5)):
        preset.write_text(f"timeout = {text}\n")
        assert resolve_config(preset, {}).timeout == seconds
    assert resolve_config(preset, {"timeout": "2h"}).timeout == 7200
    assert SearchConfig().timeout is None and SearchConfig().deadline() == math.inf
    assert SearchConfig(timeout=60).deadline(5.0) == 65


def test_the_time_left_is_no_more_than_there_is() -> None:
    def left(finished: int, time_left: float) -> float | None:
        counts = Counts(finished, 0, 0, 0, 0)
        return Progress(counts, 10, seconds=60, before=0, time_left=time_left).seconds_left

    assert left(5, math.inf) == 60
    assert (left(5, 90), left(5, 20), left(5, -1)) == (60, 20, 0)
    assert (left(0, 20), left(0, math.inf)) == (20, None)


def test_what_is_said_when_time_is_up() -> None:
    none, some, all_of_them = (Counts(n, 0, 0, 0, 0) for n in (0, 3, 10))
    after = "; the same command goes on"
    runs = Progress(some, 4, 1, 0, epochs=(3, 4), job="confirmation")
    assert time_is_up(Progress(all_of_them, 10, 1, 0)) is None
    said = f"time is up: no trial is complete yet{after}"
    assert time_is_up(Progress(none, 10, 1, 0)) == said
    said = f"time is up: 3 of 10 trials are finished, 3 of 4 confirmation runs are finished{after}"
    assert time_is_up(Progress(some, 10, 1, 0), runs) == said
    assert time_is_up(runs) == f"time is up: 3 of 4 confirmation runs are finished{after}"


def test_room_for_the_confirmation(digits_search: Search) -> None:
    """A fifth more than all runs take by the mean completed trial, shared by the workers."""
    record = digits_search.record()
    complete = record.trials(TrialState.COMPLETE)
    took = [(own.datetime_complete - own.datetime_start).total_seconds() for own in complete]  # type: ignore[operator]
    mean, front = sum(took) / len(took), len(networks_to_confirm(record, record.request()))
    for workers, seeds in ((1, 3), (2, 3), (1, 5)):
        config = record.request(seeds=seeds, workers=workers)
        assert confirmation_seconds(record, config) == pytest.approx(
            1.2 * front * seeds * mean / workers + START_SECONDS
        )
    alone = record.request(seeds=3, workers=100)  # all seeds of a network are one worker's
    assert confirmation_seconds(record, alone) == pytest.approx(1.2 * 3 * mean + START_SECONDS)
    more = record.request(most_accurate=1000, workers=1)
    assert len(networks_to_confirm(record, more)) > front
    assert confirmation_seconds(record, more) > confirmation_seconds(record, record.request())
    assert confirmation_seconds(record, record.request(confirm=False)) == 0


def test_no_time_is_kept_for_reruns(digits_search: Search) -> None:
    """They have what the trials leave, and the confirmation's is kept."""
    record = digits_search.record()
    ask = {"trials": 12, "reruns": 10**4, "timeout": 1000.0}
    for confirm in (False, True):
        config = record.request(**ask, confirm=confirm)
        (*_, last) = run_search(record, config)
        left = 1000 - confirmation_seconds(record, config)
        assert last.done and left - 60 < last.time_left <= left


def test_a_search_ends_within_its_time_and_goes_on(tmp_path: Path) -> None:
    """Confirmed as far as it came; then to the exact total, and nothing is lost."""
    run = runner(tmp_path)
    more = ("--trials", "1000", "--seeds", "1")
    began = time.monotonic()
    done = run(*TINY, *more, "--timeout", "40s")
    assert done.code == 0, done.err
    assert time.monotonic() - began < 40 + STOPS
    found = trials(url_of(tmp_path))
    kept = [trial for trial in found if trial.state.is_finished()]
    assert 0 < len(kept) < 1000
    assert TrialState.RUNNING not in [trial.state for trial in found]
    last = done.err.splitlines()[-1]
    assert last.startswith(f"time is up: {len(kept)} of 1,000 trials are finished")
    assert last.endswith("; the same command goes on")
    assert "confirming " in done.err and "demo: front within" in done.out
    results = tmp_path / "runs" / "demo"
    names = {"front.csv", "front.html", "report.html", "winner.py", "winner.pt", "winner.md"}
    assert {file.name for file in results.iterdir()} == names
    record = load_study("demo", url_of(tmp_path))
    runs = [row for row in confirmation_rows(record).values() if row.state.is_finished()]
    assert runs

    total = str(len(kept) + 3)
    done = run(*TINY, "--trials", total, "--seeds", "1", "--timeout", "10m", "--json")
    assert done.code == 0, done.err
    assert "time is up" not in done.err
    check_finished(url_of(tmp_path), int(total), epochs=1)
    assert [trials(url_of(tmp_path))[trial.number] for trial in kept] == kept
    confirmed = {found["trial"] for found in done.json["confirmed"]}
    assert {trial.number for trial in networks_to_confirm(record, record.request())} <= confirmed

    done = run("confirm", "demo", "--seeds", "5", "--timeout", "0.1", "--json")
    assert done.code == 0, done.err
    assert " confirmation runs are finished; the same command goes on" in done.err
    assert done.json["confirmed"]
    states = {row.state for row in confirmation_rows(record).values()}
    assert states == {TrialState.COMPLETE, TrialState.WAITING}


def test_time_that_is_too_short_for_a_trial(tmp_path: Path) -> None:
    said = "time is up: no trial is complete yet; the same command goes on"
    done = runner(tmp_path)(*TINY, "--trials", "2", "--timeout", "0.01", "--json")
    assert (done.code, done.json["front"]) == (0, [])
    assert done.err.splitlines()[-1] == said
    assert not (tmp_path / "runs").exists()
    own: dict[str, Any] = {
        "budget": 1500,
        "epochs": 1,
        "train_samples": 200,
        "storage": url_of(tmp_path),
    }
    study = nas_mnist.search("digits", trials=2, study="demo", timeout=0.01, progress=False, **own)
    assert (study.front(), study.counts().finished) == ([], 0)
    done = runner(tmp_path)(*TINY, "--trials", "2", "--no-confirm")
    assert done.code == 0, done.err
    check_finished(url_of(tmp_path), 2, epochs=1)


def test_ctrl_c_is_still_an_interrupt(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    with started(tmp_path, "--trials", "60", "--timeout", "1h") as search:
        wait_for_complete(search, url_of(tmp_path))
        search.send_signal(signal.SIGINT)
        _, err = search.communicate(timeout=60)
    assert search.returncode == 130, err
    assert "interrupted: " in err and "time is up" not in err


def test_a_wrong_time_is_one_line(tmp_path: Path) -> None:
    for command in (["search"], ["confirm", "demo"]):
        done = runner(tmp_path)(*command, "--timeout", "2x")
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert done.err.startswith("error: --timeout '2x' is not a time above 0 such as 90m")
    assert not list(tmp_path.iterdir())

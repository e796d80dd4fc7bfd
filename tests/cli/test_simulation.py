"""`curves` and `simulate`, on scikit-learn's digits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from nas_mnist.simulation.curves import read_table
from tests.conftest import CommandLine, command, runner

CURVES = (
    *("curves", "--dataset", "digits", "--budget", "1000", "--epochs", "3", "--networks", "8"),
    *("--train-samples", "300", "-o", "curves.csv"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curves")
    done = runner(folder)(*CURVES)
    assert (done.code, done.out) == (0, ""), done.err
    return folder


def test_the_table(folder: Path) -> None:
    table = read_table(folder / "curves.csv")
    assert (table.budget, table.epochs, len(table.runs)) == (1000, 3, 10)
    assert sorted(len(network.curves) for network in table.networks()) == [1] * 6 + [2] * 2
    assert table.settings["train_samples"] == 300


def test_more_networks_keep_those_recorded(folder: Path) -> None:
    before = read_table(folder / "curves.csv").runs
    done = runner(folder)(*CURVES[:-4], "--networks", "9", *CURVES[-4:])
    assert done.code == 0, done.err
    after = read_table(folder / "curves.csv").runs
    assert len(after) == 11
    assert after.head(10).equals(before)


def test_simulate(folder: Path) -> None:
    done = runner(folder)("simulate", "curves.csv", "-o", "out", "--trials", "8", "--seeds", "2")
    assert done.code == 0, done.err
    assert "dominance" in done.out and "rank correlation" in done.out
    written = {file.name for file in (folder / "out").iterdir()}
    assert written == {
        *("pruners.csv", "pruners.html", "searches.csv", "traces.csv", "searches.html"),
        "surrogate.json",
    }
    assert json.loads((folder / "out" / "surrogate.json").read_text())["networks"] >= 8


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("simulate", "nothing.csv"), 1, "error: nothing.csv: No such file"),
        (("simulate", "nothing.csv", "--figures", "gif"), 2, "must be .html, .png or .svg"),
        (("curves",), 2, "Missing option"),
        (("curves", "-o", "t.csv", "--networks", "2"), 2, "--networks"),
        (("curves", "-o", "t.csv", "--dataset", "cifar"), 2, "is not one of"),
        (("curves", "-o", "studies/t.db"), 2, "is not a file name that ends in .csv"),
        (("simulate", "nothing.csv", "--figures", "../x.svg"), 2, "is not html, png or svg"),
        (("search", "--pruner", "hope"), 2, "--pruner 'hope' is not one of dominance, median"),
    ],
)
def test_bad_requests(
    nas_mnist: CommandLine, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = nas_mnist(*arguments)
    assert done.code == code
    assert message in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("seconds", [0, 0.5, 5], ids=["starting", "importing", "at-work"])
def test_ctrl_c_ends_a_simulation_at_once(folder: Path, tmp_path: Path, seconds: float) -> None:
    """Whatever its own processes are at."""
    process = subprocess.Popen(
        command("simulate", "curves.csv", "-o", str(tmp_path), "--trials", "5000", "--seeds", "3"),
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    surrogate = tmp_path / "surrogate.json"
    while not surrogate.exists() and process.poll() is None:
        time.sleep(0.1)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in errors, errors

"""Whole searches on real data: exact totals, resumed, interrupted, repeated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState

import nas_mnist
from nas_mnist import processes
from nas_mnist.execution.estimates import estimates
from nas_mnist.execution.records import load_study
from nas_mnist.networks.architecture import Limit
from nas_mnist.search.space import DEFAULT
from nas_mnist.training.datasets import data_folder
from tests.conftest import CommandLine, Search, runner
from tests.execution.finished import (
    DIGITS,
    check_finished,
    running_workers,
    started,
    trials,
    url_of,
    wait_for_complete,
)


def test_a_search_ends_whole(digits_search: Search) -> None:
    assert digits_search.finished.code == 0, digits_search.finished.err
    check_finished(url_of(digits_search.folder), 12, epochs=4)


def test_the_front_is_what_no_network_beats_by_estimate(digits_search: Search) -> None:
    record = digits_search.record()
    known = {number: own.mean for number, own in estimates(record).items()}
    sizes = {number: size for number, (size, _) in record.points().items()}
    assert known.keys() == sizes.keys()

    def beats(one: int, other: int) -> bool:
        better = sizes[one] <= sizes[other], known[one] >= known[other]
        return all(better) and (sizes[one], known[one]) != (sizes[other], known[other])

    best = {own for own in known if not any(beats(other, own) for other in known)}
    assert {entry["trial"] for entry in digits_search.finished.json["front"]} == best


def test_optuna_knows_the_constraint(digits_search: Search) -> None:
    for trial in digits_search.record().study.trials:
        assert trial.constraints["parameters"] == trial.user_attrs["parameters"] - 1500


def test_what_a_search_says_and_leaves(digits_search: Search) -> None:
    assert "12/12 trials" in digits_search.finished.err
    assert "unconfirmed" in digits_search.finished.err
    results = digits_search.folder / "runs" / "demo"
    names = {"front.csv", "front.html", "report.html", "winner.py", "winner.pt", "winner.md"}
    assert {file.name for file in results.iterdir()} == names


def test_the_same_command_adds_nothing(digits_search: Search) -> None:
    before = trials(url_of(digits_search.folder))
    again = runner(digits_search.folder)(*digits_search.arguments)
    assert again.code == 0
    assert again.json == digits_search.finished.json
    assert trials(url_of(digits_search.folder)) == before


def test_packs_share_their_topology_and_end_whole(tmp_path: Path) -> None:
    """Trials trained as one: other widths and rates within one topology, each pruned by itself."""
    done = runner(tmp_path)(*DIGITS, "--trials", "15", "--workers", "1", "--pack", "3")
    assert done.code == 0, done.err
    check_finished(url_of(tmp_path), 15)
    found = trials(url_of(tmp_path))
    given = len(DEFAULT.first_points(Limit(1500)))  # each with a topology of its own
    assert 6 < given <= 9
    for first, *others in (found[9:12], found[12:]):
        for other in others:
            shared = DEFAULT.topology_names
            assert {name: other.params[name] for name in shared} == {
                name: first.params[name] for name in shared
            }
            assert other.params["fill"] != first.params["fill"]


def test_trials_are_stopped_by_what_is_predicted(tmp_path: Path) -> None:
    """From the curves and choices of twenty that ended."""
    request = ("--trials", "28", "--workers", "1", "--epochs", "2", "--pruner", "prediction")
    done = runner(tmp_path)(*DIGITS, *request)
    assert done.code == 0, done.err
    check_finished(url_of(tmp_path), 28, epochs=2)
    why = [trial.user_attrs.get("pruned") for trial in trials(url_of(tmp_path))[20:]]
    assert any(why)
    assert all(0 <= one["accuracy"] < one["needed"] <= 100 for one in why if one)


def test_one_seed_gives_one_study(tmp_path: Path) -> None:
    """With one worker, stopped and resumed or not."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder, totals in ((whole, ["12"]), (parts, ["5", "12"])):
        folder.mkdir()
        for total in totals:
            done = runner(folder)(*DIGITS, "--trials", total, "--workers", "1", "--epochs", "1")
            assert done.code == 0, done.err

    def essence(trial: FrozenTrial) -> tuple[object, ...]:
        curve = [{**entry, "seconds": 0} for entry in trial.user_attrs["curve"]]
        return trial.params, trial.state, trial.values, curve

    assert list(map(essence, trials(url_of(whole)))) == list(map(essence, trials(url_of(parts))))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_interrupted_trials_return_to_the_queue(tmp_path: Path, sent: signal.Signals) -> None:
    (tmp_path / "studies").mkdir()
    with started(tmp_path, "--trials", "10", "--workers", "2") as search:
        wait_for_complete(search, url_of(tmp_path))
        search.send_signal(sent)
        out, err = search.communicate(timeout=60)
    assert search.returncode == 130
    assert "demo: front within" in out
    assert "trials are finished; the same command goes on" in err
    assert "Traceback" not in err
    states = [trial.state for trial in trials(url_of(tmp_path))]
    assert TrialState.RUNNING not in states
    assert TrialState.WAITING in states
    kept = [trial for trial in trials(url_of(tmp_path)) if trial.state.is_finished()]

    assert runner(tmp_path)(*DIGITS, "--trials", "10").code == 0
    check_finished(url_of(tmp_path), 10)
    assert [trials(url_of(tmp_path))[trial.number] for trial in kept] == kept


def test_a_worker_that_is_terminated_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    with started(tmp_path, "--trials", "12", "--workers", "2") as search:
        terminated = running_workers(search, url_of(tmp_path))[0]
        os.kill(terminated, signal.SIGTERM)
        _, err = search.communicate(timeout=120)
    assert search.returncode == 0, err
    check_finished(url_of(tmp_path), 12)
    owners = [trial.user_attrs["worker"]["pid"] for trial in trials(url_of(tmp_path))]
    assert owners[-1] != terminated
    assert len({*owners, terminated}) > 2


def test_where_no_process_is_forked(
    nas_mnist: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, where workers import for themselves."""
    monkeypatch.setattr(processes, "_FORKS", False)
    done = nas_mnist(*DIGITS, "--trials", "2", "--workers", "2")
    assert done.code == 0, done.err
    check_finished(url_of(tmp_path), 2)


def test_a_diverging_network_fails_with_its_reason_and_the_search_goes_on(
    nas_mnist: CommandLine, tmp_path: Path
) -> None:
    # Decay by 20 with momentum 0.9 is unstable at peak learning rates over 0.19, about half of
    # the draws (a step is stable up to 2 (1 + momentum) / decay), and 36 steps are enough to tell.
    longer = ("--train-samples", "300", "--epochs", "4")
    done = nas_mnist(*DIGITS, *longer, "--trials", "8", "--recipe", "weight_decay=20")
    assert done.code == 0, done.err
    found = trials(url_of(tmp_path))
    assert all(trial.state.is_finished() for trial in found)
    failed = [trial for trial in found if trial.state == TrialState.FAIL]
    assert 0 < len(failed) < 8
    for trial in failed:
        assert "lower the learning rate" in trial.user_attrs["failed"]
    assert "failed" in done.err


def test_real_mnist_end_to_end(nas_mnist: CommandLine, tmp_path: Path) -> None:
    """The main job, small: search, front, inspect and export of real MNIST networks."""
    done = nas_mnist(
        *("search", "--budget", "8000", "--trials", "3", "--epochs", "2"),
        *("--train-samples", "2000", "--workers", "2", "--no-confirm", "--json"),
    )
    assert done.code == 0, done.err
    record = load_study("mnist-8000", f"sqlite:///{tmp_path}/studies/mnist-8000.db")
    assert record.counts().finished == 3
    assert all(trial.user_attrs["parameters"] <= 8000 for trial in record.trials())
    first = record.trials()[0].user_attrs["notation"]
    assert first == "c10rnx0.01-c20rnx0.01-m2-c10rnx0.01-c20rnx0.01-m2-c12rnx0.01-g-c10k1"

    front = done.json["front"]
    assert nas_mnist("front", "mnist-8000", "--json").json == done.json
    best = front[-1]
    assert best["val_accuracy"] > 50
    inspected = nas_mnist("inspect", f"mnist-8000:{best['trial']}", "--json").json
    assert inspected["parameters"] == best["parameters"]
    assert nas_mnist("export", "mnist-8000", "-o", "made/winner.py").code == 0

    ran = subprocess.run(
        [sys.executable, tmp_path / "made" / "winner.py", data_folder(None)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert ran.stdout == f"{best['test_accuracy']:.2f} % of 10,000 test images\n"


def test_a_search_of_sizes_from_a_smallest(tmp_path: Path) -> None:
    """By a preset; it goes on under the same smallest alone, or none said, also from Python."""
    preset, quick = tmp_path / "own.toml", ("--epochs", "1", "--train-samples", "64")
    preset.write_text('dataset = "digits"\nbudget = 8000\nsmallest = 4000\nstudy = "demo"\n')
    run = runner(tmp_path)
    made = ("search", "--config", str(preset), *quick, "--no-confirm", "--workers", "2")
    done = run(*made, "--trials", "8")
    assert done.code == 0, done.err
    assert run("search", "--study", "demo", "--trials", "10", "--no-confirm").code == 0
    assert run(*made, "--smallest", "4000", "--trials", "12").code == 0
    study = nas_mnist.search(
        "digits", 8000, 14, smallest=4000, epochs=1, train_samples=64, confirm=False,
        study="demo", storage=url_of(tmp_path), progress=False, artifact_dir=str(tmp_path),
    )  # fmt: skip
    assert study.spec.smallest == 4000
    found = trials(url_of(tmp_path))
    assert len(found) == 14 and all(trial.state.is_finished() for trial in found)
    assert min(trial.user_attrs["parameters"] for trial in found) > 3800
    assert min(trial.params["fill"] for trial in found) < 0.55
    said = "made with smallest 4000, not 4001; give the same --smallest to continue it"
    refused = run(*made, "--smallest", "4001")
    assert (refused.code, said in refused.err) == (2, True), refused.err


def test_a_search_without_a_smallest_keeps_to_that(digits_search: Search) -> None:
    done = runner(digits_search.folder)(*digits_search.arguments, "--smallest", "500")
    said = "made with smallest a tenth of the budget, not 500; leave out --smallest to continue"
    assert (done.code, said in done.err) == (2, True), done.err


def test_a_name_alone_goes_on_with_a_study(tmp_path: Path) -> None:
    """With the settings that it was made with, and to the study that they would have given."""
    named, full = tmp_path / "named", tmp_path / "full"
    for folder in (named, full):
        folder.mkdir()
    made = (*DIGITS, "--workers", "1", "--epochs", "1", "--recipe", "batch_size=64")
    run = runner(named)
    assert run(*made, "--trials", "4").code == 0
    resumed = ("search", "--study", "demo", "--workers", "1", "--no-confirm")
    done = run(*resumed, "--trials", "8")
    assert done.code == 0, done.err
    assert runner(full)(*made, "--trials", "8").code == 0
    rows = [
        [(trial.params, trial.state, trial.values) for trial in trials(url_of(folder))]
        for folder in (named, full)
    ]
    assert len(rows[0]) == 8
    assert rows[0] == rows[1]
    for flags, said in (
        (["--budget", "1600"], "made with budget 1500, not 1600; give the same --budget"),
        (["--dataset", "mnist"], "made with dataset digits, not mnist"),
        (["--recipe", "batch_size=32"], "made with recipe batch_size=64, not batch_size=32"),
    ):
        refused = run(*resumed, *flags)
        assert (refused.code, said in refused.err) == (2, True), refused.err
    assert run(*resumed, "--goal", "50").code == 0
    assert load_study("demo", url_of(named)).spec.goal == 50
    assert run(*resumed).code == 0
    assert load_study("demo", url_of(named)).spec.goal == 50

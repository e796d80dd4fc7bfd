"""The confirmation of a digits search: interrupted, gone on with, extended, and quoted."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import statistics
import subprocess
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_mnist.errors import StudyError
from nas_mnist.execution.confirmation import (
    Confirmed,
    choose_run,
    chosen,
    confirmation_seeds,
    confirmed,
    networks_to_confirm,
)
from nas_mnist.execution.estimates import estimates, front
from nas_mnist.execution.optuna_internals import trial_id
from nas_mnist.execution.spec import CONFIRMATION
from nas_mnist.training.datasets import Dataset, first_train_samples
from nas_mnist.training.device import resolve_device, resolve_precision
from nas_mnist.training.runs import train_runs
from tests.conftest import CommandLine, command, runner
from tests.execution.finished import runs_beside, study_in

OPTIONS = ("confirm", "demo", "--seeds", "2", "--workers", "2", "--json")
EPOCHS = 8


def rows(folder: Path) -> list[FrozenTrial]:
    return runs_beside(folder, CONFIRMATION)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search confirmed with a seed, then with another: interrupted on the way, and gone on
    with."""
    folder = tmp_path_factory.mktemp("confirmed")
    done = runner(folder)(
        *("search", "--dataset", "digits", "--study", "demo", "--budget", "1000", "--trials", "3"),
        *("--epochs", str(EPOCHS), "--train-samples", "200", "--pruner", "none", "--no-confirm"),
        *("--workers", "1"),
    )
    assert done.code == 0, done.err
    done = runner(folder)("confirm", "demo", "--seeds", "1", "--workers", "2")
    assert done.code == 0, done.err
    first = rows(folder)
    assert [row.state for row in first] == [TrialState.COMPLETE] * len(front(study_in(folder)))

    # One worker, whose two networks take seconds: a slow look finds it at work.
    second = subprocess.Popen(
        command(*OPTIONS, "--workers", "1"),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and second.poll() is None:
        if any(row.state == TrialState.RUNNING for row in rows(folder)):
            break
        time.sleep(0.1)
    second.send_signal(signal.SIGINT)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 130, err
    assert "what is confirmed is kept" in err and "Traceback" not in err
    kept = [row for row in rows(folder) if row.state.is_finished()]
    assert kept[: len(first)] == first
    unfinished = [row.state for row in rows(folder) if not row.state.is_finished()]
    assert set(unfinished) == {TrialState.WAITING}

    done = runner(folder)(*OPTIONS)
    assert done.code == 0, done.err
    assert [rows(folder)[row.number] for row in kept] == kept
    return folder


@pytest.fixture(scope="module")
def networks(folder: Path) -> list[Confirmed]:
    return confirmed(study_in(folder))


def test_every_network_of_the_front_is_confirmed(folder: Path, networks: list[Confirmed]) -> None:
    record = study_in(folder)
    assert [found.trial for found in networks] == front(record)
    seeds = confirmation_seeds(record.spec.seed, 2)
    assert not set(seeds) & {trial.seed for trial in record.complete()}
    for found in networks:
        assert [run.seed for run in found.runs] == seeds
        for run in found.runs:
            assert [entry["epoch"] for entry in run.curve] == [*range(1, EPOCHS + 1)]
            assert run.last4_min == min(entry["test_accuracy"] for entry in run.curve[-4:])
    assert len(rows(folder)) == 2 * len(networks)


def test_a_network_that_diverged_with_every_seed(folder: Path, tmp_path: Path) -> None:
    """It is not "not yet" confirmed, and no command is named that would do nothing."""
    shutil.copytree(folder, tmp_path / "copy")
    run, winner = runner(tmp_path / "copy"), chosen(study_in(folder)).trial.number
    lost = [row._trial_id for row in rows(folder) if row.user_attrs["trial"] == winner]
    with sqlite3.connect(tmp_path / "copy" / "studies" / "demo.db") as database:
        marks = ", ".join("?" * len(lost))
        database.execute(f"UPDATE trials SET state = 'FAIL' WHERE trial_id IN ({marks})", lost)
    for arguments in (("front", "demo"), ("front", "demo", "--all")):
        said = run(*arguments).out
        assert "2 diverged" in said and "not yet" not in said
    done = run("export", "demo", "-o", "w.py")
    assert "in one run, unconfirmed: it diverged with 2 fresh seeds" in done.err
    assert "one run, it diverged with 2 fresh seeds" in (tmp_path / "copy" / "w.py").read_text()
    assert "with 2 fresh seeds the network diverged" in (tmp_path / "copy" / "w.md").read_text()


def test_what_is_quoted(folder: Path, networks: list[Confirmed]) -> None:
    values = runner(folder)("front", "demo", "--json").json
    assert len(values["confirmed"]) == len(networks)
    for entry, found in zip(values["confirmed"], networks, strict=True):
        finals = [run.curve[-1]["test_accuracy"] for run in found.runs]
        assert entry["seeds"] == 2
        assert entry["test_accuracy_mean"] == pytest.approx(statistics.mean(finals))
        assert entry["test_accuracy_sd"] == pytest.approx(statistics.stdev(finals))
        assert entry["gap"] == pytest.approx(entry["test_accuracy_mean"] - entry["expected_test"])
        lowest = min(epoch["test_accuracy"] for run in found.runs for epoch in run.curve[-4:])
        assert entry["last4_min"] == lowest
        assert entry["goal_met"] is None  # the digits have none unless one is asked for
        assert replace(found, goal=lowest).goal_met is True
        assert replace(found, goal=lowest + 0.01).goal_met is False
    table = runner(folder)("front", "demo", "--all").out
    assert "confirmed test %" in table and "unconfirmed" not in table and "goal" not in table
    assert f"{networks[0].mean:.2f} ± {networks[0].sd:.2f}" in table


def test_a_run_is_that_of_its_seed(
    networks: list[Confirmed], folder: Path, digits: Dataset
) -> None:
    """Trained again from the record alone, on as many images as a trial."""
    record, found = study_in(folder), networks[-1]
    device = resolve_device("cpu")
    digits = first_train_samples(digits, 200)
    recipe = record.spec.trial_recipe(found.trial.peak_learning_rate)
    precision = resolve_precision("auto", device)
    for run in found.runs:
        # By itself, as it was confirmed: a pack rounds otherwise.
        *_, (again,) = train_runs(found.architecture, recipe, digits, [run.seed], device, precision)
        assert run.test_accuracy == pytest.approx(again.test_accuracy, abs=1e-3)
        losses = [entry["train_loss"] for entry in run.curve]
        assert losses == pytest.approx([entry.train_loss for entry in again.curve], abs=1e-5)


def test_more_seeds_add_what_is_missing(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    before = rows(copy)
    study, elsewhere = study_in(copy).study, str(tmp_path / "elsewhere")
    hostile = {**study.user_attrs["config"], "results_dir": elsewhere, "artifact_dir": elsewhere}
    study.set_user_attr("config", hostile)
    done = runner(copy)("confirm", "demo", "--seeds", "3", "--workers", "1", "--json")
    assert done.code == 0, done.err
    assert [entry["seeds"] for entry in done.json["confirmed"]] == [3] * (len(before) // 2)
    after = rows(copy)
    assert after[: len(before)] == before
    assert len(after) == len(before) * 3 // 2
    again = runner(copy)("confirm", "demo", "--seeds", "3", "--json")
    assert again.json == done.json
    assert rows(copy) == after
    assert not Path(elsewhere).exists()  # a database does not say where to write


def test_networks_beside_the_front(folder: Path, tmp_path: Path) -> None:
    """The most accurate are confirmed too, whatever their size, and shown for what they are."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    record = study_in(copy)
    of_front = [trial.number for trial in front(record)]
    beside = {trial.number for trial in record.complete()} - set(of_front)
    assert beside, "every trial is on the front: this shows nothing"
    before = rows(copy)
    done = runner(copy)("confirm", "demo", "--seeds", "2", "--most-accurate", "4", "--json")
    assert done.code == 0, done.err
    assert f"confirming {len(of_front) + len(beside)} networks with 2 seeds" in done.err
    assert rows(copy)[: len(before)] == before
    values = done.json
    assert [entry["trial"] for entry in values["front"]] == of_front
    sizes = [entry["parameters"] for entry in values["confirmed"]]
    assert sizes == sorted(sizes)
    assert {e["trial"] for e in values["confirmed"] if not e["on_front"]} == beside
    assert {entry["seeds"] for entry in values["confirmed"]} == {2}
    said = runner(copy)("front", "demo", "--csv", "front.csv").out
    assert all(f"{number}*" in said for number in beside)
    assert "*: not on the search's front" in said
    assert len((copy / "front.csv").read_text().splitlines()) == 1 + len(sizes)
    # The winner is whoever is most accurate by validation.
    assert chosen(record).trial == chosen(study_in(folder)).trial


def test_networks_that_are_asked_for_come_first(folder: Path) -> None:
    """So a confirmation that is stopped has them, however many others are of the front."""
    record = study_in(folder)
    usual = [trial.number for trial in networks_to_confirm(record, record.request())]
    assert len(usual) > 1
    asked = record.request(confirm_trials=(usual[-1],))
    assert [own.number for own in networks_to_confirm(record, asked)] == [usual[-1], *usual[:-1]]


def test_the_exported_winner_is_the_first_seeds(folder: Path, networks: list[Confirmed]) -> None:
    done = runner(folder)("export", "demo", "-o", "made/best.py")
    assert done.code == 0, done.err
    known = estimates(study_in(folder))
    best = max(networks, key=lambda found: known[found.trial.number].mean)
    text = (folder / "made" / "best.py").read_text()
    assert f"trial {best.trial.number}, confirmed with seed {best.runs[0].seed}" in text
    assert f"{best.mean:.2f} ± {best.sd:.2f} % over 2 seeds" in text
    assert f"test:       {best.runs[0].test_accuracy:.2f} % with this seed" in text
    weights = folder / "studies" / "demo" / "artifacts" / best.runs[0].weights
    assert (folder / "made" / "best.pt").read_bytes() == weights.read_bytes()


def test_the_winner_need_not_be_confirmed(
    folder: Path, networks: list[Confirmed], tmp_path: Path
) -> None:
    """A search that has gone on may have found a better one."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    best = networks[-1].trial
    with closing(sqlite3.connect(copy / "studies" / "demo.db")) as database, database:
        for row in rows(copy):
            if row.user_attrs["trial"] == best.number:
                one = f"WHERE trial_id = {trial_id(row)}"
                database.execute(f"UPDATE trials SET state = 'WAITING' {one}")
    record = study_in(copy)
    assert [found.trial for found in confirmed(record)] == [own.trial for own in networks[:-1]]
    winner = chosen(record)
    assert winner.trial == chosen(study_in(folder)).trial == best and not winner.confirmed
    done = runner(copy)("export", "demo", "-o", "w.py")
    assert done.code == 0, done.err
    assert f"unconfirmed: `nas-mnist confirm demo --trial {best.number}` retrains it" in done.err


def test_the_smallest_of_an_accuracy(folder: Path, networks: list[Confirmed]) -> None:
    record = study_in(folder)
    known = estimates(record)
    best = known[networks[-1].trial.number]
    sure = [found for found in networks if known[found.trial.number].probability(10) >= 0.9]
    assert chosen(record, at_least=10).trial == sure[0].trial
    with pytest.raises(StudyError, match="on validation images with 90% probability"):
        chosen(record, at_least=best.mean)  # as likely as not
    assert chosen(record, trial=front(record)[0].number).confirmed == networks[0]
    done = runner(folder)("export", "demo", "-o", "w.py", "--at-least", "100")
    assert done.code == 2
    assert "no network that has 100% on validation images with 90% probability" in done.err


def test_a_search_confirms_at_its_end(nas_mnist: CommandLine, tmp_path: Path) -> None:
    done = nas_mnist(
        *("search", "--dataset", "digits", "--study", "demo", "--budget", "1200", "--trials", "2"),
        *("--epochs", "1", "--train-samples", "200", "--seeds", "2", "--workers", "1", "--json"),
    )
    assert done.code == 0, done.err
    assert "confirming" in done.err and "on 200 training images" in done.err
    assert {entry["seeds"] for entry in done.json["confirmed"]} == {2}
    lines = (tmp_path / "runs" / "demo" / "front.csv").read_text().splitlines()
    assert len(lines) == 1 + len(done.json["confirmed"])
    columns = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    mean = done.json["confirmed"][0]["test_accuracy_mean"]
    assert float(columns["test_accuracy_mean"]) == pytest.approx(mean, abs=1e-3)
    winner = (tmp_path / "runs" / "demo" / "winner.py").read_text()
    assert "over 2 seeds" in winner


def test_a_run_goes_to_who_trains_its_network() -> None:
    """Two processes take networks of their own; a third helps where runs are left."""
    wanted = [(7, 1, 0), (7, 2, 0), (3, 1, 0), (3, 2, 0)]
    trials = []
    for number, seed, _ in [*wanted, (7, 1, 0), (9, 1, 0)]:
        trial = create_trial(state=TrialState.WAITING, user_attrs={"trial": number, "seed": seed})
        trials.append(trial)
    for place, trial in enumerate(trials):
        trial.number = place

    def take(network: int | None) -> int | None:
        found = choose_run(trials, wanted, network)
        if found is not None:
            found.state = TrialState.RUNNING
        return None if found is None else found.number

    assert take(None) == 0
    assert take(None) == 2  # not 1: another has network 7
    assert take(7) == 1
    assert take(7) is None
    assert take(None) == 3
    assert take(None) is None  # neither the duplicate nor the network that nobody wants


def test_bad_requests(nas_mnist: CommandLine, tmp_path: Path) -> None:
    for arguments, code, message in (
        (("confirm", "nosuch"), 2, "no such file"),
        (("confirm", "demo", "--seeds", "0"), 2, "--seeds"),
        (("confirm", "demo", "--most-accurate", "-1"), 2, "--most-accurate"),
        (("search", "--most-accurate", "2000"), 2, "--most-accurate 2,000 is not within 0"),
        (("search", "--study", "demo" + CONFIRMATION), 2, "reserved"),
    ):
        done = nas_mnist(*arguments)
        assert (done.code, len(done.err.splitlines())) == (code, 1), done.err
        assert message in done.err


def test_other_images_are_refused(folder: Path, tmp_path: Path) -> None:
    """A front is confirmed on the images that it was found on."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    record = study_in(copy)
    record.study.set_user_attr("normalization", [0.1, 0.2])
    for asked in (("confirm", "demo"), ("search", "--study", "demo", "--trials", "1000")):
        done = runner(copy)(*asked)
        assert done.code == 2
        assert "was made on other images of digits; give the same --data-dir" in done.err
    assert len(study_in(copy).trials()) < 1000


def test_a_confirmation_is_that_which_the_search_was_asked_for(tmp_path: Path) -> None:
    """`confirm` alone confirms as many beside the front as the search would have."""
    runner(tmp_path)(
        *("search", "--dataset", "digits", "--study", "demo", "--budget", "1500", "--trials", "4"),
        *("--epochs", "1", "--train-samples", "200", "--most-accurate", "4", "--no-confirm"),
    )
    done = runner(tmp_path)("confirm", "demo", "--seeds", "1", "--json")
    assert done.code == 0, done.err
    complete = done.json["trials"]["complete"]
    assert len(done.json["confirmed"]) == complete > len(done.json["front"])


def test_a_confirmation_has_as_many_images_as_a_trial_unless_told(folder: Path) -> None:
    """So that its gap compares like with like; and then those on more images count."""
    assert {row.user_attrs["images"] for row in rows(folder)} == {200}
    before = confirmed(study_in(folder))
    assert {found.images for found in before} == {200}
    done = runner(folder)(*OPTIONS, "--seeds", "1", "--confirm-samples", "300")
    assert done.code == 0, done.err
    assert "on 300 training images" in done.err
    after = confirmed(study_in(folder))
    assert {found.images for found in after} == {300}
    assert [found.trial for found in after] == [found.trial for found in before]

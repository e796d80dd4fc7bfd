"""Reruns: what a search does beside its trials to choose by more than luck."""

from __future__ import annotations

import random
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_mnist.execution.estimates import estimates, front, next_rung
from nas_mnist.execution.optuna_internals import trial_id
from nas_mnist.execution.reruns import (
    finished_reruns,
    mean_accuracies,
    rerun_rows,
    settle_rung,
    settled_rungs,
)
from nas_mnist.execution.spec import RERUNS
from nas_mnist.search.sampler import SearchSampler
from nas_mnist.search.selection import rungs
from nas_mnist.search.space import DEFAULT
from nas_mnist.training.datasets import Dataset, split_dataset
from nas_mnist.training.pack import Member, Pack
from nas_mnist.training.recipe import derived_seed
from tests.conftest import command, runner
from tests.execution.finished import runs_beside, study_in
from tests.execution.test_survival import kill, kill_some, workers_of

TRIALS, TOTAL = 9, 10
SEARCH = (
    *("search", "--dataset", "digits", "--budget", "1500", "--epochs", "2", "--study", "demo"),
    *("--train-samples", "200", "--no-confirm", "--pruner", "none", "--trials", str(TRIALS)),
)


def rows(folder: Path) -> list[FrozenTrial]:
    return runs_beside(folder, RERUNS)


@pytest.fixture(scope="module")
def trials_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trials")
    done = runner(folder)(*SEARCH, "--reruns", "0")
    assert done.code == 0, done.err
    assert "rerun" not in done.err
    return folder


@pytest.fixture(scope="module")
def folder(trials_alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The search gone on with, for its reruns."""
    folder = tmp_path_factory.mktemp("reruns") / "copy"
    shutil.copytree(trials_alone, folder)
    done = runner(folder)(*SEARCH, "--reruns", str(TOTAL))
    assert done.code == 0, done.err
    assert f"{TOTAL} reruns of networks that one run leaves in doubt" in done.err
    assert f"reruns: {TOTAL}/{TOTAL} runs" in done.err
    return folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


def check_reruns(folder: Path, total: int) -> None:
    """Exactly so many, each once, in settled rungs, as they were settled."""
    record, found = study_in(folder), rows(folder)
    keys = [(row.user_attrs["trial"], row.user_attrs["run"]) for row in found]
    assert len(set(keys)) == len(keys) == total
    assert {row.state for row in found} == {TrialState.COMPLETE}
    settled = settled_rungs(record)
    assert [key for rung in settled for key in rung.runs] == keys
    assert sum(len(rung.runs) for rung in settled) == total
    for trial, runs in Counter(trial for trial, _ in keys).items():
        assert {run for number, run in keys if number == trial} == set(range(1, runs + 1))
    known = {trial.number: trial for trial in record.complete()}
    for row in found:
        attrs, trial = row.user_attrs, known[row.user_attrs["trial"]]
        assert attrs["seed"] == derived_seed(trial.seed, attrs["run"])
        assert attrs["notation"] == trial.notation
        assert [entry["epoch"] for entry in attrs["curve"]] == [1, 2]
        assert row.values == [attrs["curve"][-1]["val_accuracy"]]
        assert "test_accuracy" not in attrs and "weights" not in attrs


def test_they_stand_beside_the_trials(folder: Path, trials_alone: Path) -> None:
    check_reruns(folder, TOTAL)
    before, after = study_in(trials_alone), study_in(folder)
    assert [t.user_attrs for t in after.trials()] == [t.user_attrs for t in before.trials()]
    assert [len(rung.runs) for rung in settled_rungs(after)] == [runs for runs, _ in rungs(TOTAL)]
    values = runner(folder)("front", "demo", "--json").json
    assert values["reruns"] == TOTAL and values["trials"]["complete"] == TRIALS
    own = estimates(after)
    counts = Counter(run.trial for run in finished_reruns(after))
    assert {number: found.runs - 1 for number, found in own.items() if found.runs > 1} == counts
    assert [trial.number for trial in front(after)] == [e["trial"] for e in values["front"]]


def test_one_is_that_of_its_seed_and_fold(folder: Path, digits: Dataset) -> None:
    record = study_in(folder)
    row = max(rows(folder), key=lambda row: row.user_attrs["run"])
    trial, run = row.user_attrs["trial"], row.user_attrs["run"]
    assert run > 1
    train, held_out = split_dataset(digits, record.spec.seed, 200, fold=run % 6)
    (own,) = record.records([trial])
    recipe = record.spec.trial_recipe(own.peak_learning_rate)
    member = Member(own.architecture, recipe, derived_seed(own.seed, run))
    precision = getattr(torch, record.trials()[trial].user_attrs["precision"])
    where = {"device": torch.device("cpu"), "precision": precision}
    pack = Pack([member], train, held_out, normalization=digits.normalization, **where)
    accuracies = [round(outcomes[0].accuracy, 6) for outcomes in pack]
    assert accuracies == [entry["val_accuracy"] for entry in row.user_attrs["curve"]]


@pytest.mark.parametrize("count", [6, 7, 1000])
def test_every_image_is_held_out_once(digits: Dataset, count: int) -> None:
    some = replace(digits, train=digits.train.at(torch.arange(count)))
    folds = [split_dataset(some, 3, None, fold) for fold in range(6)]
    held_out = torch.cat([held.images for _, held in folds])
    assert len(held_out) == 6 * (count // 6)
    for train, held in folds:
        assert len(train) + len(held) == count


def test_more_of_them_add_to_those(copy: Path) -> None:
    before = rows(copy)
    done = runner(copy)("search", "--study", "demo", "--no-confirm", "--reruns", str(TOTAL + 3))
    assert done.code == 0, done.err
    assert rows(copy)[:TOTAL] == before
    check_reruns(copy, TOTAL + 3)
    done = runner(copy)("search", "--study", "demo", "--no-confirm", "--reruns", "2")
    assert done.code == 0, done.err  # there are more: none is taken away
    check_reruns(copy, TOTAL + 3)


def test_a_search_goes_on_and_sees_the_means(copy: Path) -> None:
    """More trials after reruns: the sampler is shown the mean of a network's runs."""
    means = mean_accuracies(study_in(copy))
    assert means.keys() == {run.trial for run in finished_reruns(study_in(copy))}
    done = runner(copy)(*SEARCH[:-1], str(TRIALS + 2), "--reruns", str(TOTAL))
    assert done.code == 0, done.err
    record = study_in(copy)
    assert record.counts().complete == TRIALS + 2
    draws = []
    upside_down = {number: 100 - accuracy for number, (_, accuracy) in record.points().items()}
    for shown in ({}, means, upside_down):
        sampler = SearchSampler("tpe", 0, DEFAULT, record.spec.limit(), means=shown)
        study = optuna.load_study(study_name="demo", storage=record.storage, sampler=sampler)
        running = create_trial(state=TrialState.RUNNING)
        running.number = TRIALS + 2
        draws.append(sampler.sample_relative(study, running, {}))
    assert len({str(draw) for draw in draws}) > 1


def test_killed_at_random_moments(trials_alone: Path, tmp_path: Path) -> None:
    """No rerun is lost or run twice, and the total is exact."""
    folder = tmp_path / "copy"
    shutil.copytree(trials_alone, folder)
    seed = random.SystemRandom().randrange(10**6)
    chance, moments, killed, runs = random.Random(seed), 0, 0, 0
    kept: dict[int, FrozenTrial] = {}
    more = ("--reruns", "14", "--workers", "3")
    while moments < 8:
        errors = folder / f"errors-{runs}"
        with (
            errors.open("w") as file,
            subprocess.Popen(
                command(*SEARCH, *more), cwd=folder, stdout=file, stderr=file
            ) as search,
        ):
            while search.poll() is None and moments < 8:
                time.sleep(chance.uniform(0.5, 4))
                some = 0 if search.poll() is not None else kill_some(search, folder, chance)
                killed, moments = killed + some, moments + bool(some)
            kill(search.pid)
            search.wait()
        runs += 1
        if search.returncode == 0:
            break
        done = {row.number: row for row in finished(folder)}
        assert {number: done.get(number) for number in kept} == kept
        kept = done
    done = runner(folder)(*SEARCH, *more)
    assert done.code == 0, done.err
    check_reruns(folder, 14)
    assert {number: rows(folder)[number] for number in kept} == kept
    print(f"seed {seed}: {killed} processes killed at {moments} moments, {len(kept)} of 14 kept")


def finished(folder: Path) -> list[FrozenTrial]:
    try:
        return [row for row in rows(folder) if row.state.is_finished()]
    except KeyError:
        return []


def test_two_searches_share_them(trials_alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trials_alone, folder)
    more = ("--reruns", "6", "--workers", "1")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": folder}
    both = [subprocess.Popen(command(*SEARCH, *more), **pipes) for _ in range(2)]  # type: ignore[call-overload]
    for search in both:
        _, err = search.communicate(timeout=240)
        assert search.returncode == 0, err
    found = [row for row in rows(folder) if row.state.is_finished()]
    keys = {(row.user_attrs["trial"], row.user_attrs["run"]) for row in found}
    assert len(found) == len(keys) == 6


def test_ctrl_c_gives_them_back(trials_alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trials_alone, folder)
    with subprocess.Popen(
        command(*SEARCH, "--reruns", "30"), cwd=folder, stderr=subprocess.PIPE, text=True
    ) as search:
        deadline = time.monotonic() + 120
        while not finished(folder):
            assert search.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        search.send_signal(signal.SIGINT)
        _, err = search.communicate(timeout=60)
    assert search.returncode == 130, err
    assert re.search(r"trials are finished, and \d+ of 30 reruns; the same command goes on", err)
    assert "Traceback" not in err
    assert not workers_of(folder)
    assert {row.state for row in rows(folder)} <= {TrialState.COMPLETE, TrialState.WAITING}


def test_what_diverges_once_is_not_relied_on(copy: Path) -> None:
    record = study_in(copy)
    best = front(record)[-1].number
    assert next_rung(record, TOTAL) is None  # all are done
    for row in rerun_rows(record).values():
        if row.user_attrs["trial"] == best:
            with sqlite3.connect(copy / "studies" / "demo.db") as database:
                one = f"WHERE trial_id = {trial_id(row)}"
                database.execute(f"UPDATE trials SET state = 'FAIL' {one}")
    record = study_in(copy)
    if any(row.user_attrs["trial"] == best for row in rows(copy)):
        assert best not in [trial.number for trial in front(record)]
        rung = next_rung(record, TOTAL + 5)
        assert rung is not None and best not in [trial for trial, _ in rung.runs]


def test_a_rung_is_settled_once(copy: Path) -> None:
    """Two machines may come to different ones: the first counts."""
    record = study_in(copy)
    rung = next_rung(record, TOTAL + 5)
    assert rung is not None
    settle_rung(record, rung)
    assert next_rung(record, TOTAL + 5) is None  # it is not run yet
    settled = settled_rungs(record)
    assert settled[-1] == rung
    settle_rung(record, rung._replace(runs=[(0, 99)]))
    assert settled_rungs(record) == settled


def test_names_and_numbers_that_are_refused(tmp_path: Path) -> None:
    run = runner(tmp_path)
    for arguments, message in (
        (("search", "--reruns", "-1"), "--reruns -1"),
        (("search", "--reruns", "x"), "--reruns must be a whole number"),
        (("search", "--study", "demo.reruns"), "names ending in .reruns are reserved"),
        (("front", "demo.reruns"), "names ending in .reruns are reserved"),
    ):
        done = run(*arguments)
        assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
        assert message in done.err

"""`reproduce`: real training of small lifecycles, stopped, gone on with, and never written over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nas_mnist.errors import DataError, RequestError
from nas_mnist.networks.references import references, steps
from nas_mnist.report.lifecycle_table import read_reproduced
from nas_mnist.training.runs import (
    Reproduced,
    Run,
    analysis,
    left_out,
    lifecycle_steps,
    step_recipe,
)
from nas_mnist.training.trainer import EpochRecord
from tests.conftest import CommandLine, runner

SMALL = (
    *("reproduce", "s7-8k", "--dataset", "digits", "--train-samples", "256", "--epochs", "2"),
    *("--most-parameters", "7500", "--workers", "2"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lifecycle")
    done = runner(folder)(*SMALL, "--json")
    assert done.code == 0, done.err
    (folder / "out.json").write_text(done.out)
    return folder


def test_published_beside_measured(folder: Path) -> None:
    values = json.loads((folder / "out.json").read_text())
    kept = json.loads((folder / "runs" / "s7-8k" / "steps.json").read_text())
    assert values == kept
    by_number = {step["step"]: step for step in values["steps"]}
    assert sorted(by_number) == list(range(1, 10))
    trained = [number for number, step in by_number.items() if "runs" in step]
    assert trained == [6]  # the only one of at most 7,500 parameters
    step = by_number[6]
    assert step["published"]["test_accuracy"] is None  # MNIST's; these are digits
    assert step["published"]["parameters"] == 7430
    assert step["measured"]["test_images"] == 359
    assert step["measured"]["parameters"] == 7430
    curve = step["runs"][0]["curve"]
    assert [entry["epoch"] for entry in curve] == [1, 2]
    last = curve[-1]["test_accuracy"]
    assert step["measured"]["test_accuracy_mean"] == pytest.approx(last, abs=1e-5)
    best = max(entry["test_accuracy"] for entry in curve)
    assert step["measured"]["test_accuracy_best"] == pytest.approx(best, abs=1e-5)
    assert by_number[1]["left_out"] == "left out: over 7,500 parameters"
    table = (folder / "runs" / "s7-8k" / "table.md").read_text().splitlines()
    assert len(table) == 2 + 9
    assert f"|  | {best:.2f} |" in table[2 + 5]


def test_it_goes_on_where_it_was(folder: Path) -> None:
    before = json.loads((folder / "out.json").read_text())
    done = runner(folder)(*SMALL[:-4], "--most-parameters", "7700", "--workers", "1", "--json")
    assert done.code == 0, done.err
    assert "1 step trained, 1 to go" in done.err
    after = {step["step"]: step for step in done.json["steps"]}
    assert after[6]["runs"] == before["steps"][5]["runs"]
    assert "runs" in after[3]
    assert "against step 3" in after[6]["analysis"]
    again = runner(folder)(*SMALL, "--json")
    assert again.code == 0, again.err
    assert "2 steps trained, 0 to go" in again.err
    assert "left out: over 7,500" in again.err
    assert again.json["steps"][2]["runs"] == after[3]["runs"]  # not asked for, and not lost


def test_a_step_that_another_lifecycle_shares_is_trained_once(folder: Path) -> None:
    def reproduced(said: str, *arguments: str) -> dict[str, Any]:
        limit = "--most-parameters", "7500", "--workers", "2", "--json"
        done = runner(folder)("reproduce", *arguments, *SMALL[2:6], *limit)
        assert done.code == 0, done.err
        assert said in done.err
        return next(step for step in done.json["steps"] if "runs" in step)

    def without_times(step: dict[str, Any]) -> list[list[dict[str, Any]]]:
        times = {"seconds"}
        return [
            [{own: entry[own] for own in entry.keys() - times} for entry in run["curve"]]
            for run in step["runs"]
        ]

    new, shared = "0 steps trained, 1 to go", "1 step trained, 0 to go"
    first = reproduced(new, "early-14k", "--epochs", "3", "--seeds", "2")
    alike = reproduced(shared, "early-20k", "--epochs", "3", "--seeds", "2")
    assert first["network"] == alike["network"] == "gap-6070"
    assert first["runs"] == alike["runs"]
    assert first["published"]["test_accuracy"] == alike["published"]["test_accuracy"] is None
    # At a constant rate, shorter training is how longer begins; and two seeds have one.
    begun = reproduced(shared, "a7-8k", "--epochs", "2", "--seeds", "1")
    assert [len(run["curve"]) for run in begun["runs"]] == [2, 2]
    elsewhere = "--results-dir", "elsewhere"
    anew = reproduced(new, "a7-8k", "--epochs", "2", "--seeds", "2", *elsewhere)
    assert without_times(begun) == without_times(anew)
    assert begun["trained"] == anew["trained"]
    shutil.rmtree(folder / "runs" / "a7-8k")
    reproduced(new, "a7-8k", "--epochs", "4")  # longer than any kept


def test_other_settings_do_not_write_over_it(folder: Path) -> None:
    file = folder / "runs" / "s7-8k" / "steps.json"
    before = file.read_text()
    done = runner(folder)(*SMALL, "--seeds", "2")
    assert done.code == 2
    assert "under other settings" in done.err
    assert len(done.err.splitlines()) == 1
    assert file.read_text() == before


def test_its_steps_are_read_again(folder: Path) -> None:
    file = folder / "runs" / "s7-8k" / "steps.json"
    found = read_reproduced([file], "digits")
    kept = {step["step"]: step for step in json.loads(file.read_text())["steps"] if "runs" in step}
    assert [step.step.number for step in found] == list(kept)
    for step in found:
        measured = kept[step.step.number]["measured"]
        assert step.test_mean == pytest.approx(measured["test_accuracy_mean"], abs=1e-5)
    with pytest.raises(RequestError, match="was trained on digits, not on mnist"):
        read_reproduced([file], "mnist")
    with pytest.raises(DataError, match=r"not a steps\.json that `reproduce` kept"):
        read_reproduced([folder / "runs" / "s7-8k" / "table.md"], "digits")


@pytest.mark.parametrize(
    ("found", "damage"),
    [
        ('"rotation": 0.0', '"rotation": NaN'),
        ('"learning_rate": ', '"learning_rate": null, "rate": '),
        ('"lifecycle": ', '"life": '),
        ('"curve": [', '"curve": [null, '),
        ('"trained": {', '"trained": [], "was": {'),
    ],
)
def test_steps_that_are_damaged(folder: Path, tmp_path: Path, found: str, damage: str) -> None:
    whole = (folder / "runs" / "s7-8k" / "steps.json").read_text()
    assert found in whole
    file = tmp_path / "steps.json"
    file.write_text(whole.replace(found, damage))
    with pytest.raises(DataError, match=r"steps\.json: not a steps\.json that `reproduce` kept"):
        read_reproduced([file], "digits")


def test_bad_requests(nas_mnist: CommandLine, tmp_path: Path) -> None:
    done = nas_mnist("reproduce", "nosuch")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "there are a7-8k, early-14k" in done.err
    (tmp_path / "runs" / "a7-8k").mkdir(parents=True)
    (tmp_path / "runs" / "a7-8k" / "steps.json").write_text("{")
    done = nas_mnist("reproduce", "a7-8k")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "not a steps.json that `reproduce` kept" in done.err


def test_every_step_has_a_recipe_or_a_reason() -> None:
    for step in steps():
        recipe = step_recipe(step)
        assert recipe.epochs in (15, 20)
        if "rotation" in step.recipe and step.reference:
            assert recipe.augmentation.rotation > 0, step
        if not step.recipe and (step.lifecycle, step.number) != ("a7-8k", 8):
            assert recipe == step_recipe(lifecycle_steps(step.lifecycle)[0])
        reason = left_out(step, None)
        assert (reason is None) == (step.reference is not None)
    assert left_out(steps()[0], 20_000) == "left out: over 20,000 parameters"


def test_analysis_says_what_was_measured() -> None:
    def reproduced(number: int, train: float, tests: list[float]) -> Reproduced:
        step = lifecycle_steps("a7-8k")[number - 1]
        assert step.reference is not None
        curve = [
            EpochRecord(epoch, 0.01, 0.1, train, test, 1.0)
            for epoch, test in enumerate(tests, start=1)
        ]
        architecture = references()[step.reference].architecture
        return Reproduced(step, architecture, step_recipe(step), (Run(0, curve),))

    lighter = reproduced(3, 98.5, [98.0, 98.4])
    norm = reproduced(4, 99.9, [99.3, 99.0])
    assert analysis(lighter, None) == (
        "train 0.10 above test: hardly over-fits; under-fits: train below 99"
    )
    assert analysis(norm, lighter) == (
        "test +0.60 against step 3 (more than chance) with +180 parameters; "
        "over-fits: train 0.90 above test; unsteady: its best epoch is 0.30 above its last"
    )

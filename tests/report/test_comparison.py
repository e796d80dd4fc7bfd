"""Two published studies side by side."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from statistics import fmean, variance
from typing import Any

import pytest
from scipy.stats import t

from nas_mnist.execution.confirmation import candidates, confirmed
from nas_mnist.execution.records import StudyRecord, load_study
from nas_mnist.report.comparison import Comparison, Welch
from tests.conftest import CommandLine, Search, runner

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two searches of 64 trials: one that confirmed its front with five seeds, and one that did
    not."""
    folder = tmp_path_factory.mktemp("studies")
    (folder / "studies").mkdir()
    for name in ("unpruned", "pruned"):
        shutil.copy(RESULTS / name / "study.db", folder / "studies" / f"{name}.db")
    return folder


@pytest.fixture(scope="module")
def record(folder: Path) -> StudyRecord:
    return load_study("unpruned", f"sqlite:///{folder}/studies/unpruned.db")


def test_against_the_formula() -> None:
    first, second = [99.1, 99.3, 99.2], [99.4, 99.5, 99.35, 99.6]
    test = Welch.of(first, second)
    assert test is not None
    shares = [variance(own) / len(own) for own in (first, second)]
    error, difference = math.sqrt(sum(shares)), fmean(second) - fmean(first)
    freedom = sum(shares) ** 2 / (shares[0] ** 2 / 2 + shares[1] ** 2 / 3)
    assert test.difference == pytest.approx(difference)
    assert test.p == pytest.approx(2 * t.sf(difference / error, freedom))
    half = error * t.ppf(0.975, freedom)
    assert test.interval == pytest.approx((difference - half, difference + half))


@pytest.mark.parametrize("second", [[99.0], [99.0, 99.0]], ids=["one seed", "no spread"])
def test_what_cannot_be_tested(second: list[float]) -> None:
    assert Welch.of([99.0, 99.0], second) is None


def test_a_study_that_is_not_confirmed(folder: Path, record: StudyRecord) -> None:
    arguments = ("compare", "unpruned", "pruned")
    values: dict[str, Any] = runner(folder)(*arguments, "--json").json
    assert [own["study"] for own in values["studies"]] == ["unpruned", "pruned"]
    assert [own["confirmed"] for own in values["studies"]] == [len(confirmed(record)), 0]
    assert all(own["hypervolume"] > 10 for own in values["studies"])
    assert values["reference"] == {"parameters": 16_000, "accuracy": 10}
    assert [own["parameters"] for own in values["within"]] == [1000, 2000, 4000, 8000]
    for own in values["within"]:
        first, second = own["networks"]
        assert max(first["parameters"], second["parameters"]) <= own["parameters"]
        assert (first["confirmed"], first["seeds"], second["confirmed"]) == (True, 5, False)
        small = [
            entry.estimate.mean
            for entry in candidates(record)
            if entry.confirmed
            and entry.confirmed.on_front
            and entry.trial.architecture.parameters <= own["parameters"]
        ]
        assert first["estimate"] == max(small)  # nothing is chosen by test accuracy
        assert own["welch"] is None
    done = runner(folder)(*arguments, "--at", "3000", "--at", "700")
    assert "not confirmed" in done.out and "`nas-mnist confirm pruned`" in done.out
    assert "B none" in done.out and done.out.index("700") < done.out.index("3,000")


def test_two_of_the_same_name(folder: Path, record: StudyRecord, tmp_path: Path) -> None:
    """From storages of their own, on one picture: no difference at all."""
    shutil.copytree(folder / "studies", tmp_path / "others")
    urls = [f"sqlite:///{folder}/studies/unpruned.db", f"sqlite:///{tmp_path}/others/unpruned.db"]
    options = ("--storage", urls[0], "--storage-b", urls[1], "--figure", "both.html")
    done = runner(tmp_path)("compare", "unpruned", "unpruned", *options, "--json")
    assert done.code == 0, done.err
    assert [own["storage"] for own in done.json["studies"]] == urls
    for own in done.json["within"]:
        assert own["networks"][0] == own["networks"][1]
        assert own["welch"]["difference"] == 0 and own["welch"]["p"] == 1
    assert "<title>unpruned and unpruned" in (tmp_path / "both.html").read_text()
    figure = json.loads(Comparison(record, record).figure().to_json())
    assert [len(trace["x"]) for trace in figure["data"][1::2]] == [len(confirmed(record))] * 2


def test_studies_of_different_datasets(
    folder: Path, digits_search: Search, nas_mnist: CommandLine
) -> None:
    urls = (
        f"sqlite:///{folder}/studies/pruned.db",
        f"sqlite:///{digits_search.folder}/studies/demo.db",
    )
    done = nas_mnist("compare", "pruned", "demo", "--storage", urls[0], "--storage-b", urls[1])
    assert (done.code, done.out) == (2, "")
    assert "pruned is of mnist and demo is of digits" in done.err

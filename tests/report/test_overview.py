"""What a person asks first, in a terminal: of the published study, and of one on the digits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nas_mnist.execution.confirmation import candidates, chosen, confirmed
from nas_mnist.execution.records import StudyRecord, load_study
from nas_mnist.report.front_table import trial_text
from tests.conftest import CommandLine, Search, runner

STUDY = Path(__file__).parents[2] / "results" / "mnist-8k-plain" / "study.db"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    (folder / "studies").mkdir()
    shutil.copy(STUDY, folder / "studies" / "mnist-8k.db")
    return folder


@pytest.fixture(scope="module")
def record(published: Path) -> StudyRecord:
    return load_study("mnist-8k", f"sqlite:///{published}/studies/mnist-8k.db")


def lines_of(folder: Path, *arguments: str) -> list[str]:
    done = runner(folder)(*arguments)
    assert done.code == 0, done.err
    return done.out.splitlines()


def row(lines: list[str], trial: int | str) -> str:
    return next(line for line in lines if line.startswith("│") and f" {trial} " in line[:9])


@pytest.mark.parametrize("width", [80, 100])
def test_a_front_at_first_sight(
    published: Path, record: StudyRecord, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = lines_of(published, "front", "mnist-8k")
    winner, known = chosen(record), candidates(record)
    for entry in known:
        own = row(lines, trial_text(entry))
        assert f" {entry.trial.architecture.parameters:,} " in own
        found = entry.confirmed
        assert (f"{found.mean:.2f} ± {found.sd:.2f}" if found else "not yet") in own
        assert ((" met " if found.goal_met else "missed") if found else "not yet") in own
        better = [
            other.confirmed.mean >= found.mean
            for other in known[: known.index(entry)]
            if found and other.confirmed
        ]
        assert ("beaten by" in own) == any(better)
        assert ("winner" in own) == (entry.trial == winner.trial)
    assert winner.trial.notation in lines  # whole, to be copied
    assert max(len(line) for line in lines if line != winner.trial.notation) <= width


def test_a_front_within_a_size(published: Path, record: StudyRecord) -> None:
    """To people, as JSON and as CSV; the best of it is marked."""
    arguments = ("front", "mnist-8k", "--max-parameters", "5000")
    lines = lines_of(published, *arguments, "--csv", "front.csv")
    small = [c for c in candidates(record) if c.trial.architecture.parameters <= 5000]
    best = max(
        (c for c in small if not c.confirmed or c.confirmed.on_front), key=lambda c: c.estimate.mean
    )
    assert "front within 5,000 parameters" in lines[0]
    assert sum(line.startswith("│") for line in lines) == len(small)
    assert "best here" in row(lines, best.trial.number)
    values = runner(published)(*arguments, "--json").json
    numbers = {entry["trial"] for entry in [*values["front"], *values["confirmed"]]}
    assert numbers == {c.trial.number for c in small}
    assert len((published / "front.csv").read_text().splitlines()) == 1 + len(small)
    smallest = min(c.trial.architecture.parameters for c in small)
    for more in ((), ("--all",)):
        told = " ".join(lines_of(published, *arguments[:-1], "100", *more))
        assert f"The smallest network of the front has {smallest:,} parameters." in told
        assert "unconfirmed" not in told


def test_all_columns(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one table where there is room, as in a file, else in several."""
    arguments = ("front", "mnist-8k", "--all", "--max-parameters", "1000")
    wide = lines_of(published, *arguments)
    headings = [cell.strip() for cell in wide[2].split("┃")[1:-1]]
    assert {"MACs", "validation %", "gap", "lowest of last 4 %", "notation"} <= {*headings}
    monkeypatch.setenv("COLUMNS", "80")
    narrow = lines_of(published, *arguments)
    notations = {line.split("│")[-2].strip() for line in wide if line.startswith("│")}
    assert notations <= {*narrow}
    assert max(len(line) for line in narrow if line not in notations) <= 80
    for name in headings:
        assert name in " ".join(narrow) or all(word in " ".join(narrow) for word in name.split())


def test_an_unconfirmed_front(digits_search: Search) -> None:
    lines = lines_of(digits_search.folder, "front", "demo")
    assert "expected test %" in lines[2] and "goal" not in lines[2] and "confirmed" not in lines[2]
    assert "unconfirmed" in " ".join(lines)


def test_trials_are_told_with_their_training(
    published: Path, record: StudyRecord, nas_mnist: CommandLine
) -> None:
    found = confirmed(record)[-1]
    number, name = found.trial.number, f"mnist-8k:{found.trial.number}"
    lines = lines_of(published, "inspect", name)
    assert found.trial.notation in lines
    assert f"{found.mean:.2f} ± {found.sd:.2f} % over 3 seeds" in lines[-1]
    assert f"Peak learning rate {found.trial.peak_learning_rate:.4g}." in lines[-1]
    values = runner(published)("inspect", name, "--json").json
    assert (values["trial"], values["state"]) == (number, "complete")
    assert values["test_accuracy_mean"] == found.mean
    assert values["peak_learning_rate"] == found.trial.peak_learning_rate

    stopped = next(t for t in record.trials() if t.state.name == "PRUNED")
    told = lines_of(published, "inspect", f"mnist-8k:{stopped.number}")[-1]
    epochs = len(stopped.user_attrs["curve"])
    assert told.startswith(f"Trial {stopped.number} was stopped after {epochs} epoch")
    assert nas_mnist("inspect", "c4rn-g-c10k1").out.splitlines()[-1].strip() == "c4rn-g-c10k1"

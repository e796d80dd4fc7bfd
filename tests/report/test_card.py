"""The model card beside an exported network: what it says is the study's, and its code runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nas_mnist.execution.confirmation import Candidate, chosen
from nas_mnist.execution.estimates import estimates
from nas_mnist.execution.records import StudyRecord, load_studies
from nas_mnist.networks.references import references
from nas_mnist.report.card import model_card
from nas_mnist.report.export import export_network, trained_run
from tests.conftest import Search, runner

STUDY = Path(__file__).parents[2] / "results" / "mnist-8k-plain" / "study.db"
HEADINGS = [
    *("Model Details", "How to Get Started with the Model", "Limitations", "Training Data"),
    *("Training Procedure", "Evaluation", "Architecture", "License", "Citation"),
]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    copy = tmp_path_factory.mktemp("study") / "study.db"
    shutil.copy(STUDY, copy)  # opening one may write to it
    (record,) = load_studies(f"sqlite:///{copy}")
    return record


def card_of(record: StudyRecord, network: Candidate, name: str = "winner.py") -> str:
    return model_card(record, network, trained_run(network), Path(name), onnx=False)


def test_the_card_of_a_confirmed_winner(published: StudyRecord) -> None:
    """Every figure is that of the record."""
    network = chosen(published)
    card, found = card_of(published, network), network.confirmed
    assert found is not None and found.sd is not None
    assert re.findall("^## (.*)$", card, re.MULTILINE) == HEADINGS
    assert card.startswith("---\ntags: [nas-mnist]\n")
    architecture = network.trial.architecture
    for line in (
        f"# winner: {architecture.parameters:,} parameters for mnist",
        f"| notation | `{network.trial.notation}` |",
        f"| seed | {found.runs[0].seed} |",
        f"| test, mean ± standard deviation of {len(found.runs)} seeds | "
        f"{found.mean:.2f} ± {found.sd:.2f} % |",
        f"| test, lowest of the last 4 epochs of any seed | {found.last4_min:.2f} % |",
        "MNIST: handwritten digits, 60,000 to train on and 10,000 to test on. This network was "
        "trained on all of the training images.",
    ):
        assert line in card.splitlines()
    assert "single run" not in card and "onnx" not in card
    rows = re.findall(r"^\| \w+\d+ \| [\d×]+ \| ([\d,]*) \|", card, re.MULTILINE)
    assert sum(int(row.replace(",", "") or 0) for row in rows) == architecture.parameters
    assert "$" not in card
    assert not re.search("/work|/tmp|/home", card)


def test_the_card_of_an_unconfirmed_network(published: StudyRecord) -> None:
    """Also of a network that a person made: the search begins with it."""
    known = estimates(published)
    made = references()["s7-dropout-7914"].architecture
    trial = next(own for own in published.complete() if own.architecture == made)
    card = card_of(published, Candidate(trial, known[trial.number], None))
    assert "Its layers are those of `s7-dropout-7914`, made by hand." in card
    assert "five in six of the training images; one in six validated it." in card
    assert f"`nas-mnist confirm mnist-8k --trial {trial.number}` retrains" in card
    assert f"seed {trial.seed} | {trial.test_accuracy:.2f} % |" in card
    assert "mean ± standard deviation" not in card


def test_no_text_of_a_database_becomes_markup(published: StudyRecord) -> None:
    hostile = "](javascript:x) <script>`|\n# Heading"
    record = StudyRecord(
        **{name: getattr(published, name) for name in ("study", "storage", "url", "artifact_dir")},
        spec=published.spec.model_copy(update={"dataset": hostile, "precision": hostile}),
        versions={"nas-mnist": hostile},
        normalization=published.normalization,
    )
    card = card_of(record, chosen(published))
    assert "<script" not in card and "](" not in card
    assert re.findall("^## (.*)$", card, re.MULTILINE) == HEADINGS


@pytest.mark.parametrize("name", ["winner.py", "größe @ 1.py"])
def test_the_code_of_the_card_runs(digits_search: Search, tmp_path: Path, name: str) -> None:
    record = digits_search.record()
    export_network(record, chosen(record), tmp_path / name)
    card = (tmp_path / name).with_suffix(".md").read_text()
    (code,) = re.findall("^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    images = "import torch\nimages = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)\n"
    shown = "print(*classes.shape, *logits.shape)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", images + code + shown],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "3 3 10\n"


def test_notes_of_that_name_are_kept(digits_search: Search, tmp_path: Path) -> None:
    shutil.copytree(digits_search.folder, tmp_path / "here")
    notes, run = tmp_path / "here" / "made.md", runner(tmp_path / "here")
    notes.write_text("my own\n")
    done = run("export", "demo", "-o", "made.py")
    assert done.code == 0
    assert "made.md is not nas-mnist's and stays as it is: no model card is written\n" in done.err
    assert notes.read_text() == "my own\n"
    assert done.err.splitlines()[-1] == "wrote made.py, made.pt"
    notes.unlink()
    for _ in range(2):  # a card that was written here is replaced
        done = run("export", "demo", "-o", "made.py")
        assert done.err.splitlines()[-1] == "wrote made.py, made.pt, made.md"
    assert "# made: " in notes.read_text()

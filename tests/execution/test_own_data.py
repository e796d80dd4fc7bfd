"""Pictures of one's own: as many classes as there are folders, or labels."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import nas_mnist
from nas_mnist.execution.records import load_study
from nas_mnist.training.datasets import Dataset, load_dataset
from tests.conftest import runner

NAMES = {1: "one", 4: "four", 7: "seven"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of scikit-learn's digits as coloured pictures of another shape."""
    folder = tmp_path_factory.mktemp("pictures")
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if label in NAMES:
            (folder / NAMES[label]).mkdir(exist_ok=True)
            grey = Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((40, 32))
            grey.convert("RGB").save(folder / NAMES[label] / f"{number}.png")
    return folder


def test_a_folder_of_pictures(pictures: Path, tmp_path: Path) -> None:
    run = runner(tmp_path)
    asked = ("search", "--study", "own", "--data-dir", str(pictures), "--workers", "1")
    made = ("--dataset", "folder", "--budget", "800", "--epochs", "3", "--no-confirm")
    done = run(*asked, *made, "--trials", "2", "--json")
    assert done.code == 0, done.err
    assert all(entry["notation"].endswith("-g-c3k1") for entry in done.json["front"])
    assert run(*asked, "--trials", "3", "--no-confirm").code == 0
    record = load_study("own", f"sqlite:///{tmp_path}/studies/own.db")
    assert record.counts().finished == 3
    assert record.spec.classes == 3
    assert str(pictures) not in str(record.study.user_attrs)

    assert run("export", "own", "-o", "winner.py").code == 0
    picture = next((pictures / "four").iterdir())
    command = [sys.executable, "winner.py", picture]
    answer = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert answer.stdout.strip() in {"0", "1", "2"}
    assert run("report", "own", "-o", "own.html", "--data-dir", str(pictures)).code == 0


def test_pictures_that_are_split_already(pictures: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part).symlink_to(pictures)
    whole, parts = load_dataset("folder", pictures), load_dataset("folder", tmp_path)
    assert len(parts.train) == len(parts.test) == len(whole.train) + len(whole.test)
    assert whole.classes == parts.classes == 3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "find any class folder"),
        (lambda folder: (folder / "cats").mkdir(), "no valid file for the classes cats"),
    ],
    ids=["empty", "no pictures"],
)
def test_a_folder_that_has_none(make: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    make(tmp_path / "data")
    command = ("search", "--dataset", "folder", "--data-dir", "data", "--study", "x")
    done = runner(tmp_path)(*command)
    assert done.code == 1
    assert said in done.err and "--data-dir" in done.err
    assert not (tmp_path / "studies").exists()


def test_arrays_of_two_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    digits = load_digits()
    wanted = digits.target < 2
    pixels = np.repeat(np.repeat(digits.images[wanted] * 15, 4, 1), 4, 2)[:, 2:30, 2:30]
    pixels, labels = pixels.astype(np.uint8), digits.target[wanted]
    own = Dataset.of("two", pixels[60:], labels[60:], pixels[:60], labels[:60])
    settings = {"study": "two", "epochs": 2, "workers": 1, "confirm": False, "progress": False}
    study = nas_mnist.search(own, 600, 2, **settings)
    assert study.winner().architecture.classes == 2
    assert study.winner().load()[-2].out_channels == 2


def test_a_network_of_other_classes(pictures: Path, tmp_path: Path) -> None:
    command = ("train", "c4rn-g-c10k1", "--dataset", "folder", "--data-dir", str(pictures))
    done = runner(tmp_path)(*command)
    assert (done.code, done.out) == (2, "")
    assert "gives 10 class scores, and folder has 3 classes" in done.err

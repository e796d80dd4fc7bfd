"""Pictures of one's own: as many classes as there are folders, or labels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import nas_mnist
from nas_mnist.errors import DataError
from nas_mnist.execution.records import load_study
from nas_mnist.report.export import module_source
from nas_mnist.training.datasets import Dataset, load_dataset
from nas_mnist.training.pictures import grey
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
    command = [sys.executable, "-W", "error", "winner.py", picture]
    answer = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert answer.stdout.strip() in NAMES.values()
    assert run("report", "own", "-o", "own.html", "--data-dir", str(pictures)).code == 0
    figures = (tmp_path / "own.html").read_text()
    assert '"x":["four","one","seven"]' in figures
    renamed = shutil.copytree(pictures, tmp_path / "renamed")
    (renamed / "one").rename(renamed / "two")
    for command in (("report", "own", "-o", "own.html"), ("confirm", "own")):
        done = run(*command, "--data-dir", str(renamed))
        assert done.code == 2
        assert "was made on other images of folder; give the same --data-dir" in done.err


def test_pictures_that_are_split_already(pictures: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part).symlink_to(pictures)
    whole, parts = load_dataset("folder", pictures), load_dataset("folder", tmp_path)
    assert len(parts.train) == len(parts.test) == len(whole.train) + len(whole.test)
    assert whole.classes == parts.classes == 3


def classes(folder: Path, count: int = 2) -> Path:
    """So many classes of one equal picture each; the folder of the first."""
    for number in range(count):
        (folder / str(number + 1)).mkdir(parents=True)
        Image.new("L", (28, 28), 100).save(folder / str(number + 1) / "1.png")
    return folder / "1"


def large(file: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(file)


def test_folders_that_are_no_classes_and_links_to_folders(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(pictures, folder)
    for name in (".git", "__pycache__"):
        shutil.copytree(pictures / "one", folder / name)
    (folder / "one" / "again").symlink_to(folder / "four")
    (folder / "one" / "round").symlink_to(folder / "one")
    (folder / "one" / "._1.png").write_text("what a Mac leaves")
    found, known = load_dataset("folder", folder), load_dataset("folder", pictures)
    assert found.classes == 3
    assert len(found.train) == len(known.train)


LIGHT = [[0, 0, 255, 128], [64, 255, 192, 0]] * 14


@pytest.mark.parametrize("mode", ["I;16", "LA", "RGBA", "P"])
def test_pictures_of_every_kind(mode: str, tmp_path: Path) -> None:
    """16 bits, and black ink in the alpha channel, are as the same in grey, here and in an
    exported file."""
    light = np.tile(np.array(LIGHT, np.uint8), (1, 7))
    ink = Image.fromarray(255 - light)
    if mode == "I;16":
        picture = Image.fromarray(light.astype(np.uint16) * 257)
    elif mode == "P":
        picture = Image.fromarray(light).convert("P", palette=Image.Palette.ADAPTIVE, colors=3)
        picture.info["transparency"] = 0
    else:
        picture = Image.new(mode, ink.size)
        picture.putalpha(ink)
    picture.save(tmp_path / "1.png")
    with Image.open(tmp_path / "1.png") as saved:
        found = np.asarray(grey(saved))
    if mode != "P":
        assert np.array_equal(found, light)
    source = module_source(nas_mnist.parse_notation("c4-g-c10k1"), "folder", (0.1, 0.3), {})
    namespace: dict[str, Any] = {"__file__": "network.py"}
    exec(source, namespace)
    assert np.array_equal(namespace["read_picture"](tmp_path / "1.png")[0, 0], found)


@pytest.mark.parametrize("given", ["nowhere", "picture.png"])
def test_a_data_folder_that_is_none(tmp_path: Path, given: str) -> None:
    Image.new("L", (28, 28)).save(tmp_path / "picture.png")
    for name in ("folder", "mnist"):
        done = runner(tmp_path)("train", "c4rn-g-c2k1", "--dataset", name, "--data-dir", given)
        assert done.code == 2
        assert given in done.err and "name another with --data-dir" in done.err


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder.mkdir(), "data has 0 folders of pictures, not 2 to 100"),
        (lambda folder: classes(folder, 1), "data has 1 folders of pictures, not 2 to 100"),
        (lambda folder: classes(folder, 101), "data has 101 folders of pictures, not 2 to 100"),
        (lambda folder: (classes(folder) / "1.png").unlink(), "pgm, .ppm, .tif, .tiff, .webp) in"),
        (lambda folder: (classes(folder) / "2.png").touch(), "1/2.png cannot be read as a picture"),
        (lambda folder: os.mkfifo(classes(folder) / "2.png"), "data/1/2.png is not a file"),
        (lambda folder: large(classes(folder) / "2.png"), "data/1/2.png has too many pixels"),
        (lambda folder: classes(folder / "train"), "there is data/train, and no data/test; make"),
        (
            lambda folder: (classes(folder / "train"), classes(folder / "test", 3)),
            "3 is a class of only one of data/train and data/test",
        ),
        (lambda folder: classes(folder), "2 images to train on and 0 to test on are too few"),
        (lambda folder: classes(folder, 9), "all pixels are equal; there is nothing to learn"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_folder_that_is_refused(make: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    make(tmp_path / "data")
    command = ("search", "--dataset", "folder", "--data-dir", "data", "--study", "x")
    done = runner(tmp_path)(*command)
    assert done.code == 1
    assert said in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "studies").exists()


def test_arrays_of_two_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    digits = load_digits()
    wanted = digits.target < 2
    pixels = np.repeat(np.repeat(digits.images[wanted] * 15, 4, 1), 4, 2)[:, 2:30, 2:30]
    pixels, labels = pixels.astype(np.uint8), digits.target[wanted]
    arrays = pixels[60:], labels[60:], pixels[:60], labels[:60]
    with pytest.raises(DataError, match="two: 1 names for 2 classes"):
        Dataset.of("two", *arrays, class_names=["zero"])
    own = Dataset.of("two", *arrays, class_names=["it's", "o\\ne"])
    settings = {"epochs": 2, "workers": 1, "confirm": False, "progress": False}
    study = nas_mnist.search(own, 600, 2, **settings)
    assert study.name == "two-600"
    assert study.winner().architecture.classes == 2
    scores = study.winner().load()(torch.rand(3, 1, 28, 28))
    assert scores.shape == (3, 2)
    namespace: dict[str, Any] = {"__file__": "own.py"}
    exec((study.winner().export("own.py").with_suffix(".py")).read_text(), namespace)
    assert namespace["CLASSES"] == ["it's", "o\\ne"]


def test_a_network_of_other_classes(pictures: Path, tmp_path: Path) -> None:
    command = ("train", "c4rn-g-c10k1", "--dataset", "folder", "--data-dir", str(pictures))
    done = runner(tmp_path)(*command)
    assert (done.code, done.out) == (2, "")
    assert "gives 10 class scores, and folder has 3 classes" in done.err

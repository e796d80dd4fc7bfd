"""Datasets: the real files, the split, and files that are wrong."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from nas_mnist.errors import DataError, NasMnistError, RequestError
from nas_mnist.lookup import GIVEN
from nas_mnist.training.datasets import (
    Dataset,
    data_folder,
    first_train_samples,
    load_dataset,
    split_dataset,
)
from tests.conftest import named


def test_mnist_is_whole(mnist: Dataset) -> None:
    assert mnist.train.images.shape == (60_000, 1, 28, 28)
    assert mnist.test.images.shape == (10_000, 1, 28, 28)
    assert mnist.train.images.dtype == torch.uint8
    assert mnist.normalization == pytest.approx((0.1307, 0.3081), abs=1e-4)
    # Known of the files: how many of each digit there are to learn from.
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(mnist.train.labels).tolist() == counts


def test_digits_is_whole(digits: Dataset) -> None:
    assert len(digits.train) + len(digits.test) == 1797
    assert digits.train.images.shape[1:] == (1, 28, 28)
    assert digits.train.images.max() == 255
    theirs = load_digits()
    ours = torch.cat([digits.test.labels, digits.train.labels])
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    assert ours.equal(torch.from_numpy(theirs.target)[order])
    # Resizing keeps an image's mean, but for rounding.
    means = torch.cat([digits.test.images, digits.train.images]).float().mean((1, 2, 3))
    theirs_means = torch.from_numpy(theirs.images).mean((1, 2))[order] * (255 / 16)
    assert (means - theirs_means).abs().max() < 0.1


@pytest.mark.parametrize("samples", [None, 10_000])
def test_the_split_is_disjoint_and_fixed_by_its_seed(mnist: Dataset, samples: int | None) -> None:
    marked = Dataset("marked", mnist.train, mnist.test, mnist.normalization)
    marked.train.labels.copy_(torch.arange(60_000))
    try:
        train, validation = split_dataset(marked, 7, samples)
        again, validation_again = split_dataset(marked, 7, samples)
        _, other = split_dataset(marked, 8)
        assert (len(train), len(validation)) == (samples or 50_000, 10_000)
        assert not set(train.labels.tolist()) & set(validation.labels.tolist())
        assert torch.equal(train.labels, again.labels)
        assert torch.equal(validation.labels, validation_again.labels)
        assert not torch.equal(validation.labels, other.labels)
    finally:
        marked.train.labels.copy_(load_dataset("mnist").train.labels)


@pytest.mark.parametrize("samples", [-1, 0, 1, 50_001])
def test_train_samples_out_of_range(mnist: Dataset, samples: int) -> None:
    with pytest.raises(RequestError, match=f"--train-samples {samples} is not within 2 to 50000"):
        split_dataset(mnist, 0, samples)
    with pytest.raises(RequestError, match="is not within 2 to 1438"):
        first_train_samples(load_dataset("digits"), samples if samples < 2 else 1439)


def test_unknown_dataset() -> None:
    with pytest.raises(RequestError, match="dataset 'minst' is not one of mnist"):
        load_dataset("minst")


@pytest.fixture
def copied_files(mnist: Dataset, tmp_path: Path) -> Path:
    """The real files in a folder of the test's own."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (data_folder(None) / "MNIST" / "raw").glob("*-ubyte"):
        shutil.copy(file, raw)
    return tmp_path


def truncate(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def zero_header(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(b"\0" * 16 + data[16:])


def text(file: Path) -> None:
    file.write_text("<html>404 not found</html>" * 40)


def labels_of_another_kind(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:8] + b"\xff" * (len(data) - 8))


def cut_short(file: Path) -> None:
    file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 1)[:-50])
    file.unlink()


def not_gzipped(file: Path) -> None:
    file.rename(file.with_name(f"{file.name}.gz"))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("train-images-idx3-ubyte", cut_short),
        ("train-images-idx3-ubyte", not_gzipped),
        ("train-images-idx3-ubyte", truncate),
        ("train-images-idx3-ubyte", empty),
        ("train-images-idx3-ubyte", zero_header),
        ("train-images-idx3-ubyte", text),
        ("train-labels-idx1-ubyte", truncate),
        ("train-labels-idx1-ubyte", labels_of_another_kind),
        ("t10k-images-idx3-ubyte", truncate),
    ],
)
def test_damaged_files(copied_files: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(copied_files / "MNIST" / "raw" / name)
    with pytest.raises(DataError) as caught:
        load_dataset("mnist", copied_files)
    message = str(caught.value)
    assert message.startswith(f"mnist: the files in {copied_files} are truncated or corrupt")
    assert "--data-dir" in message
    assert name in message or "label outside" in message
    assert "\n" not in message
    assert not {"unpack", "stream", "gzipped file", "Compressed"} & set(message.split())


def test_one_file_is_missing(copied_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (copied_files / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"no t10k-labels-idx1-ubyte in .* could be downloaded"):
        load_dataset("mnist", copied_files)


def test_a_torchvision_of_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of CUDA beside a torch for CPUs alone says so: this file fails as it does."""
    said = "operator torchvision::nms does not exist"
    (tmp_path / "torchvision.py").write_text(f"raise RuntimeError({said!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with pytest.raises(DataError) as caught:
        load_dataset("kmnist", tmp_path)
    assert f"torchvision, which downloads it, cannot be imported ({said})" in str(caught.value)
    assert "--data-dir" in str(caught.value)


def test_swapped_files(copied_files: Path) -> None:
    raw = copied_files / "MNIST" / "raw"
    shutil.copy(raw / "t10k-labels-idx1-ubyte", raw / "train-labels-idx1-ubyte")
    with pytest.raises(DataError, match="60000 images but 10000 labels"):
        load_dataset("mnist", copied_files)


def test_the_folder_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NAS_MNIST_DATA", str(tmp_path / "set"))
    assert data_folder(tmp_path / "given") == tmp_path / "given"
    assert data_folder(None) == tmp_path / "set"
    monkeypatch.delenv("NAS_MNIST_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data_folder(None) == tmp_path / "nas-mnist"


def test_the_digits_stay_what_they_were(digits: Dataset) -> None:
    """To the bit: what was measured on them holds."""
    content = digits.train.images.numpy().tobytes() + digits.test.labels.numpy().tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == "db64f4b6a0bea077"


def few(data_dir: Path | None) -> Dataset:
    """A dataset of a user's own."""
    pixels = np.arange(20 * 28 * 28).reshape(20, 28, 28) % 256
    return Dataset.of("few", pixels, np.arange(20) % 10, pixels[:10], list(range(10)))


def failing(data_dir: Path | None) -> Dataset:
    raise ZeroDivisionError("by nothing")


def leaving(data_dir: Path | None) -> Dataset:
    raise SystemExit(3)


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist"])
def test_files_of_another_set(mnist: Dataset, tmp_path: Path, name: str) -> None:
    """They have the same names; in a folder of their own nothing else tells them apart."""
    for file in (data_folder(None) / "MNIST" / "raw").glob("*-ubyte*"):
        (tmp_path / file.name).symlink_to(file)
    assert load_dataset("mnist", tmp_path).normalization == mnist.normalization
    with pytest.raises(DataError, match=f"--dataset {name}: these are the images of mnist"):
        load_dataset(name, tmp_path)


def test_too_few_to_hold_any_out() -> None:
    own = few(None)
    train = own.train.at(slice(5))
    with pytest.raises(DataError, match="5 training images are too few for a search"):
        split_dataset(Dataset("five", train, own.test, own.normalization), 0)


def test_a_dataset_of_ones_own() -> None:
    GIVEN["given:few"] = few(None)
    for name in (f"{__name__}:few", "given:few"):
        found = load_dataset(named(name))
        assert found.name == name
        assert found.train.images.shape == (20, 1, 28, 28)
        assert found.train.images.dtype == torch.uint8
        assert found.normalization.mean == pytest.approx(0.5, abs=0.01)


def test_names_of_classes() -> None:
    """A part of the images may lack a class, and names may be numpy's."""
    own = few(None)
    images, labels = own.train.images, own.train.labels
    last = int(labels.max())
    names = np.array([f"class {number}" for number in range(last + 1)])
    whole = Dataset.of("named", images, labels, images, labels, names)
    assert {type(name) for name in whole.class_names} == {str}
    first = (labels == 0).nonzero()[:2, 0]
    part = replace(whole, train=whole.train.at(first), test=whole.test.at(first))
    assert part.classes == last + 1
    with pytest.raises(DataError, match="named: 2 names for"):
        Dataset.of("named", images, labels, images, labels, names[:2])
    with pytest.raises(DataError, match=r"'\\udcff' is no name of a class; rename it"):
        Dataset.of("named", images, labels, images, labels, ["\udcff", *names[1:]])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nosuch", "is not one of mnist, fashion-mnist, kmnist, digits, folder, and not MODULE"),
        ("no_module:data", "add --plugin no_module"),
        (f"{__name__}:failing", "by nothing"),
        (f"{__name__}:leaving", "dataset tests.training.test_datasets:leaving: 3"),
        (f"{__name__}:__name__", "'tests.training.test_datasets' is no Dataset and not callable"),
        ("builtins:id", "it gives a int, not a Dataset"),
        (":ok", "dataset ':ok' is not one of mnist"),
        ("ok:", "dataset 'ok:' is not one of mnist"),
    ],
)
def test_datasets_that_are_none(name: str, message: str) -> None:
    with pytest.raises(NasMnistError) as caught:
        load_dataset(named(name))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 28, 28)), [0, 1, 2], "pixels and labels are whole numbers"),
        (np.full((3, 28, 28), 256), [0, 1, 2], "a pixel outside 0 to 255"),
        (np.zeros((3, 20, 20), int), [0, 1, 2], "images of shape (3, 20, 20)"),
        (np.zeros((3, 28, 28, 3), int), [0, 1, 2], "images of shape (3, 28, 28, 3); give uint8"),
        (np.zeros((3, 28, 28), int), [[0], [1], [2]], "labels of shape (3, 1)"),
        (np.zeros((3, 28, 28), int), [0, 1, 2], "all pixels are equal; there is nothing to learn"),
        (np.zeros((3, 28, 28), complex), [0, 1, 2], "images that are not an array of whole num"),
        (np.zeros((3, 28, 28), int), ["a", "b", "c"], "labels that are not an array of whole"),
        (np.zeros((0, 28, 28), int), [], "0 images but 0 labels; give uint8 images of shape (n, "),
        (np.eye(784, dtype=int)[:1].reshape(1, 28, 28), [0], "1 images to train on and 1 to test"),
        (np.zeros((3, 28, 28), int), [0, 1], "3 images but 2 labels"),
        (np.zeros((3, 28, 28), int), [0, 1, 100], "a label outside 0 to 99"),
        ([[0], [0, 0]], [0, 1], "dataset mine: images that are not an array of whole numbers; g"),
        (5, None, "dataset mine: labels that are not an array of whole numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_are_refused(images: Any, labels: list[int], message: str) -> None:
    with pytest.raises(DataError) as caught:
        Dataset.of("mine", images, labels, images, labels)
    assert message in str(caught.value)

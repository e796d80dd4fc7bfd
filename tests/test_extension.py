"""Everything of a user's own, in this one file: a layer, a choice that draws it, a dataset, a
sampler and a pruner; searched with, by two workers, and the winner exported."""

from __future__ import annotations

import importlib.util
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution
from torch import Tensor, nn

import nas_mnist
from nas_mnist.errors import RequestError
from nas_mnist.networks.layers import Layer, Shape
from nas_mnist.networks.layers.composite import Composite
from nas_mnist.search.pruner import LearningCurve, PruneReason
from tests.conftest import CommandLine, run_process


@dataclass(frozen=True, slots=True)
class Affine(Layer):
    """A trained scale and shift for each channel, with a soft sign."""

    op = "affine"
    pattern = example = "a"

    def parameters(self, shape: Shape) -> int:
        return 2 * shape[0]

    def notation(self) -> str:
        return "a"

    def module(self, shape: Shape) -> nn.Module:
        return _Affine(shape[0])

    def made(self, name: str, shape: Shape) -> list[str]:
        return [
            f"self.{name} = nn.Module()",
            f"self.{name}.scale = nn.Parameter(torch.ones({shape[0]}, 1, 1))",
            f"self.{name}.shift = nn.Parameter(torch.zeros({shape[0]}, 1, 1))",
        ]

    def called(self, name: str) -> str:
        return f"functional.softsign(self.{name}.shift + self.{name}.scale * {{}})"


class _Affine(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.softsign(self.shift + self.scale * x)


class EndsAffine(nas_mnist.Choice):
    """Whether block 2 ends in such a layer."""

    def apply(self, template: nas_mnist.Template, value: Any) -> nas_mnist.Template:
        if not value:
            return template
        first, second, *others = template.blocks
        return replace(template, blocks=(first, replace(second, end=(Affine(),)), *others))


SPACE = nas_mnist.Space(
    (
        *nas_mnist.DEFAULT_CHOICES,
        EndsAffine("affine", CategoricalDistribution((True, False)), False),
    )
)


def inverted(data_dir: Path | None) -> nas_mnist.Dataset:
    """The digits, dark on light."""
    found = nas_mnist.load_dataset("digits", data_dir)
    train, test = found.train, found.test
    return nas_mnist.Dataset.of(
        "inverted", 255 - train.images, train.labels, 255 - test.images, test.labels
    )


class AlwaysAffine(optuna.samplers.BaseSampler):
    """Draws at random, but for the layer, which it always takes."""

    def __init__(self, seed: int) -> None:
        self._random = optuna.samplers.RandomSampler(seed=seed)

    def infer_relative_search_space(self, *_: Any) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, *_: Any) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        drawn = self._random.sample_independent(study, trial, param_name, param_distribution)
        return True if param_name == "affine" else drawn


class EverySecond:
    """Stops a share of the trials after their first epoch."""

    rungs = (1,)

    def __init__(self, epochs: int, validation_images: int) -> None:
        assert (epochs, validation_images) in ((2, 239), (2, 1))

    def stop(self, curve: LearningCurve, rivals: Iterable[LearningCurve]) -> PruneReason | None:
        if curve.trial % 2 == 0:
            return None
        return PruneReason(1, curve.accuracies[-1], 100.0, None)


@pytest.fixture(name="run")
def _run(nas_mnist: CommandLine) -> CommandLine:
    return nas_mnist


def test_a_search_with_everything_of_ones_own(run: CommandLine, tmp_path: Path) -> None:
    own = {
        "dataset": "inverted",
        "space": "SPACE",
        "sampler": "AlwaysAffine",
        "pruner": "EverySecond",
    }
    named = [text for name, what in own.items() for text in (f"--{name}", f"{__name__}:{what}")]
    request = (
        *("search", "--study", "own", "--budget", "1500", "--trials", "14", "--epochs", "2"),
        *("--train-samples", "300", "--workers", "2", "--no-confirm", *named),
    )
    done = run(*request, "--json")
    assert done.code == 0, done.err
    assert done.json["dataset"] == f"{__name__}:inverted"
    assert done.json["trials"]["pruned"] > 3

    # Another process knows the layer by its module alone.
    front = run_process(tmp_path, "front", "own", "--json")
    if any("a" in entry["notation"] for entry in done.json["front"]):
        assert front.code == 1
        assert "if it has layers of your own, add --plugin MODULE" in front.err
    front = run_process(tmp_path, "front", "own", "--json", "--plugin", __name__, env=_path())
    assert front.json["front"] == done.json["front"]
    assert run(*request).code == 0  # resumed: nothing is left to do

    record = _load(tmp_path)
    drawn = [trial for trial in record.complete() if "a" in trial.notation]
    assert drawn
    number = str(drawn[-1].number)
    assert run("export", "own", "-o", "made/own.py", "--trial", number).code == 0
    spec = importlib.util.spec_from_file_location("own", tmp_path / "made" / "own.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    images = inverted(None).test.images
    trained = record.winner(trial=drawn[-1].number).load()
    with torch.inference_mode():
        assert torch.equal(
            module.load()(module.normalize(images)), trained(module.normalize(images))
        )
    tested = float((module.classify(module.load(), images) == inverted(None).test.labels).sum())
    assert 100 * tested / len(images) == pytest.approx(drawn[-1].test_accuracy)


def test_a_database_makes_no_program_import_anything(tmp_path: Path) -> None:
    """A study names the module of its dataset; who opens it must name it too."""
    url = f"sqlite:///{tmp_path}/own.db"
    _searched(f"{__name__}:inverted", url)
    done = run_process(tmp_path, "confirm", "own", "--storage", url)
    assert done.code == 2
    assert f"module {__name__!r} is yours; add --plugin {__name__}" in done.err
    more = ("--seeds", "1", "--workers", "1", "--plugin", __name__)
    assert run_process(tmp_path, "confirm", "own", "--storage", url, *more, env=_path()).code == 0


def test_a_database_makes_no_program_call_anything(tmp_path: Path) -> None:
    """Not even what every Python has imported."""
    url = f"sqlite:///{tmp_path}/own.db"
    study = _searched("digits", url)
    stored = study.study.user_attrs["config"]
    for name in ("pruner", "sampler", "dataset", "space"):
        study.study.set_user_attr("config", {**stored, name: "builtins:print"})
        done = run_process(tmp_path, "confirm", "own", "--storage", url)
        assert (done.code, done.out) == (2, "")
        assert "module 'builtins' is yours; add --plugin builtins" in done.err


@pytest.mark.parametrize("example", ["c16", "r", "dk3", "w2c4"])
def test_a_notation_that_is_taken(example: str) -> None:
    with pytest.raises(nas_mnist.NasMnistError, match=r"its notation .* is that of"):
        type("Mine", (Layer,), {"op": f"mine-{random.random()}", "example": example})


def test_a_notation_that_would_be_read_as_part_of_another() -> None:
    with pytest.raises(nas_mnist.NasMnistError, match="behind 'c16' its notation 'b'"):
        type("Mine", (Layer,), {"op": "mine", "pattern": "b", "example": "b"})


def test_a_layer_without_notation_matches_nothing(run: CommandLine) -> None:
    type("Silent", (Layer,), {"op": "silent"})
    done = run("inspect", "c4-q")
    assert done.code == 2
    assert "no layer starts with 'q'" in done.err


def test_a_layer_of_a_name_that_is_taken() -> None:
    with pytest.raises(nas_mnist.NasMnistError, match="layer 'conv' is nas_mnist"):
        type("Mine", (Layer,), {"op": "conv", "example": "q"})


def test_a_module_that_cannot_be_imported() -> None:
    with pytest.raises(RequestError, match="module 'no_such_module' cannot be imported"):
        nas_mnist.search("no_such_module:data")


def _searched(dataset: str, url: str) -> nas_mnist.Study:
    """A study of two trials of one epoch."""
    small = {"epochs": 1, "train_samples": 100, "workers": 1, "confirm": False}
    return nas_mnist.search(  # type: ignore[no-any-return]
        dataset, 1500, 2, study="own", storage=url, progress=False, **small
    )


def _load(folder: Path) -> nas_mnist.Study:
    return nas_mnist.load_study("own", f"sqlite:///{folder}/studies/own.db")


def _path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


@dataclass(frozen=True, slots=True)
class Unfinished(Layer):
    """Has a notation to be read by, and nothing else."""

    op = "unfinished"
    pattern = example = "j"


@dataclass(frozen=True, slots=True)
class Hollow(Composite):
    """Does not say what is within."""

    op = "hollow"
    pattern = example = "h"


def test_a_composite_without_children_is_told(run: CommandLine) -> None:
    done = run("inspect", "c4h-g-c10k1")
    assert done.code == 2
    assert "layer 'hollow' has no `children`" in done.err


@pytest.mark.parametrize("command", ["inspect", "train"])
def test_a_layer_without_notation_is_told(run: CommandLine, command: str) -> None:
    done = run(command, "c4j-g-c10k1")
    assert done.code == 2
    assert "layer 'unfinished' cannot be written: it has no `notation`" in done.err


def test_a_layer_without_a_module_is_told() -> None:
    network = nas_mnist.parse_notation("c4j-g-c10k1")
    with pytest.raises(nas_mnist.NasMnistError, match="cannot be built: it has no `module`"):
        nas_mnist.build_network(network)

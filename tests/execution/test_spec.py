"""Requests: defaults, presets, the command line over them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas_mnist.errors import NasMnistError, RequestError
from nas_mnist.execution.spec import SearchConfig, StudySpec, artifact_folder, resolve_config
from nas_mnist.networks.architecture import Limit

PRESETS = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))


def test_there_is_a_preset_for_each_published_target() -> None:
    budgets = {resolve_config(preset, {}).budget for preset in PRESETS}
    assert {7_999, 9_999, 19_999} <= budgets


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.stem)
def test_every_preset_resolves(preset: Path) -> None:
    config = resolve_config(preset, {})
    assert config.study == preset.stem
    assert config.storage == f"sqlite:///studies/{preset.stem}.db"


def test_defaults() -> None:
    config = SearchConfig()
    assert (config.study, config.budget, config.trials, config.epochs) == (
        "mnist-8000",
        8000,
        200,
        15,
    )
    assert config.storage == "sqlite:///studies/mnist-8000.db"
    assert config.recipe["batch_size"] == 128
    assert SearchConfig(dataset="digits").recipe["batch_size"] == 32


@pytest.mark.parametrize(
    ("artifact_dir", "storage", "folder"),
    [
        ("", "sqlite:///studies/s.db", "studies/s/artifacts"),
        ("", "sqlite:////data/s.db", "/data/s/artifacts"),
        ("", "postgresql://host/db", None),
        ("/own", "sqlite:////data/s.db", "/own"),
    ],
)
def test_where_weights_lie(artifact_dir: str, storage: str, folder: str | None) -> None:
    assert artifact_folder(artifact_dir, "s", storage) == (folder and Path(folder))


def test_a_resolved_request_resolves_to_itself() -> None:
    config = SearchConfig(dataset="digits", recipe={"augmentation": {"rotation": 3}})
    assert SearchConfig(**config.as_dict()) == config


def test_the_command_line_overrides_the_preset(tmp_path: Path) -> None:
    preset = tmp_path / "own.toml"
    preset.write_text(
        "budget = 5000\ntrain-samples = 100\n[recipe]\nbatch_size = 64\n"
        "[recipe.augmentation]\nrotation = 3\n"
    )
    given = {"budget": 6000, "trials": None, "recipe": {"augmentation": {"shear": 2.0}}}
    config = resolve_config(preset, given)
    assert (config.budget, config.trials, config.train_samples) == (6000, 200, 100)
    assert config.recipe["batch_size"] == 64
    assert config.recipe["augmentation"]["rotation"] == 3
    assert config.recipe["augmentation"]["shear"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("budgets = 1", "unknown setting 'budgets'; did you mean budget?"),
        ("budget = 'many'", "budget must be a whole number, not 'many'"),
        ("budget = true", "budget must be a whole number, not True"),
        ("budget = 8000.5", "budget must be a whole number, not 8000.5"),
        ("budget = ", "not TOML"),
        ("\xff", "not TOML"),
        ("recipe = 3", "recipe must be a table, not 3"),
        ("[limits]\nmacs = 'few'", "limits.macs must be a whole number, not 'few'"),
        ("[recipe]\nbatch = 3", "recipe: unknown setting 'batch'"),
        ("[recipe]\nlearning_rate = 0.1", "learning_rate cannot be set in a search"),
        ("[recipe]\nepochs = 3", "epochs cannot be set in a search: --epochs sets it"),
        ("budget = 90", "budget 90 is below the smallest network of this skeleton (144 param"),
    ],
)
def test_presets_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    preset = tmp_path / "own.toml"
    preset.write_text(text, "latin-1")
    with pytest.raises(RequestError) as caught:
        resolve_config(preset, {})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_preset_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="No such file"):
        resolve_config(tmp_path / "none.toml", {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, "--trials 0 is not within 1"),
        ({"epochs": 0}, "--epochs 0 is not within 1"),
        ({"workers": 0}, "--workers 0 is not within 1"),
        ({"seed": -1}, "--seed -1 is not within 0"),
        ({"seeds": 0}, "--seeds 0 is not within 1"),
        ({"goal": 101.0}, "--goal 101 is not within 0 to 100"),
        ({"budget": 10**10}, "budget 10,000,000,000 is above the largest network of this skel"),
        ({"train_samples": 1}, "--train-samples 1 is not within 2 to"),
        ({"study": "a/b"}, "study name 'a/b' must be"),
        ({"study": "../up"}, "study name '../up' must be"),
        ({"study": "a b"}, "study name 'a b' must be"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_values_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(NasMnistError) as caught:
        SearchConfig(**settings)
    assert message in str(caught.value)


def test_a_preset_can_limit_other_costs(tmp_path: Path) -> None:
    preset = tmp_path / "own.toml"
    preset.write_text("[limits]\nmacs = 100000\n")
    config = resolve_config(preset, {"limits": None})
    assert config.limit() == Limit.of(8000, {"macs": 100_000})
    assert resolve_config(preset, {"limits": {"macs": 5 * 10**4}}).limits == {"macs": 50_000}
    with pytest.raises(RequestError, match="no network of this skeleton is within 8,000 param"):
        resolve_config(preset, {"limits": {"macs": 10}})


@pytest.mark.parametrize(
    ("settings", "goal"),
    [({}, 99.4), ({"dataset": "digits"}, None), ({"dataset": "digits", "goal": 90.0}, 90.0)],
    ids=["mnist", "digits", "asked for"],
)
def test_only_mnist_has_a_goal_by_itself(settings: dict[str, Any], goal: float | None) -> None:
    config = SearchConfig(**settings)
    assert config.goal == config.spec().goal == StudySpec(**settings).goal == goal
    assert resolve_config(None, {}, config.spec().as_dict()).goal == goal  # it is kept


def test_a_study_keeps_nothing_of_the_machine() -> None:
    config = SearchConfig(workers=7, device="cpu", data_dir="here", artifact_dir="there")
    stored = config.spec().as_dict()
    assert stored.keys() == StudySpec.model_fields.keys()
    assert not stored.keys() & {"workers", "device", "data_dir", "artifact_dir", "storage"}
    assert StudySpec(**stored) == config.spec()

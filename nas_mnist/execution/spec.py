"""What a search was asked to do, resolved from defaults, a preset and the command line."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url

from nas_mnist.errors import RequestError, reason
from nas_mnist.networks.skeleton import smallest
from nas_mnist.search.pruner import PRUNERS
from nas_mnist.training.recipe import DATASET_RECIPES, Recipe, check_dataset, merged

# Settings that a result depends on: a study goes on only under the same ones.
IDENTITY = ("dataset", "budget", "epochs", "train_samples", "seed", "pruner", "recipe")
# A confirmation is a study of its own beside the one it confirms: the name's ending.
CONFIRMATION = ".confirmation"
# The search sets these itself.
_NOT_IN_RECIPE = {"epochs": "--epochs sets it", "learning_rate": "each trial samples its own"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """A resolved request; raises RequestError for values out of range."""

    budget: int = 8000
    """most trainable parameters of a network, inclusive"""
    trials: int = 200
    """finished trials that the study ends with, all runs of the command together"""
    epochs: int = 15
    dataset: str = "mnist"
    train_samples: int | None = None
    """training images a trial sees; None for all that do not validate"""
    seed: int = 0
    pruner: str = "dominance"
    """one of `PRUNERS`"""
    recipe: dict[str, Any] = field(default_factory=dict)
    """settings of `Recipe`; those not given are resolved to the dataset's and its own defaults"""
    goal: float = 99.4
    """percent, to be held over the last four epochs of a confirmed network"""
    seeds: int = 3
    """fresh seeds of the confirmation"""
    most_accurate: int = 0
    """networks confirmed beside the front: see `networks_to_confirm`"""
    confirm: bool = True
    workers: int = field(default_factory=lambda: available_cores())
    pack: int = 1
    """trials that a worker trains as one network, of one topology each time"""
    device: str = "auto"
    data_dir: str | None = None
    study: str = ""
    """`<dataset>-<budget>` if empty"""
    storage: str = ""
    """`sqlite:///studies/<study>.db` if empty"""
    artifact_dir: str = ""
    """see `artifact_folder`"""
    results_dir: str = "results"

    def __post_init__(self) -> None:
        self._check_numbers()
        check_dataset(self.dataset)
        if self.pruner not in PRUNERS:
            raise RequestError(f"--pruner {self.pruner!r} is not one of {', '.join(PRUNERS)}")
        self._default("study", f"{self.dataset}-{self.budget}")
        check_study_name(self.study)
        self._default("storage", default_storage(self.study))
        refused = sorted(self.recipe.keys() & _NOT_IN_RECIPE.keys())
        if refused:
            name = refused[0]
            raise RequestError(f"recipe: {name} cannot be set in a search: {_NOT_IN_RECIPE[name]}")
        resolved = Recipe().changed(merged(DATASET_RECIPES.get(self.dataset, {}), self.recipe))
        settings = resolved.as_dict()
        for name in _NOT_IN_RECIPE:
            del settings[name]
        object.__setattr__(self, "recipe", settings)

    def trial_recipe(self, learning_rate: float) -> Recipe:
        """The recipe of a trial with this peak learning rate."""
        own = {"epochs": self.epochs, "learning_rate": learning_rate}
        return Recipe().changed({**self.recipe, **own})

    def identity(self) -> dict[str, Any]:
        """The settings that may not change within a study."""
        return {name: getattr(self, name) for name in IDENTITY}

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def _default(self, name: str, value: str) -> None:
        if not getattr(self, name):
            object.__setattr__(self, name, value)

    def _check_numbers(self) -> None:
        least = smallest().parameters
        if self.budget < least:
            raise RequestError(
                f"budget {self.budget:,} is below the smallest network of this skeleton "
                f"({least:,} parameters); raise --budget"
            )
        ranges: tuple[tuple[str, float, float], ...] = (
            ("budget", least, 10**9),
            ("trials", 1, 10**6),
            ("epochs", 1, 10**4),
            ("seeds", 1, 100),
            ("most_accurate", 0, 1000),
            ("seed", 0, 2**31 - 1),
            ("workers", 1, 256),
            ("pack", 1, 256),
            ("goal", 0, 100),
            ("train_samples", 2, 10**9),
        )
        for name, low, high in ranges:
            value = getattr(self, name)
            if value is None and name == "train_samples":
                continue
            if not low <= value <= high:
                flag = name.replace("_", "-")
                span = f"{_readable(low)} to {_readable(high)}"
                raise RequestError(f"--{flag} {_readable(value)} is not within {span}")


def resolve_config(preset: Path | None, overrides: Mapping[str, Any]) -> SearchConfig:
    """Defaults, then the preset's settings, then `overrides`; None means "not given".

    Raises RequestError for an unreadable preset, an unknown key or a value of the wrong kind.
    """
    settings = read_preset(preset) if preset is not None else {}
    given = {name: value for name, value in overrides.items() if value is not None}
    for name, value in given.items():
        if value == "":
            raise RequestError(f"--{name.replace('_', '-')} is empty")
    recipe = merged(settings.get("recipe", {}), given.get("recipe", {}))
    return SearchConfig(**{**settings, **given, "recipe": recipe})


def read_preset(path: Path) -> dict[str, Any]:
    """The settings of a TOML preset, checked against the names and kinds of SearchConfig."""
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RequestError(f"--config {path}: {reason(error)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"--config {path}: not TOML: {error}") from None
    kinds = {item.name: str(item.type).removesuffix(" | None") for item in fields(SearchConfig)}
    for name, value in settings.items():
        key = name.replace("-", "_")
        if key not in kinds:
            raise RequestError(
                f"--config {path}: unknown key {name!r}; known: {', '.join(sorted(kinds))}"
            )
        if not _is_kind(value, kinds[key]):
            raise RequestError(f"--config {path}: {name} must be {kinds[key]}, not {value!r}")
    return {name.replace("-", "_"): value for name, value in settings.items()}


def default_storage(study: str) -> str:
    """A study's database where no other is named. RequestError for a name that none can have."""
    check_study_name(study)
    return f"sqlite:///studies/{study}.db"


def artifact_folder(artifact_dir: str, study: str, storage: str | URL) -> Path | None:
    """Where the weights of a study's trials lie: the folder named for it, else
    `<study>/artifacts` beside an SQLite database; None for a server, which keeps them itself."""
    if artifact_dir:
        return Path(artifact_dir)
    url = make_url(storage)
    if url.get_backend_name() == "sqlite" and url.database:
        return Path(url.database).parent / study / "artifacts"
    return None


def check_study_name(name: str) -> None:
    """Study names become file names and shell words. Raises RequestError for others."""
    if name.endswith(CONFIRMATION):
        raise RequestError(f"study name {name!r}: names ending in {CONFIRMATION} are reserved")
    if not _NAME.fullmatch(name):
        raise RequestError(
            f"study name {name!r} must be 1 to 100 letters, digits, dots, dashes and "
            "underscores, and start with a letter or digit"
        )


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _readable(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def _is_kind(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "bool"
    if kind == "float":
        return isinstance(value, int | float)
    return isinstance(value, {"int": int, "str": str, "bool": bool}.get(kind, dict))

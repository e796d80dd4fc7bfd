"""What is asked: the settings that identify a study, and how this machine runs it."""

from __future__ import annotations

import math
import re
import reprlib
import time
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from nas_mnist.errors import RequestError, reason
from nas_mnist.lookup import OBJECT, import_plugin, module_of
from nas_mnist.networks.architecture import Limit
from nas_mnist.processes import available_cores
from nas_mnist.training.recipe import DATASETS, Recipe, dataset_recipe, merged, refusal

# Settings that a study can be asked for anew at any time; it goes on only under the same others.
ASKED = ("trials", "reruns", "goal", "most_accurate")
CONFIG = "config"
"""user attribute of a study: its StudySpec as it was made"""
AUTO = "auto"
PRECISIONS = (AUTO, "float32", "bfloat16")
# Reruns and a confirmation are studies of their own beside a search's: the endings of their names.
BESIDE = RERUNS, CONFIRMATION = ".reruns", ".confirmation"
# The search sets these itself.
_NOT_IN_RECIPE = {"epochs": "--epochs sets it", "learning_rate": "each trial samples its own"}
_TRIALS_A_RERUN = 6
_MNIST_GOAL = 99.4  # percent: what the hand-made networks aimed at, on MNIST alone
_TIME = re.compile("".join(rf"(?:([0-9]+(?:\.[0-9]+)?){unit})?" for unit in "dhms"), re.IGNORECASE)
_UNIT_SECONDS = (24 * 3600, 3600, 60, 1)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


def usual_workers(device: str) -> int:
    """One a core; one on a GPU."""
    if device == AUTO and not Path("/proc/driver/nvidia/version").exists():
        return available_cores()  # without the seconds that importing torch takes
    import torch

    on_gpu = torch.cuda.is_available() and (device == AUTO or device.startswith("cuda"))
    return 1 if on_gpu else available_cores()


def seconds_of(timeout: Any) -> float:
    """How long that is, such as `90m`, `2h`, `1h30m`, or a number of seconds, as text or not;
    RequestError for what is no time, or none at all."""
    text, seconds = str(timeout).replace(" ", ""), 0.0
    with suppress(ValueError):
        seconds = 0.0 if isinstance(timeout, bool) else float(text)
    if found := _TIME.fullmatch(text):
        seconds = sum(float(n or 0) * u for n, u in zip(found.groups(), _UNIT_SECONDS, strict=True))
    if not 0 < seconds < math.inf:
        such_as = "90m, 2h, 1h30m or 600 (seconds)"
        raise RequestError(f"--timeout {timeout!r} is not a time above 0 such as {such_as}")
    return seconds


class StudySpec(BaseModel):
    """What identifies a study, and what was last asked of it; stored in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    dataset: str = Field(
        "mnist", description="mnist, fashion-mnist, kmnist, digits, folder, or your own."
    )
    budget: int = Field(8000, description="Most trainable parameters.")
    smallest: int | None = Field(
        None, ge=1, le=10**9, description="Fewest parameters that trials aim at."
    )
    limits: dict[str, int] = Field({}, description="Most of other costs of a network.")
    epochs: int = Field(15, ge=1, le=10**4, description="Epochs of a trial.")
    train_samples: int | None = Field(None, ge=2, le=10**9, description="Images a trial trains on.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="The one seed of the whole search.")
    sampler: str = Field(
        "tpe-spread",
        description="tpe-spread, tpe-log, tpe, tpe-multivariate, gp-log, gp, nsga2, random, or "
        "your own.",
    )
    pruner: str = Field(
        "prediction", description="prediction, dominance, median, one-epoch, none, or your own."
    )
    space: str = Field("default", description="The choices that are drawn: default, or your own.")
    precision: str = Field(
        AUTO, description="auto (what the device is best at), float32 or bfloat16."
    )
    classes: int = Field(10, ge=2, le=100)  # the dataset says it
    recipe: dict[str, Any] = Field({}, description="Settings of the recipe.")
    trials: int = Field(200, ge=1, le=10**6, description="Finished trials in total.")
    reruns: int | None = Field(
        None, ge=0, le=10**5, description="Runs besides, of networks that one leaves in doubt."
    )
    goal: float | None = Field(None, ge=0, le=100, description="Test accuracy to hold, percent.")
    most_accurate: int = Field(
        0, ge=0, le=1000, description="Also confirm the N best networks by validation accuracy."
    )

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise RequestError(refusal(error, type(self))) from None

    def model_post_init(self, context: Any) -> None:
        if self.goal is None and self.dataset == "mnist":
            self.__dict__["goal"] = _MNIST_GOAL

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        """A number of NumPy's as Python's own."""
        is_number = type(value).__module__ == "numpy" and not getattr(value, "shape", True)
        return value.item() if is_number else value

    def limit(self) -> Limit:
        return Limit.of(self.budget, self.limits)

    def total_reruns(self) -> int:
        """Of the whole study: about a fifth of what its trials cost, unless said."""
        return self.trials // _TRIALS_A_RERUN if self.reruns is None else self.reruns

    def trial_recipe(self, learning_rate: float) -> Recipe:
        own = {"epochs": self.epochs, "learning_rate": learning_rate}
        return Recipe().changed(self.recipe | own)

    def spec(self) -> StudySpec:
        """What is stored in the study."""
        return StudySpec(**{name: getattr(self, name) for name in StudySpec.model_fields})

    def as_dict(self) -> dict[str, Any]:
        return self.model_dump()


class SearchConfig(StudySpec):
    """A resolved request: a study, and how this machine runs it, which is never stored."""

    seeds: int = Field(3, ge=1, le=100, description="How many fresh seeds confirm a network.")
    confirm_samples: int | None = Field(
        None, ge=0, le=10**9, description="Training images of a confirmation; 0 is all."
    )
    confirm: bool = Field(True, description="Retrain the front with fresh seeds at the end.")
    confirm_trials: tuple[int, ...] = ()  # besides; to a worker, all
    workers: int = Field(
        default_factory=available_cores,
        ge=1,
        le=256,
        description="Worker processes, of one thread.",
    )
    timeout: float | None = Field(None, description="Stop after so long: 90m, 2h or 1h30m.")
    pack: int = Field(
        1, ge=1, le=256, description="Trials of one topology that a worker trains as one."
    )
    device: str = Field(AUTO, description="auto, cpu, or cuda, which is experimental.")
    data_dir: str | None = Field(None, description="Folder of the image files.")
    study: str = Field("", description="Name of the study.")
    storage: str = Field("", description="Database URL of the study.")
    artifact_dir: str = Field("", description="Folder of all weights.")
    results_dir: str = Field("runs", description="Where STUDY/front.csv and the rest go.")
    plugins: tuple[str, ...] = Field((), strict=False, description="Modules to import first.")

    @field_validator("timeout", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> float | None:
        return None if value is None else seconds_of(value)

    def model_post_init(self, context: Any) -> None:
        from nas_mnist.search.pruner import make_pruner
        from nas_mnist.search.sampler import find_sampler
        from nas_mnist.search.space import find_space

        super().model_post_init(context)
        # Before the images are read, nobody knows how many classes a user's own have.
        known = "classes" in self.model_fields_set or self.dataset in DATASETS.keys() - {"folder"}
        space = find_space(self.space, self.classes if known else 2)
        space.check(self.limit())
        space.from_size(self.smallest, self.budget)
        find_sampler(self.sampler)
        make_pruner(self.pruner, self.epochs, 1)
        if self.precision not in PRECISIONS:
            said = f"--precision {self.precision!r} is not one of"
            raise RequestError(f"{said} {', '.join(PRECISIONS)}")
        own = re.sub(
            r"[^A-Za-z0-9._-]+", "-", self.dataset.removeprefix(f"{OBJECT}:"), flags=re.ASCII
        )
        study = self.study or f"{own.lstrip('._-')[:80] or 'own'}-{self.budget}"
        storage = default_storage(study)
        for name in ("storage", "artifact_dir", "results_dir", "data_dir"):
            if "\0" in (getattr(self, name) or ""):
                raise RequestError(f"--{name.replace('_', '-')} has a NUL character in it")
        for name in sorted(self.recipe.keys() & _NOT_IN_RECIPE.keys()):
            raise RequestError(f"recipe: {name} cannot be set in a search: {_NOT_IN_RECIPE[name]}")
        recipe = Recipe().changed(merged(dataset_recipe(self.dataset), self.recipe)).as_dict()
        recipe = {n: v for n, v in recipe.items() if n not in _NOT_IN_RECIPE}
        if "workers" not in self.model_fields_set:
            self.__dict__["workers"] = usual_workers(self.device)
        # Defaults that follow from other fields.
        self.__dict__.update(study=study, storage=self.storage or storage, recipe=recipe)

    def deadline(self, began: float | None = None) -> float:
        """When the time is up (of `time.monotonic`) for what began then, or begins now."""
        began = time.monotonic() if began is None else began
        return began + (math.inf if self.timeout is None else self.timeout)

    def confirmation_images(self) -> int | None:
        """Training images of a confirmation, None for all: as many as a trial had, unless said."""
        images = self.train_samples if self.confirm_samples is None else self.confirm_samples
        return images or None

    def changed(self, **settings: Any) -> Self:
        return type(self)(**{**self.as_dict(), **settings})


def resolve_config(
    preset: Path | None, overrides: Mapping[str, Any], stored: Mapping[str, Any] | None = None
) -> SearchConfig:
    """Defaults, then what a study has `stored`, then the preset's settings, then `overrides`; None
    means "not given". Modules of the user's own that a setting names are imported, and become
    plugins. RequestError for an unreadable preset, an unknown setting or a value of the wrong kind.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    for name in (name for name, value in given.items() if isinstance(value, str) and not value):
        raise RequestError(f"--{name.replace('_', '-')} is empty")
    settings = {} if preset is None else _read_preset(preset)
    settled = merged(settings, given)
    recipe = settled.get("recipe", {})
    named = [settled.get(name) for name in ("dataset", "sampler", "pruner", "space")]
    named += [recipe.get("optimizer")] if isinstance(recipe, dict) else []
    own = filter(None, (module_of(text) for text in named if isinstance(text, str)))
    plugins = settled.get("plugins", ())
    if isinstance(plugins, list | tuple):  # else it is refused below
        plugins = tuple(dict.fromkeys(map(str, [*plugins, *own])))
        for module in plugins:
            import_plugin(module)
    settled = merged(stored or {}, {**settled, "plugins": plugins})
    sources = dict.fromkeys(settings.keys() - (given.keys() - {"recipe"}), f"--config {preset}: ")
    try:
        BaseModel.__init__(checked := SearchConfig.__new__(SearchConfig), **settled)
    except ValidationError as error:
        source = sources.get(str(error.errors()[0]["loc"][0]), "")
        raise RequestError(refusal(error, SearchConfig, source)) from None
    return checked


def _read_preset(path: Path) -> dict[str, Any]:
    if not path.name:
        raise RequestError("--config names no file")
    try:
        settings = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise RequestError(f"--config {path}: {reason(error)}") from None
    except UnicodeDecodeError:
        raise RequestError(f"--config {path}: not TOML: it is not text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"--config {path}: not TOML: {error}") from None
    return {name.replace("-", "_"): value for name, value in settings.items()}


def parse_url(storage: str | URL) -> URL:
    """A database's URL; RequestError for what is none."""
    try:
        url = make_url(storage)
        float(str(url.query.get("timeout", 0)))
        return url
    except (ArgumentError, ValueError):  # a port or a time that is no number
        such_as = "sqlite:///studies/my.db or postgresql+psycopg://me@host:5432/studies"
        raise RequestError(f"--storage must be a database URL such as {such_as}") from None


def default_storage(study: str) -> str:
    """A study's database where no other is named. RequestError for a name that none can have:
    they become file names and shell words."""
    said = f"study name {reprlib.repr(study)}"
    if not (isinstance(study, str) and _NAME.fullmatch(study)):
        rule = "must be 1 to 100 letters, digits, dots, dashes and underscores"
        raise RequestError(f"{said} {rule}, and start with a letter or digit")
    for ending in BESIDE:
        if study.endswith(ending):
            raise RequestError(f"{said}: names ending in {ending} are reserved")
    return f"sqlite:///studies/{study}.db"


def artifact_folder(artifact_dir: str, study: str, storage: str | URL) -> Path | None:
    """Where the weights of a study's trials lie: the folder named for it, else
    `<study>/artifacts` beside an SQLite database; None for a server, which keeps them itself."""
    if artifact_dir:
        return Path(artifact_dir)
    url = parse_url(storage)
    if url.get_backend_name() == "sqlite" and url.database:
        return Path(url.database).parent / study / "artifacts"
    return None

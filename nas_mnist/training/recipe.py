"""How a network is trained, as one immutable value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from nas_mnist.errors import RequestError

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("onecycle", "constant", "step", "cyclic")

DATASETS = ("mnist", "fashion-mnist", "kmnist", "digits")

# Where a dataset's own default differs. Digits has 1,200 images to train on: in batches of 128,
# 15 epochs would be 135 steps, too few to train anything.
DATASET_RECIPES: dict[str, dict[str, Any]] = {"digits": {"batch_size": 32}}


class _Settings:
    """Settings with ranges, made from untrusted mappings (TOML files, command lines)."""

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """A copy with the named settings changed; RequestError for an unknown name or a value
        of the wrong kind or range."""
        known = {item.name: item for item in fields(self)}  # type: ignore[arg-type]
        values = {}
        for name, value in changes.items():
            if name not in known:
                raise RequestError(f"recipe: unknown setting {name!r}; known: {', '.join(known)}")
            values[name] = _coerced(name, value, getattr(self, name))
        return replace(self, **values)  # type: ignore[type-var]

    def _check(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            raise RequestError(f"recipe: {name} {value:g} is not within {low:g} to {high:g}")


@dataclass(frozen=True, slots=True)
class Augmentation(_Settings):
    """Random changes of a training image, each drawn uniformly within ± its setting."""

    rotation: float = 7.0
    """degrees"""
    shift: float = 1.0
    """pixels, in each direction"""
    scale: float = 0.05
    """relative size"""
    shear: float = 0.0
    """degrees"""
    brightness: float = 0.0
    """relative brightness"""
    contrast: float = 0.0
    """relative contrast, about the image's mean"""

    def __post_init__(self) -> None:
        self._check("rotation", 0, 180)
        self._check("shift", 0, 14)
        self._check("scale", 0, 0.9)
        self._check("shear", 0, 60)
        self._check("brightness", 0, 1)
        self._check("contrast", 0, 1)


@dataclass(frozen=True, slots=True)
class Recipe(_Settings):
    """All that a training run needs beside the network, the data, the seed and the device."""

    epochs: int = 15
    batch_size: int = 128
    optimizer: str = "sgd"
    """`sgd` (with Nesterov momentum) or `adamw`"""
    learning_rate: float = 0.1
    """the peak of the schedule"""
    momentum: float = 0.9
    """of `sgd`; `adamw` keeps its own betas"""
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    schedule: str = "onecycle"
    """`onecycle`, `constant`, `step` or `cyclic`; see `learning_rates`"""
    warm_up: float = 0.2
    """`onecycle`: share of all steps until the peak"""
    start_factor: float = 0.1
    """`onecycle`, `cyclic`: lowest rate before the peak, as a share of the peak"""
    end_factor: float = 0.01
    """`onecycle`: last rate, as a share of the first"""
    step_epochs: int = 6
    """`step`: epochs between two drops; `cyclic`: epochs of one cycle"""
    step_factor: float = 0.1
    """`step`: what a drop multiplies the rate by"""
    average_epochs: float = 0.25
    """the network that is evaluated and kept is a moving average over about so many epochs of
    the one that is trained; 0 is that one itself"""
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        self._check("epochs", 1, 10_000)
        self._check("batch_size", 2, 65_536)
        self._check("learning_rate", 1e-6, 100)
        self._check("momentum", 0, 0.9999)
        self._check("weight_decay", 0, 100)
        self._check("label_smoothing", 0, 0.9)
        self._check("warm_up", 0, 1)
        self._check("start_factor", 1e-6, 1)
        self._check("end_factor", 1e-6, 1)
        self._check("step_epochs", 1, 10_000)
        self._check("step_factor", 1e-6, 1)
        self._check("average_epochs", 0, 10_000)
        for name, choices in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in choices:
                raise RequestError(
                    f"recipe: {name} {getattr(self, name)!r} is not one of {', '.join(choices)}"
                )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as TOML and JSON hold them; `Recipe().changed` reads them back."""
        return asdict(self)


def check_dataset(name: str) -> None:
    """Raise RequestError unless `name` is one of `DATASETS`."""
    if name not in DATASETS:
        raise RequestError(f"dataset {name!r} is not one of {', '.join(DATASETS)}")


def merged(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Recipe settings laid over each other, the later over the earlier, table by table."""
    result: dict[str, Any] = {}
    for layer in settings:
        for name, value in layer.items():
            below = result.get(name)
            both = isinstance(below, Mapping) and isinstance(value, Mapping)
            result[name] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Settings from `KEY=VALUE` texts; `augmentation.rotation=10` reaches into the table."""
    result: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise RequestError(f"--recipe {text!r} is not KEY=VALUE, such as batch_size=64")
        setting: Any = value
        for key in reversed(name.split(".")):
            setting = {key: setting}
        result = merged(result, setting)
    return result


def learning_rates(recipe: Recipe, steps_per_epoch: int) -> list[float]:
    """The learning rate of every step of the run.

    - `onecycle`: two half cosines, from start to peak and down to the end (Smith, Topin:
      Super-Convergence, 2018; the form of `torch.optim.lr_scheduler.OneCycleLR`)
    - `constant`: the peak
    - `step`: the peak, multiplied by `step_factor` every `step_epochs`
    - `cyclic`: triangles between start and peak, one every `step_epochs` (Smith: Cyclical
      Learning Rates, 2015)
    """
    steps = recipe.epochs * steps_per_epoch
    period = recipe.step_epochs * steps_per_epoch
    peak, start = recipe.learning_rate, recipe.learning_rate * recipe.start_factor
    match recipe.schedule:
        case "constant":
            return [peak] * steps
        case "step":
            return [peak * recipe.step_factor ** (step // period) for step in range(steps)]
        case "cyclic":
            triangle = (1 - abs(2 * (step % period) / period - 1) for step in range(steps))
            return [start + (peak - start) * height for height in triangle]
        case "onecycle":
            rise = max(1.0, recipe.warm_up * steps - 1)
            fall = max(1.0, steps - 1 - rise)
            end = start * recipe.end_factor
            return [
                _cosine(start, peak, step / rise)
                if step <= rise
                else _cosine(peak, end, (step - rise) / fall)
                for step in range(steps)
            ]
    raise RequestError(f"recipe: no schedule {recipe.schedule!r}")


def average_shares(recipe: Recipe, steps_per_epoch: int) -> list[float]:
    """For every step of the run, how far the averaged network then moves towards the trained one:
    a mean of all steps at first, an exponential one when they are as many as `average_epochs`
    (Polyak, Juditsky: Acceleration of Stochastic Approximation by Averaging, 1992)."""
    horizon = max(1.0, recipe.average_epochs * steps_per_epoch)
    return [1 / min(step, horizon) for step in range(1, recipe.epochs * steps_per_epoch + 1)]


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


def _coerced(name: str, value: Any, current: Any) -> Any:
    """`value` in the kind of the setting that it replaces; strings come from command lines."""
    if isinstance(current, Augmentation):
        if not isinstance(value, Mapping):
            raise RequestError(f"recipe: {name} must be a table, not {value!r}")
        return current.changed(value)
    if isinstance(current, str):
        return str(value)
    kind = type(current)
    try:
        if isinstance(value, bool) or (kind is int and float(value) != int(float(value))):
            raise ValueError
        number = kind(float(value))
    except (TypeError, ValueError, OverflowError):
        kind_name = "a whole number" if kind is int else "a number"
        raise RequestError(f"recipe: {name} must be {kind_name}, not {value!r}") from None
    return number

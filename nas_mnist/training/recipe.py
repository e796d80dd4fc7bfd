"""How a network is trained, as one immutable value, and the seeds of what is drawn meanwhile."""

import difflib
import hashlib
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from nas_mnist.errors import RequestError
from nas_mnist.lookup import find

# torch's names of those that move the weights of a whole pack at once.
OPTIMIZERS = {"sgd": "SGD", "adamw": "AdamW"}
SCHEDULES = ("onecycle", "constant", "step", "cyclic")
# How the types of pydantic's errors begin, and what they want; others want a table.
_KINDS = {
    **{"int": "a whole number", "finite": "a whole number", "float": "a number"},
    **{"str": "text", "tuple": "a list", "bool": "true or false"},
}
# torchvision's names of image sets, which are those of their folders too; None has none.
DATASETS = {
    **{"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"},
    **{"digits": None, "folder": None},
}


def dataset_recipe(name: str) -> dict[str, Any]:
    """Where that dataset's default recipe differs; RequestError for a name that means nothing."""
    find("--dataset", name, DATASETS)
    # 1,200 images to train on: in batches of 128, 15 epochs would be 135 steps, too few.
    return {"batch_size": 32} if name == "digits" else {}


class _Settings(BaseModel):
    """Settings made of untrusted mappings (TOML files, command lines)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise RequestError(refusal(error, type(self), "recipe: ")) from None

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """A copy with those settings; RequestError for an unknown name or a wrong value."""
        return type(self)(**merged(self.as_dict(), changes))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as TOML and JSON hold them; `changed` reads them back."""
        return self.model_dump()

    @field_validator("*", mode="before")
    @classmethod
    def _number(cls, value: Any, info: ValidationInfo) -> Any:
        """Booleans are numbers in Python, and never meant as such; 1e2 is a whole number."""
        if isinstance(value, bool):
            wanted: Any = cls.model_fields[str(info.field_name)].annotation
            raise PydanticCustomError(wanted.__name__, "a boolean")
        with suppress(ValueError, TypeError):
            return float(value)
        return value


class Augmentation(_Settings):
    """Random changes of a training image, each drawn uniformly within ± its setting."""

    rotation: float = Field(7.0, ge=0, le=180)  # degrees
    shift: float = Field(1.0, ge=0, le=14)  # pixels, in each direction
    scale: float = Field(0.05, ge=0, le=0.9)  # relative size
    shear: float = Field(0.0, ge=0, le=60)  # degrees
    brightness: float = Field(0.0, ge=0, le=1)  # relative
    contrast: float = Field(0.0, ge=0, le=1)  # relative, about the image's mean
    plain_epochs: int = Field(0, ge=0, le=10_000)  # the last ones, without any of it


class Recipe(_Settings):
    """All that a training run needs beside the network, the data, the seed and the device."""

    epochs: int = Field(15, ge=1, le=10_000)
    batch_size: int = Field(128, ge=2, le=65_536)
    optimizer: str = "sgd"  # Nesterov's; or `adamw`, or `module:attribute` of a torch optimizer
    learning_rate: float = Field(0.1, ge=1e-6, le=100)  # the peak of the schedule
    momentum: float = Field(0.9, ge=0, le=0.9999)  # of `sgd`; `adamw` keeps its own betas
    weight_decay: float = Field(5e-4, ge=0, le=100)
    label_smoothing: float = Field(0.0, ge=0, le=0.9)
    schedule: str = "onecycle"  # or `constant`, `step`, `cyclic`; see `learning_rates`
    warm_up: float = Field(0.2, ge=0, le=1)  # `onecycle`: share of all steps until the peak
    start_factor: float = Field(0.1, ge=1e-6, le=1)  # `onecycle`, `cyclic`: first rate / peak
    end_factor: float = Field(0.01, ge=1e-6, le=1)  # `onecycle`: last rate / first
    step_epochs: int = Field(6, ge=1, le=10_000)  # `step`: until a drop; `cyclic`: of a cycle
    step_factor: float = Field(0.1, ge=1e-6, le=1)  # `step`: what a drop multiplies the rate by
    # What is evaluated and kept is a moving average over about so many epochs of what is trained.
    average_epochs: float = Field(0.25, ge=0, le=10_000)  # 0: what is trained itself
    augmentation: Augmentation = Field(default_factory=Augmentation)

    def model_post_init(self, context: Any) -> None:
        if ":" not in self.optimizer and self.optimizer not in OPTIMIZERS:
            known = ", ".join((*OPTIMIZERS, "MODULE:ATTRIBUTE"))
            raise RequestError(f"recipe: optimizer {self.optimizer!r} is not one of {known}")
        if self.schedule not in SCHEDULES:
            known = ", ".join(SCHEDULES)
            raise RequestError(f"recipe: schedule {self.schedule!r} is not one of {known}")

    @property
    def open_ended(self) -> bool:
        """Whether nothing counts from the last epoch, so that longer training begins as this."""
        return self.schedule != "onecycle" and not self.augmentation.plain_epochs

    def learning_rates(self, steps_per_epoch: int) -> list[float]:
        """The learning rate of every step of the run. `onecycle` is two half cosines, from start
        to peak and down to the end (Smith, Topin: Super-Convergence, 2018; as torch's OneCycleLR);
        `cyclic` is triangles between start and peak (Smith: Cyclical Learning Rates, 2015)."""
        steps, period = self.epochs * steps_per_epoch, self.step_epochs * steps_per_epoch
        peak, start = self.learning_rate, self.learning_rate * self.start_factor
        if self.schedule == "constant":
            return [peak] * steps
        if self.schedule == "step":
            return [peak * self.step_factor ** (step // period) for step in range(steps)]
        if self.schedule == "cyclic":
            heights = (1 - abs(2 * (step % period) / period - 1) for step in range(steps))
            return [start + (peak - start) * height for height in heights]
        rise, end = max(1.0, self.warm_up * steps - 1), start * self.end_factor
        fall, until = max(1.0, steps - 1 - rise), min(steps, math.floor(rise) + 1)
        up = [_cosine(start, peak, step / rise) for step in range(until)]
        return up + [_cosine(peak, end, (step - rise) / fall) for step in range(until, steps)]

    def average_shares(self, steps_per_epoch: int) -> list[float]:
        """For every step of the run, how far the averaged network then moves towards the trained
        one: a mean of all steps at first, an exponential one when they are as many as
        `average_epochs` (Polyak, Juditsky: Acceleration of Stochastic Approximation by Averaging,
        1992)."""
        horizon = max(1.0, self.average_epochs * steps_per_epoch)
        return [1 / min(step, horizon) for step in range(1, self.epochs * steps_per_epoch + 1)]


def refusal(error: ValidationError, model: type[BaseModel], source: str = "") -> str:
    """The first of pydantic's errors in one line. `source`: where the setting is from, such as
    "recipe: "; without it, the command line's option is named."""
    first = error.errors()[0]
    name, kind, value = str(first["loc"][0]), first["type"], first["input"]
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(name, model.model_fields, n=1)
        meant = f"did you mean {close[0]}?" if close else f"known: {', '.join(model.model_fields)}"
        return f"{source}unknown setting {name!r}; {meant}"
    path = ".".join(map(str, first["loc"]))
    said = f"{source}{path}" if source else f"--{path.replace('_', '-')}"
    if kind in ("greater_than_equal", "less_than_equal"):
        bounds = {type(rule).__name__: rule for rule in model.model_fields[name].metadata}
        low, high = bounds["Ge"].ge, bounds["Le"].le
        return f"{said} {_figure(value)} is not within {_figure(low)} to {_figure(high)}"
    return f"{said} must be {wanted_kind(kind)}, not {value!r}"


def wanted_kind(kind: str) -> str:
    """What an error of that type, in pydantic's words, wants."""
    return next((words for begin, words in _KINDS.items() if kind.startswith(begin)), "a table")


def _figure(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others laid over them, table by table."""
    tables = {
        name: merged(below[name], value)
        for name, value in above.items()
        if isinstance(value, Mapping) and isinstance(below.get(name), Mapping)
    }
    return {**below, **above, **tables}


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


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


FOLDS = 6
"""one in so many training images is held out to validate"""


def derived_seed(*parts: int) -> int:
    """A seed of its own for each tuple of numbers, below 2**31, the same on every machine."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1

"""The search space: what a sampler draws, and what a draw decodes to."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

from optuna import Trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    distribution_to_json,
)

from nas_mnist.errors import RequestError
from nas_mnist.lookup import find
from nas_mnist.networks.architecture import Architecture, Limit, format_notation
from nas_mnist.networks.layers import CLASSES, MAX_CHANNELS
from nas_mnist.networks.references import references
from nas_mnist.networks.resizing import fit
from nas_mnist.networks.skeleton import Template
from nas_mnist.search.choices import DEFAULT_CHOICES, Choice, Point

_PROBES, _PROBE_LIMITS = 24, (300, 1500, 8000)  # draws, and their limits, that tell spaces apart


@dataclass(frozen=True)
class Space:
    """A list of choices, and all that follows. A point is a value for each choice by its name; one
    that was drawn before a choice existed has that choice's default."""

    choices: tuple[Choice, ...] = DEFAULT_CHOICES
    classes: int = CLASSES
    earlier_versions: tuple[str, ...] = ()  # under which points decoded to the same networks

    def __post_init__(self) -> None:
        names = [choice.name for choice in self.choices]
        said = [f"{name} is there twice" for name in sorted(names) if names.count(name) > 1]
        needed = ("fill", "peak_learning_rate")
        said += [f"{name} is missing" for name in needed if name not in names]
        if said:
            raise RequestError(f"--space: of its choices {said[0]}")

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna samples, in order."""
        return {choice.name: choice.distribution for choice in self.choices}

    def _has(self, name: str, value: Any) -> bool:
        """Whether this value of this choice can be drawn."""
        own: Any = self.distributions.get(name)
        if own is None:
            return False
        return value in own.choices if hasattr(own, "choices") else own.low <= value <= own.high

    @property
    def topology_names(self) -> set[str]:
        """The choices in which networks must agree to be trained as one."""
        return {choice.name for choice in self.choices if choice.changes_topology}

    def point(self, values: Point) -> dict[str, Any]:
        """A whole point: these values, and defaults for the choices that have none."""
        return {choice.name: values.get(choice.name, choice.default) for choice in self.choices}

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Let the study's sampler draw a point for this trial."""
        return {name: _suggest(trial, name, kind) for name, kind in self.distributions.items()}

    def decode(self, point: Point, limit: Limit) -> Architecture:
        """The widest network of these choices within `fill` x the limit's parameters. What cannot
        fit is simplified until it does; RequestError if nothing can."""
        full, most = self.point(point), limit.parameters
        # A millionth of a parameter covers the rounding of a fill computed as n / budget.
        aim = min(most, max(int(full["fill"] * most + 1e-6), self.smallest().parameters))
        return _decoded(self, tuple(full.values()), Limit(aim, limit.others))

    def smallest(self) -> Architecture:
        """The network of the space with the fewest parameters."""
        *_, last = self.simplified(self.point({}))
        return self.template(last).narrowest()

    @lru_cache(maxsize=8)  # noqa: B019  # a space is a value, and there are few
    def most_parameters(self) -> int:
        """Of the widest network of the choices that take most."""
        point = self.point({})

        def widest(point: Point) -> int:
            return self.template(point).network(lambda group, share: MAX_CHANNELS).parameters

        for choice in self.choices:
            kind: Any = choice.distribution
            ends = getattr(kind, "choices", None) or (kind.low, kind.high)
            point = max(({**point, choice.name: value} for value in ends), key=widest)
        return widest(point)

    def check(self, limit: Limit) -> None:
        """Raise RequestError if not even the smallest network is allowed, or any."""
        if limit.parameters > (most := self.most_parameters()):
            above = f"budget {limit.parameters:,} is above the largest network of this skeleton"
            raise RequestError(f"{above} ({most:,} parameters); lower --budget")
        least = self.smallest()
        has = f"{least.parameters:,} parameters"
        if least.parameters > limit.parameters:
            below = f"budget {limit.parameters:,} is below the smallest network of this skeleton"
            raise RequestError(f"{below} ({has}); raise --budget")
        if not limit.allows(least):
            none = f"no network of this skeleton is within {limit}"
            raise RequestError(f"{none}; the smallest has {has} and {least.macs:,} MACs")

    def from_size(self, smallest: int | None, budget: int) -> Self:
        """This space with sizes from `smallest` parameters on, or as it is for None. RequestError
        if no network of the space is of a size from there to the budget."""
        if smallest is None:
            return self
        fill: Any = self.distributions["fill"]
        least, most = self.smallest().parameters, int(fill.high * budget + 1e-6)
        if smallest > most:
            above = f"--smallest {smallest:,} is above the budget ({most:,} parameters); lower it"
            raise RequestError(above)
        if smallest < least:
            below = f"--smallest {smallest:,} is below the smallest network of this skeleton"
            raise RequestError(f"{below} ({least:,} parameters); raise it")
        low = smallest / budget
        sizes = FloatDistribution(low, max(low, fill.high), log=fill.log)
        own = (replace(c, distribution=sizes) if c.name == "fill" else c for c in self.choices)
        return replace(self, choices=tuple(own))

    def template(self, point: Point) -> Template:
        """What a whole point describes, before its widths are known."""
        template = Template(classes=self.classes)
        for choice in self.choices:
            template = choice.apply(template, point[choice.name])
        return template

    def simplified(self, point: Point) -> Iterator[dict[str, Any]]:
        """The point, then one thing less at a time: what small networks miss least goes first."""
        ranked = sorted(self.choices, key=lambda choice: choice.rank)
        current: dict[str, Any] | None = dict(point)
        while current is not None:
            yield current
            options = [(choice.name, choice.simpler(current)) for choice in ranked]
            simpler = ({**current, name: value} for name, value in options if value is not None)
            current = next(simpler, None)

    @lru_cache(maxsize=8)  # noqa: B019
    def version(self) -> str:
        """Changes with the choices and with what points decode to."""
        kinds, draws = self.distributions, random.Random(0)
        parts = [f"{name}={distribution_to_json(kind)}" for name, kind in kinds.items()]
        for _ in range(_PROBES):
            point = {name: _drawn(kind, draws) for name, kind in kinds.items()}
            parts += [format_notation(self.decode(point, Limit(most))) for most in _PROBE_LIMITS]
        return hashlib.sha256(";".join(parts).encode()).hexdigest()[:12]

    def accepts(self, version: str | None) -> bool:
        """Whether a study of that version can be continued here."""
        return version in (*self.earlier_versions, self.version())

    def spread_fill(self, seed: int, number: int) -> float:
        """The `fill` at this index of Weyl's sequence (of the golden ratio), which covers the
        log-scaled range evenly, wherever it ends."""
        fill: Any = self.distributions["fill"]
        share = (seed + 0.5 + number) * 0.6180339887498949 % 1
        return float(fill.low * (fill.high / fill.low) ** share)

    def first_points(self, limit: Limit) -> list[dict[str, Any]]:
        """What a search tries before it samples: a hand-made network, and proven shapes at several
        sizes, as far as they are within the budget. No network twice."""
        fill: Any = self.distributions["fill"]
        hand_made = references()["s7-dropout-7914"].architecture.parameters
        points: list[Point] = [{**_HAND_MADE, "fill": hand_made / limit.parameters}]
        points += [{**values, "fill": share} for share in _PROVEN_FILLS for values in _PROVEN]
        if limit.others:  # views take five times the MACs: networks a fifth as large
            points = [{**values, "views": False} for values in points]
        networks: dict[Architecture, dict[str, Any]] = {}
        for values in points:
            if fill.low <= values["fill"] <= 1:
                own = {name: value for name, value in values.items() if self._has(name, value)}
                networks.setdefault(self.decode(own, limit), self.point(own))
        return list(networks.values())


# s7-dropout-7914, at the peak learning rate of the published results that we could repeat.
_HAND_MADE = dict(width_ratio_3=0.6, entry_ratio=0.5, dropout=0.01, peak_learning_rate=0.1)
# Shapes that did well at every size (`results/first-trials`): to prune by, and a front at once.
# Deskewing, views and anti-aliased pools pay, most at 1,000 parameters (`results/what-pays`).
_FREE = dict(deskew=True, views=True, anti_aliased=True)
_DENSE = dict(width_ratio_2=1.5, width_ratio_3=1.17, peak_learning_rate=0.2, **_FREE)
_SEPARABLE = dict(convolutions_3=2, convolution="separable", peak_learning_rate=0.3)
_PROVEN, _PROVEN_FILLS = (_DENSE, {**_DENSE, **_SEPARABLE}), (1.0, 0.5, 0.25, 0.125)

DEFAULT = Space(earlier_versions=("a103686daada", "792daa3b2821", "fc93a88df7a8"))


def find_space(text: str, classes: int = CLASSES) -> Space:
    """The space of that name, `module:attribute`, or given object, for so many classes;
    RequestError for others."""
    found = find("--space", text, {"default": DEFAULT})
    if not isinstance(found, Space):
        raise RequestError(f"--space {text!r} is not a Space")
    return found if found.classes == classes else replace(found, classes=classes)


@lru_cache(maxsize=64)  # who draws a point decodes it, and who then runs it does again
def _decoded(space: Space, values: tuple[Any, ...], limit: Limit) -> Architecture:
    point = dict(zip(space.distributions, values, strict=True))
    for template in map(space.template, space.simplified(point)):
        if limit.allows(template.narrowest()):
            return fit(template, limit)
    space.check(limit)
    raise RequestError(f"no network of this skeleton is within {limit}")


def _suggest(trial: Trial, name: str, kind: Any) -> Any:
    if isinstance(kind, CategoricalDistribution):
        return trial.suggest_categorical(name, kind.choices)
    suggest: Any = trial.suggest_int if isinstance(kind.low, int) else trial.suggest_float
    return suggest(name, kind.low, kind.high, step=kind.step, log=kind.log)


def _drawn(kind: Any, draws: random.Random) -> Any:
    if isinstance(kind, CategoricalDistribution):
        return draws.choice(kind.choices)
    if isinstance(kind.low, int):
        return draws.randrange(kind.low, kind.high + 1, kind.step)
    return round(draws.uniform(kind.low, kind.high), 2)

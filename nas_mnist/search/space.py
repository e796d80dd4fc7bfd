"""The search space: what Optuna samples, and what a sample means."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from nas_mnist.networks.architecture import Architecture
from nas_mnist.networks.notation import format_notation
from nas_mnist.networks.references import references
from nas_mnist.networks.skeleton import (
    CONVOLUTIONS,
    MAX_CONVOLUTIONS,
    MAX_POOLS,
    POOL_RECEPTIVE_FIELDS,
    Choices,
    decode,
    smallest,
)

_RATIO = FloatDistribution(0.5, 2.0, log=True)
_DEPTH = IntDistribution(1, MAX_CONVOLUTIONS)

# Static ranges, all sampled in every trial: a range that depends on another sample drops out of
# TPE's model.
SPACE: dict[str, BaseDistribution] = {
    "first_pool_receptive_field": IntDistribution(
        min(POOL_RECEPTIVE_FIELDS), max(POOL_RECEPTIVE_FIELDS), step=2
    ),
    "pools": IntDistribution(1, MAX_POOLS),
    "convolutions_2": _DEPTH,
    "convolutions_3": _DEPTH,
    "convolutions_4": _DEPTH,
    "width_ratio_2": _RATIO,
    "width_ratio_3": _RATIO,
    "width_ratio_4": _RATIO,
    "entry_ratio": FloatDistribution(0.5, 1.0),
    "squeeze_ratio": CategoricalDistribution((0.0, 0.5, 0.75)),
    "head_ratio": CategoricalDistribution((0.0, 1.0, 2.0)),
    "convolution": CategoricalDistribution(CONVOLUTIONS),
    "dropout": FloatDistribution(0.0, 0.1, step=0.01),
    "peak_learning_rate": FloatDistribution(0.05, 0.8, log=True),
    "fill": FloatDistribution(0.1, 1.0, log=True),
}
# The fractional part of the golden ratio: its multiples fill a range evenly at every length.
_GOLDEN = 0.6180339887498949
# What leaves the topology as it is, most often: networks that differ in these alone can be trained
# as one.
WIDTHS = frozenset(
    {
        *("width_ratio_2", "width_ratio_3", "width_ratio_4", "entry_ratio"),
        *("fill", "peak_learning_rate"),
    }
)
_CHOICES = tuple(item.name for item in fields(Choices))

# Two convolutions, a pool, two, a pool, one.
_COMMON = Choices(first_pool_receptive_field=5, pools=2, convolutions_2=2, convolutions_3=1)
# The hand-made networks that the family can express, with the peak learning rate of the
# published results that we could repeat.
_HAND_MADE = {
    "s7-dropout-7914": (replace(_COMMON, width_ratio_3=0.6, entry_ratio=0.5, dropout=0.01), 0.1),
}
# Shapes that did well under the default recipe at every size (`results/first-trials`), and their
# rates: a search that begins with them has something to prune by, and a front at once.
_DENSE = replace(_COMMON, width_ratio_2=1.5, width_ratio_3=1.17)
_PROVEN = (
    (_DENSE, 0.2),
    (replace(_DENSE, convolutions_3=2, convolution="separable"), 0.3),
)
_PROVEN_FILLS = (1.0, 0.5, 0.25, 0.125)


@dataclass(frozen=True, slots=True)
class Sample:
    """One point of the search space."""

    choices: Choices
    peak_learning_rate: float
    fill: float
    """share of the budget that the network aims at"""

    def architecture(self, budget: int) -> Architecture:
        """The widest network of these choices within fill × budget, and within the budget."""
        # A millionth of a parameter covers the rounding of a fill computed as n / budget.
        target = int(self.fill * budget + 1e-6)
        return decode(self.choices, min(budget, max(target, smallest().parameters)))


def suggest(trial: optuna.Trial) -> Sample:
    """Let the study's sampler draw a point for this trial."""
    return sample_of({name: _suggest(trial, name, SPACE[name]) for name in SPACE})


def sample_of(values: Mapping[str, Any]) -> Sample:
    """The point with these values of SPACE's parameters."""
    choices = Choices(**{name: values[name] for name in _CHOICES})
    return Sample(choices, values["peak_learning_rate"], values["fill"])


def spread_fill(seed: int, number: int) -> float:
    """The `fill` at this place of a sequence that covers its (log-scaled) range evenly, wherever
    it ends: Weyl's, with the golden ratio."""
    fill: Any = SPACE["fill"]
    share = (seed + 0.5 + number) * _GOLDEN % 1
    return float(fill.low * (fill.high / fill.low) ** share)


def first_points(budget: int) -> list[dict[str, Any]]:
    """What a search tries before it samples: the hand-made networks within the budget and the
    space, and the proven shapes at several sizes. No network twice."""
    low: float = SPACE["fill"].low  # type: ignore[attr-defined]
    samples = [
        Sample(choices, learning_rate, references()[name].architecture.parameters / budget)
        for name, (choices, learning_rate) in _HAND_MADE.items()
    ]
    samples += [Sample(*proven, fill) for fill in _PROVEN_FILLS for proven in _PROVEN]
    networks: dict[Architecture, Sample] = {}
    for sample in samples:
        if low <= sample.fill <= 1:
            networks.setdefault(sample.architecture(budget), sample)
    return [
        {
            **asdict(sample.choices),
            "peak_learning_rate": sample.peak_learning_rate,
            "fill": sample.fill,
        }
        for sample in networks.values()
    ]


def space_version() -> str:
    """Changes with the space and with what its points decode to, so that a study is not
    continued in another one."""
    parts = [f"{name}={distribution_to_json(kind)}" for name, kind in SPACE.items()]
    for convolution in CONVOLUTIONS:
        probe = Choices(9, MAX_POOLS, 3, 2, 3, 1.5, 0.7, 1.3, 0.6, 0.75, 1.0, convolution, 0.05)
        parts += [format_notation(decode(probe, limit)) for limit in (300, 1500, 8000)]
    return hashlib.sha256(";".join(parts).encode()).hexdigest()[:12]


def _suggest(trial: optuna.Trial, name: str, kind: BaseDistribution) -> Any:
    match kind:
        case FloatDistribution():
            return trial.suggest_float(name, kind.low, kind.high, step=kind.step, log=kind.log)
        case IntDistribution():
            return trial.suggest_int(name, kind.low, kind.high, step=kind.step, log=kind.log)
        case CategoricalDistribution():
            return trial.suggest_categorical(name, kind.choices)
    raise TypeError(f"{name}: no way to suggest {kind!r}")

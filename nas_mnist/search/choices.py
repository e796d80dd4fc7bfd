"""The choices that a search draws: what each does to the template, and what gives way first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from nas_mnist.networks.layers.pointwise import Dropout
from nas_mnist.networks.skeleton import Template

Point: TypeAlias = Mapping[str, Any]
"""a value for each choice, by its name"""

POOL_RECEPTIVE_FIELDS = (3, 5, 7, 9)
MAX_POOLS = 3
MAX_CONVOLUTIONS = 3
"""convolutions in each block behind the first pool"""
CONVOLUTIONS = ("dense", "separable")

_RATIO = FloatDistribution(0.5, 2.0, log=True)
_DEPTH = IntDistribution(1, MAX_CONVOLUTIONS)
_SQUEEZE = CategoricalDistribution((0.0, 0.5, 0.75))


@dataclass(frozen=True)
class Choice:
    """One thing that a search draws for each trial. A subclass says what it does in `apply`."""

    name: str
    distribution: BaseDistribution
    """static, and sampled in every trial: a range that depends on another sample drops out of
    TPE's model"""
    default: Any
    """what a network drawn without this choice has"""

    changes_topology: ClassVar[bool] = True
    """whether networks that differ in it alone cannot be trained as one"""
    rank: ClassVar[int] = 0
    """when a budget is tight, choices of lower rank give way first"""

    def apply(self, template: Template, value: Any) -> Template:
        """The template with this value; choices are applied in their order."""
        return template

    def simpler(self, point: Point) -> Any | None:
        """A value in place of the point's own that makes a smaller network possible; None if this
        choice has nothing to give, or not yet."""
        gives = self.changes_topology and point[self.name] != self.default
        return self.default if gives else None


@dataclass(frozen=True)
class _OfBlocks(Choice):
    """Sets one thing of a block, by its number from 1, or of all."""

    setting: str
    block: int | None = None

    def apply(self, template: Template, value: Any) -> Template:
        blocks = tuple(
            replace(block, **{self.setting: value}) if self.block in (None, number) else block
            for number, block in enumerate(template.blocks, start=1)
        )
        return replace(template, blocks=blocks)


class FirstPool(_OfBlocks):
    """Where the first max-pool stands: pixels that its input sees, 1 to 4 convolutions before."""

    rank = 7

    def apply(self, template: Template, value: Any) -> Template:
        return _OfBlocks.apply(self, template, (value - 1) // 2)

    def simpler(self, point: Point) -> Any | None:
        value = point[self.name]
        return value - 2 if value > POOL_RECEPTIVE_FIELDS[0] else None


class Pools(Choice):
    """How many max-pools there are, and so blocks."""

    rank = 4

    def apply(self, template: Template, value: Any) -> Template:
        return replace(template, blocks=template.blocks[: value + 1])

    def simpler(self, point: Point) -> Any | None:
        pools = point[self.name]
        return pools - 1 if pools > 1 and point[f"convolutions_{pools + 1}"] == 1 else None


class Depth(_OfBlocks):
    """Convolutions of a block behind the first pool; those of the last one give way first."""

    block: int

    @property
    def rank(self) -> int:  # type: ignore[override]
        return {4: 3, 3: 5, 2: 6}[self.block]

    def simpler(self, point: Point) -> Any | None:
        depth = point[self.name]
        return depth - 1 if depth > 1 and point["pools"] >= self.block - 1 else None


class Width(_OfBlocks):
    """Of a block, or of its first convolution, beside that of others: see `Block`."""

    changes_topology = False


class SqueezeRatio(_OfBlocks):
    """Of the 1×1 convolution behind the first pool to what it reads; 0 is none."""

    rank = 2


class HeadRatio(Choice):
    """Of the hidden 1×1 convolution behind the global average to what it reads; 0 is none."""

    rank = 1

    def apply(self, template: Template, value: Any) -> Template:
        return replace(template, head_ratio=value)


class Convolutions(_OfBlocks):
    """Of all but the network's first: dense, or separable (depthwise, then 1×1)."""

    rank = 8

    def apply(self, template: Template, value: Any) -> Template:
        return _OfBlocks.apply(self, template, value == "separable")

    def simpler(self, point: Point) -> Any | None:
        return "separable" if point[self.name] != "separable" else None


class DropoutRate(Choice):
    """Of values, behind every convolution of the blocks; 0 is none."""

    def apply(self, template: Template, value: Any) -> Template:
        dropout = (Dropout(round(value, 6)),) if value else ()
        blocks = [replace(block, tail=(*block.tail, *dropout)) for block in template.blocks]
        return replace(template, blocks=tuple(blocks))

    def simpler(self, point: Point) -> Any | None:
        return None  # it costs nothing


class OfTraining(Choice):
    """What does not change the template: the peak learning rate, and `fill`, the share of the
    budget that the network aims at."""

    changes_topology = False


DEFAULT_CHOICES: tuple[Choice, ...] = (
    FirstPool("first_pool_receptive_field", IntDistribution(3, 9, step=2), 5, "depth", 1),
    Pools("pools", IntDistribution(1, MAX_POOLS), 2),
    Depth("convolutions_2", _DEPTH, 2, "depth", 2),
    Depth("convolutions_3", _DEPTH, 1, "depth", 3),
    Depth("convolutions_4", _DEPTH, 1, "depth", 4),
    *(Width(f"width_ratio_{block}", _RATIO, 1.0, "ratio", block) for block in (2, 3, 4)),
    Width("entry_ratio", FloatDistribution(0.5, 1.0), 1.0, "entry_ratio"),
    SqueezeRatio("squeeze_ratio", _SQUEEZE, 0.0, "squeeze_ratio", 2),
    HeadRatio("head_ratio", CategoricalDistribution((0.0, 1.0, 2.0)), 0.0),
    Convolutions("convolution", CategoricalDistribution(CONVOLUTIONS), "dense", "separable"),
    DropoutRate("dropout", FloatDistribution(0.0, 0.1, step=0.01), 0.0),
    OfTraining("peak_learning_rate", FloatDistribution(0.05, 0.8, log=True), 0.1),
    OfTraining("fill", FloatDistribution(0.1, 1.0, log=True), 1.0),
)

"""The choices that a search draws: what each does to the template, and what gives way first."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar, TypeAlias

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from nas_mnist.networks.layers import Layer
from nas_mnist.networks.layers.deskew import Deskew
from nas_mnist.networks.layers.smooth import AntiAliasedPool
from nas_mnist.networks.layers.views import Views
from nas_mnist.networks.skeleton import Template

Point: TypeAlias = Mapping[str, Any]  # a value for each choice, by its name

CONVOLUTIONS = ("dense", "separable")
MAX_POOLS, MAX_CONVOLUTIONS = 3, 3  # and convolutions in each block behind the first pool

_RATIO = FloatDistribution(0.5, 2.0, log=True)
_DEPTH = IntDistribution(1, MAX_CONVOLUTIONS)
_OF_WIDTH: dict[str, Any] = {"changes_topology": False}
_SQUEEZE = CategoricalDistribution((0.0, 0.5, 0.75))
_HEAD = CategoricalDistribution((0.0, 1.0, 2.0))
_DROPOUT = FloatDistribution(0.0, 0.1, step=0.01)
_EITHER = CategoricalDistribution((False, True))


@dataclass(frozen=True)
class Choice:
    """One thing that a search draws for each trial. A subclass says what it does in `apply`."""

    name: str
    # Static: a range that depends on another sample drops out of TPE's model.
    distribution: optuna.distributions.BaseDistribution
    default: Any  # what a network drawn without this choice has
    changes_topology: ClassVar[bool] = True  # or networks that differ in it alone train as one
    rank: ClassVar[int] = 0  # when a budget is tight, choices of lower rank give way first

    def apply(self, template: Template, value: Any) -> Template:
        """The template with this value; choices are applied in their order."""
        return template

    def simpler(self, point: Point) -> Any | None:
        """A value in place of the point's own for a smaller network; None if there is none yet."""
        gives = self.changes_topology and point[self.name] != self.default
        return self.default if gives else None


@dataclass(frozen=True)
class BlockSetting(Choice):
    """Sets one thing of a block, by its number from 1, of all blocks, or of the template (0)."""

    setting: str
    block: int | None = None
    _: KW_ONLY
    rank: int = 0  # type: ignore[misc]
    changes_topology: bool = True  # type: ignore[misc]

    def apply(self, template: Template, value: Any) -> Template:
        change = {self.setting: value}
        if self.block == 0:
            return replace(template, **change)
        blocks = list(template.blocks)
        own = slice(None) if self.block is None else slice(self.block - 1, self.block)
        blocks[own] = [replace(block, **change) for block in blocks[own]]
        return replace(template, blocks=tuple(blocks))


class Pools(Choice):
    """How many max-pools there are, and so blocks."""

    rank = 4

    def apply(self, template: Template, value: Any) -> Template:
        return replace(template, blocks=template.blocks[: value + 1])

    def simpler(self, point: Point) -> Any | None:
        pools = point[self.name]
        return pools - 1 if pools > 1 and point[f"convolutions_{pools + 1}"] == 1 else None


class Depth(BlockSetting):
    """Convolutions of a block."""

    block: int
    distribution: IntDistribution

    def simpler(self, point: Point) -> Any | None:
        value = point[self.name]
        stands = value > self.distribution.low and point["pools"] >= self.block - 1
        return value - self.distribution.step if stands else None


class FirstPool(Depth):
    """Where the first max-pool stands: pixels that its input sees, 1 to 4 convolutions before."""

    def apply(self, template: Template, value: Any) -> Template:
        return super().apply(template, (value - 1) // 2)


class Convolutions(BlockSetting):
    """Of all but the network's first: dense, or separable (depthwise, then 1×1)."""

    def simpler(self, point: Point) -> Any | None:
        return "separable" if point[self.name] != "separable" else None


class Kernel(Choice):
    """Side of the square windows behind the first max-pool."""

    def apply(self, template: Template, value: Any) -> Template:
        first, *others = template.blocks
        return replace(template, blocks=(first, *(replace(own, kernel=value) for own in others)))


@dataclass(frozen=True)
class Entry(Choice):
    """Whether this layer, which costs no parameters, stands before the blocks."""

    layer: Layer
    rank: ClassVar[int] = 10  # last of all: views cost MACs

    def apply(self, template: Template, value: Any) -> Template:
        return replace(template, entry=(*template.entry, self.layer)) if value else template

    def simpler(self, point: Point) -> Any | None:
        return False if point[self.name] and self.layer.copies() > 1 else None


class PoolKind(Entry):
    """Whether this layer stands between the blocks, in place of max-pools."""

    def apply(self, template: Template, value: Any) -> Template:
        return replace(template, pool=self.layer) if value else template


class OfTraining(Choice):
    """Does not change the template: the peak learning rate, or the share of the budget to fill."""

    changes_topology = False


DEFAULT_CHOICES: tuple[Choice, ...] = (
    FirstPool("first_pool_receptive_field", IntDistribution(3, 9, step=2), 5, "depth", 1, rank=7),
    Pools("pools", IntDistribution(1, MAX_POOLS), 2),
    Depth("convolutions_2", _DEPTH, 2, "depth", 2, rank=6),
    Depth("convolutions_3", _DEPTH, 1, "depth", 3, rank=5),
    Depth("convolutions_4", _DEPTH, 1, "depth", 4, rank=3),
    *(BlockSetting(f"width_ratio_{n}", _RATIO, 1.0, "ratio", n, **_OF_WIDTH) for n in (2, 3, 4)),
    BlockSetting("entry_ratio", FloatDistribution(0.5, 1.0), 1.0, "entry_ratio", **_OF_WIDTH),
    BlockSetting("squeeze_ratio", _SQUEEZE, 0.0, "squeeze_ratio", 2, rank=2),
    BlockSetting("head_ratio", _HEAD, 0.0, "head_ratio", 0, rank=1),
    Convolutions("convolution", CategoricalDistribution(CONVOLUTIONS), "dense", "kind", rank=8),
    Kernel("kernel", CategoricalDistribution((3, 5)), 3),
    BlockSetting("dropout", _DROPOUT, 0.0, "dropout", rank=9),  # last: it costs nothing
    Entry("deskew", _EITHER, False, Deskew(sized=True)),
    Entry("views", _EITHER, False, Views()),
    PoolKind("anti_aliased", _EITHER, False, AntiAliasedPool()),
    OfTraining("peak_learning_rate", FloatDistribution(0.05, 0.8, log=True), 0.1),
    OfTraining("fill", FloatDistribution(0.1, 1.0, log=True), 1.0),
)

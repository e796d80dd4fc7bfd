"""The parametric family: a template is a network whose widths are still to be found.

    block 1, max-pool, block 2, [max-pool, block 3, [block 4,]]
    global average pool, [hidden 1×1,] 1×1 to the class scores

Before block 4 there are too few pixels for a max-pool. A template fixes all but the scale of the
widths; `fit` takes the widest that a limit allows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from nas_mnist.networks.architecture import Architecture, Limit
from nas_mnist.networks.layers import CLASSES, INPUT_SHAPE, MAX_CHANNELS, Layer, convolution as op
from nas_mnist.networks.layers.composite import Residual

MIN_WIDTH = 4  # narrower maps are not worth a layer; it also bounds the smallest network
# Below 4 pixels a side a 3×3 convolution pads and a pool is left out, so that at least 2×2 reach
# the global average: on a 1×1 map eight of nine weights would see only padding.
_MIN_SIDE, _MIN_OUTPUT_SIDE = 4, 2

_POOL = op.MaxPool()

# Channels of a group of equally wide convolutions, of its name and its first relative width.
Width: TypeAlias = Callable[[str, float], int]


@dataclass(frozen=True, slots=True)
class Block:
    """A run of convolutions. A subclass may override `convolution` or `layers`."""

    depth: int = 1  # convolutions
    ratio: float = 1.0  # of its width to that of the block before
    entry_ratio: float = 1.0  # of its first convolution, of two or more, to the others
    kernel: int = 3  # side of the square windows, odd
    kind: str = "dense"  # or "separable": depthwise, then 1×1, but for the network's first
    squeeze_ratio: float = 0.0  # of a 1×1 convolution before it to what that reads; 0 is none
    residual: bool = False  # adds what its first makes to what the others do, padded, as wide
    group: str = ""  # a name for the width of all its convolutions; blocks of one name share it
    tail: tuple[Layer, ...] = (op.ReLU(), op.BatchNorm())  # behind each convolution
    dropout: float = 0.0  # of values, behind that; 0 is none
    end: tuple[Layer, ...] = ()  # behind the block

    def convolution(self, width: int, kernel: int, padding: int, *, first: bool) -> list[Layer]:
        """The layers of one convolution; `first`: of the whole network."""
        tail = [*self.tail, op.Dropout(round(self.dropout, 6))] if self.dropout else self.tail
        if self.kind == "separable" and kernel > 1 and not first:
            window = op.DepthwiseConv(kernel=kernel, padding=padding)
            return [window, op.Conv(width, kernel=1), *tail]
        return [op.Conv(width, kernel=kernel, padding=padding), *tail]

    def layers(
        self, number: int, read: float, side: int, width: Width, *, first: bool
    ) -> tuple[list[Layer], int]:
        """Its layers, and the side of the map that they make. `number` counts from 1; `read` and
        `side` are the relative width and the side of what it reads."""
        shared = self.group or (f"block{number}" if self.residual else "")
        plan = [(f"squeeze{number}", read * self.squeeze_ratio, 1)] if self.squeeze_ratio else []
        for position in range(1, self.depth + 1):
            entry = self.entry_ratio if position == 1 < self.depth and not shared else 1.0
            group = shared or f"block{number}.{position}"
            plan.append((group, read * self.ratio * entry, self.kernel))
        layers: list[Layer] = []
        inner: list[Layer] = []
        outside = len(plan) - self.depth + 1 if self.residual else len(plan)
        for place, (group, share, kernel) in enumerate(plan):
            lost, adds = kernel - 1, place >= outside
            padding = lost // 2 if adds or side - lost < _MIN_OUTPUT_SIDE else 0
            made = self.convolution(width(group, share), kernel, padding, first=first and not place)
            (inner if adds else layers).extend(made)
            side -= lost - 2 * padding
        layers += [Residual(tuple(inner))] if inner else []
        return [*layers, *self.end], side


@dataclass(frozen=True, slots=True)
class Template:
    """A network whose widths are still to be found."""

    blocks: tuple[Block, ...] = (Block(),) * 4  # with a pool between, while there are pixels
    entry: tuple[Layer, ...] = ()  # before them
    pool: Layer = _POOL  # between them
    classes: int = CLASSES
    head_ratio: float = 0.0  # of a hidden 1×1 convolution to the average it reads; 0 is none

    def network(self, width: Width) -> Architecture:
        """The network in which each group has that many channels."""
        layers = list(self.entry)
        side, read = INPUT_SHAPE[1], 1.0
        for number, block in enumerate(self.blocks, start=1):
            if number > 1 and side >= _MIN_SIDE:
                layers.append(self.pool)
                side //= 2
            made, side = block.layers(number, read, side, width, first=number == 1)
            layers += made
            read *= block.ratio
        layers.append(op.GlobalAveragePool())
        if self.head_ratio:
            layers += [op.Conv(width("head", read * self.head_ratio), kernel=1), op.ReLU()]
        return Architecture((*layers, op.Conv(self.classes, kernel=1)))

    def groups(self) -> dict[str, float]:
        """The relative width of each group, by its name."""
        groups: dict[str, float] = {}

        def width(group: str, relative: float) -> int:
            groups.setdefault(group, relative)
            return MIN_WIDTH

        self.network(width)
        return groups

    def narrowest(self) -> Architecture:
        """The network with the fewest channels."""
        return self.network(lambda group, relative: MIN_WIDTH)


def fit(template: Template, limit: Limit) -> Architecture:
    """The widest network that the limit allows, which must allow the narrowest. First the largest
    common scale of the widths, then one channel at a time for the group that lags most."""
    shares = template.groups()

    def network(widths: Mapping[str, int]) -> Architecture:
        return template.network(lambda group, relative: widths[group])

    def scaled(scale: float) -> dict[str, int]:
        widths = {group: max(MIN_WIDTH, int(scale * share)) for group, share in shares.items()}
        return {group: min(MAX_CHANNELS, width) for group, width in widths.items()}

    # No width shrinks as the scale grows, so that bisection finds the largest scale.
    low, high = 0.0, float(MIN_WIDTH)
    largest, smallest = max(shares.values()), min(shares.values())
    while high < MAX_CHANNELS / smallest and limit.allows(network(scaled(high))):
        low, high = high, 2 * high
    # Widths are whole: below a channel's thousandth no width changes any more but by chance.
    while (high - low) * largest > 1e-3:
        middle = (low + high) / 2
        fits = limit.allows(network(scaled(middle)))
        low, high = (middle, high) if fits else (low, middle)
    widths, growable = scaled(low), list(shares)
    while growable:
        group = min(growable, key=lambda group: widths[group] / shares[group])
        wider = {**widths, group: widths[group] + 1}
        if wider[group] <= MAX_CHANNELS and limit.allows(network(wider)):
            widths = wider
        else:
            growable.remove(group)
    return network(widths)

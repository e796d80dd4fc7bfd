"""The parametric family: a template is a network whose widths are still to be found.

    block 1, max-pool, block 2, [max-pool, block 3, [block 4,]]
    global average pool, [hidden 1×1,] 1×1 to ten scores

Block 4 would have a max-pool before it too, if images of 28×28 left pixels enough for a third. A
block is a run of convolutions, each with its tail: ReLU, batch normalization, dropout. A template
fixes everything but the scale of the widths; `fit` takes the widest whole widths that a limit
allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nas_mnist.networks.architecture import Architecture, Limit
from nas_mnist.networks.layers import CLASSES, INPUT_SHAPE, MAX_CHANNELS, Layer
from nas_mnist.networks.layers.composite import Residual
from nas_mnist.networks.layers.convolution import Conv, DepthwiseConv
from nas_mnist.networks.layers.pointwise import BatchNorm, ReLU
from nas_mnist.networks.layers.pooling import GlobalAveragePool, MaxPool

# Narrower maps than this carry too little to be worth a layer; it also bounds how small the
# smallest network is.
MIN_WIDTH = 4
# Below 4 pixels a side a 3×3 convolution pads and a pool is left out, so that at least 2×2
# pixels reach the global average: on a 1×1 map eight of nine weights would see only padding.
_MIN_SIDE = 4
_MIN_OUTPUT_SIDE = 2


class Slot(NamedTuple):
    """One convolution of a template: the widths of all slots of one group are equal."""

    group: str
    relative_width: float
    kernel: int


@dataclass(frozen=True, slots=True)
class Block:
    """A run of convolutions. A subclass may override `convolution` or `layers`."""

    depth: int = 1
    """convolutions"""
    ratio: float = 1.0
    """of its width to that of the block before"""
    entry_ratio: float = 1.0
    """of its first convolution, of two or more, to the others"""
    kernel: int = 3
    """side of the square windows, odd"""
    separable: bool = False
    """depthwise, then 1×1; the network's first convolution is dense all the same"""
    squeeze_ratio: float = 0.0
    """of a 1×1 convolution before it to what that one reads; 0 is none"""
    residual: bool = False
    """the input of all convolutions behind the first is added to what they make; all of the block
    are then of one width, and padded"""
    group: str = ""
    """a name for its width, if all its convolutions are to have one, and other blocks of that
    name the same; else each has its own"""
    tail: tuple[Layer, ...] = (ReLU(), BatchNorm())
    """layers behind each convolution"""
    end: tuple[Layer, ...] = ()
    """layers behind the block"""

    def slots(self, number: int, read_width: float) -> list[Slot]:
        """Its convolutions, given its number and the relative width of what it reads."""
        slots = []
        if self.squeeze_ratio:
            slots.append(Slot(f"squeeze{number}", read_width * self.squeeze_ratio, 1))
        width = read_width * self.ratio
        shared = self.group or (f"block{number}" if self.residual else "")
        for position in range(self.depth):
            entry = self.entry_ratio if position == 0 and self.depth > 1 and not shared else 1.0
            group = shared or f"block{number}.{position + 1}"
            slots.append(Slot(group, width * entry, self.kernel))
        return slots

    def convolution(self, width: int, kernel: int, padding: int, *, first: bool) -> list[Layer]:
        """The layers of one convolution; `first`: of the whole network."""
        if self.separable and kernel > 1 and not first:
            window = DepthwiseConv(kernel=kernel, padding=padding)
            return [window, Conv(width, kernel=1), *self.tail]
        return [Conv(width, kernel=kernel, padding=padding), *self.tail]

    def layers(
        self, slots: Sequence[Slot], widths: Mapping[str, int], side: int, *, first: bool
    ) -> tuple[list[Layer], int]:
        """Its layers at these widths.

        Args:
            slots: what `slots` gave.
            widths: channels of each group.
            side: pixels of the map that it reads.
            first: whether it begins the network.

        Returns:
            The layers, and the side of the map that they make.
        """
        layers: list[Layer] = []
        inner: list[Layer] = []
        for index, slot in enumerate(slots):
            reduction = slot.kernel - 1
            adds = self.residual and index > bool(self.squeeze_ratio)
            pads = adds or (reduction and side - reduction < _MIN_OUTPUT_SIDE)
            padding = reduction // 2 if pads else 0
            made = self.convolution(
                widths[slot.group], slot.kernel, padding, first=first and index == 0
            )
            (inner if adds else layers).extend(made)
            side -= reduction - 2 * padding
        if inner:
            layers.append(Residual(tuple(inner)))
        return [*layers, *self.end], side


@dataclass(frozen=True, slots=True)
class Template:
    """A network whose widths are still to be found."""

    blocks: tuple[Block, ...] = field(default_factory=lambda: (Block(),) * 4)
    """a max-pool stands between any two, as long as there are pixels for it"""
    head_ratio: float = 0.0
    """of a hidden 1×1 convolution behind the global average to what it reads; 0 is none"""

    def slots(self) -> list[list[Slot]]:
        """The convolutions of each block, and those of the head."""
        width = 1.0
        slots = []
        for number, block in enumerate(self.blocks, start=1):
            slots.append(block.slots(number, width))
            width *= block.ratio
        head = [Slot("head", width * self.head_ratio, 1)] if self.head_ratio else []
        return [*slots, head]

    def groups(self) -> dict[str, float]:
        """The relative width of each group, by its name; that of its first slot counts."""
        groups: dict[str, float] = {}
        for slots in self.slots():
            for slot in slots:
                groups.setdefault(slot.group, slot.relative_width)
        return groups

    def network(
        self, widths: Mapping[str, int], slots: Sequence[Sequence[Slot]] | None = None
    ) -> Architecture:
        """The network in which each group has that many channels; `slots`: its own, if they are
        at hand."""
        *blocks, head = slots or self.slots()
        layers: list[Layer] = []
        side = INPUT_SHAPE[1]
        for block, own in zip(self.blocks, blocks, strict=True):
            if layers and side >= _MIN_SIDE:
                layers.append(MaxPool())
                side //= 2
            made, side = block.layers(own, widths, side, first=not layers)
            layers += made
        layers.append(GlobalAveragePool())
        for slot in head:
            layers += [Conv(widths[slot.group], kernel=1), ReLU()]
        return Architecture((*layers, Conv(CLASSES, kernel=1)))

    def narrowest(self) -> Architecture:
        """The network with the fewest channels."""
        return self.network(dict.fromkeys(self.groups(), MIN_WIDTH))


def fit(template: Template, limit: Limit) -> Architecture:
    """The widest network of a template that the limit allows; its narrowest must be allowed.

    The largest common scale of the widths that fits, then each group by itself, one channel at a
    time, the one that lags its share most first, until none can grow.
    """
    groups, slots = template.groups(), template.slots()
    names, relative = list(groups), list(groups.values())

    def network(widths: Sequence[int]) -> Architecture:
        return template.network(dict(zip(names, widths, strict=True)), slots)

    def fits(widths: Sequence[int]) -> bool:
        return limit.allows(network(widths))

    widths = _largest_scale(relative, fits)
    growable = set(range(len(widths)))
    while growable:
        index = min(growable, key=lambda index: (widths[index] / relative[index], index))
        wider = [width + (number == index) for number, width in enumerate(widths)]
        if wider[index] <= MAX_CHANNELS and fits(wider):
            widths = wider
        else:
            growable.remove(index)
    return network(widths)


def _largest_scale(relative: Sequence[float], fits: Callable[[Sequence[int]], bool]) -> list[int]:
    """Widths at the largest scale that fits; they never shrink as the scale grows, so bisection
    finds it. The narrowest widths are known to fit."""

    def scaled(scale: float) -> list[int]:
        return [min(MAX_CHANNELS, max(MIN_WIDTH, int(scale * share))) for share in relative]

    low, high = 0.0, float(MIN_WIDTH)
    limit = MAX_CHANNELS / min(relative)
    while high < limit and fits(scaled(high)):
        low, high = high, 2 * high
    # Widths are whole: below a channel's thousandth no width changes any more but by chance.
    while (high - low) * max(relative) > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if fits(scaled(middle)) else (low, middle)
    return scaled(low)

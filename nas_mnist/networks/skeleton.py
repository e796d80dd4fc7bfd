"""The parametric family that is searched: a few choices, decoded to a network that fits.

    block 1, max-pool, [1×1 squeeze,] block 2, [max-pool, block 3, [block 4,]]
    global average pool, [hidden 1×1,] 1×1 to ten scores

Block 4 would have a max-pool before it too, if images of 28×28 left pixels enough for a third.
A block is a run of 3×3 convolutions, each with ReLU, batch normalization and dropout. The
choices fix everything but the scale of the widths; decoding takes the widest widths whose exact
parameter count is within the limit. Every combination of choices decodes to a network: what
leaves no pixels, or does not fit the limit at its narrowest, gives way to the nearest that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from nas_mnist.errors import RequestError
from nas_mnist.networks.architecture import Architecture
from nas_mnist.networks.layers import CLASSES, INPUT_SHAPE, MAX_CHANNELS, Layer
from nas_mnist.networks.layers.convolution import Conv, DepthwiseConv
from nas_mnist.networks.layers.pointwise import BatchNorm, Dropout, ReLU
from nas_mnist.networks.layers.pooling import GlobalAveragePool, MaxPool

POOL_RECEPTIVE_FIELDS = (3, 5, 7, 9)
MAX_POOLS = 3
MAX_CONVOLUTIONS = 3
"""3×3 convolutions in each block behind the first pool"""
CONVOLUTIONS = ("dense", "separable")

# Narrower maps than this carry too little to be worth a layer; it also bounds how small the
# smallest network is.
MIN_WIDTH = 4
# Below 4 pixels a side a 3×3 convolution pads and a pool is left out, so that at least 2×2
# pixels reach the global average: on a 1×1 map eight of nine weights would see only padding.
_MIN_SIDE = 4


@dataclass(frozen=True, slots=True)
class Choices:
    """One point of the family. Ratios are of widths."""

    first_pool_receptive_field: int = 5
    """pixels that the first max-pool's input sees: 1 to 4 convolutions before it"""
    pools: int = 2
    convolutions_2: int = 2
    convolutions_3: int = 1
    convolutions_4: int = 1
    width_ratio_2: float = 1.0
    """of block 2 to block 1"""
    width_ratio_3: float = 1.0
    """of block 3 to block 2"""
    width_ratio_4: float = 1.0
    """of block 4 to block 3"""
    entry_ratio: float = 1.0
    """of the first convolution of a block of two or more to the others"""
    squeeze_ratio: float = 0.0
    """of the 1×1 convolution behind the first pool to what it reads; 0 is none"""
    head_ratio: float = 0.0
    """of the hidden 1×1 convolution behind the global average to what it reads; 0 is none"""
    convolution: str = "dense"
    """of all but the network's first: `dense`, or `separable` (depthwise, then 1×1)"""
    dropout: float = 0.0


class _Unit(NamedTuple):
    """One convolution with what belongs to it; a width, or a pool."""

    kind: str
    """`conv`, `squeeze`, `pool` or `hidden`"""
    relative_width: float = 0.0
    padding: int = 0


@lru_cache(maxsize=64)  # who draws a point decodes it, and who then runs it does again
def decode(choices: Choices, parameters_at_most: int) -> Architecture:
    """The widest network of these choices with at most `parameters_at_most` parameters.

    Raises RequestError if not even the smallest network of the family fits.
    """
    for candidate in _simpler_and_simpler(choices):
        units = _units(candidate)
        narrowest = [MIN_WIDTH] * _convolutions(units)
        if _network(candidate, units, narrowest).parameters <= parameters_at_most:
            return _widest(candidate, units, parameters_at_most)
    raise RequestError(
        f"budget {parameters_at_most:,} is below the smallest network of this skeleton "
        f"({smallest().parameters:,} parameters); raise --budget"
    )


def smallest() -> Architecture:
    """The network of the family with the fewest parameters."""
    *_, last = _simpler_and_simpler(Choices())
    units = _units(last)
    return _network(last, units, [MIN_WIDTH] * _convolutions(units))


def _simpler_and_simpler(choices: Choices) -> Iterator[Choices]:
    """The choices, then with one thing less at a time, down to the smallest of the family.

    First goes what a small network misses least: the hidden layer and the squeeze, then depth
    from the scores' end, and at last the dense convolutions.
    """
    yield choices
    if choices.head_ratio:
        choices = replace(choices, head_ratio=0.0)
        yield choices
    if choices.squeeze_ratio:
        choices = replace(choices, squeeze_ratio=0.0)
        yield choices
    for pools, name in ((3, "convolutions_4"), (2, "convolutions_3"), (1, "convolutions_2")):
        while choices.pools >= pools and getattr(choices, name) > 1:
            choices = replace(choices, **{name: getattr(choices, name) - 1})
            yield choices
        if choices.pools >= pools > 1:
            choices = replace(choices, pools=pools - 1)
            yield choices
    while choices.first_pool_receptive_field > POOL_RECEPTIVE_FIELDS[0]:
        receptive_field = choices.first_pool_receptive_field - 2
        choices = replace(choices, first_pool_receptive_field=receptive_field)
        yield choices
    if choices.convolution != "separable":
        yield replace(choices, convolution="separable")


def _units(choices: Choices) -> list[_Unit]:
    """The network's convolutions and pools in order, with paddings settled by the map's side."""
    depths = (
        (choices.first_pool_receptive_field - 1) // 2,
        choices.convolutions_2,
        choices.convolutions_3,
        choices.convolutions_4,
    )
    growths = (1.0, choices.width_ratio_2, choices.width_ratio_3, choices.width_ratio_4)
    units: list[_Unit] = []
    side, width = INPUT_SHAPE[1], 1.0
    for block, (depth, growth) in enumerate(
        zip(depths[: choices.pools + 1], growths, strict=False), start=1
    ):
        if block > 1 and side >= _MIN_SIDE:
            units.append(_Unit("pool"))
            side //= 2
        if block == 2 and choices.squeeze_ratio:
            units.append(_Unit("squeeze", width * choices.squeeze_ratio))
        width *= growth
        for number in range(depth):
            entry = choices.entry_ratio if number == 0 and depth > 1 else 1.0
            padding = int(side < _MIN_SIDE)
            units.append(_Unit("conv", width * entry, padding))
            side -= 2 * (1 - padding)
    if choices.head_ratio:
        units.append(_Unit("hidden", width * choices.head_ratio))
    return units


def _convolutions(units: Sequence[_Unit]) -> int:
    return sum(unit.kind != "pool" for unit in units)


def _network(choices: Choices, units: Sequence[_Unit], widths: Sequence[int]) -> Architecture:
    """The units at these widths, one for each convolution in order."""
    tail: list[Layer] = [ReLU(), BatchNorm()]
    if choices.dropout:
        tail.append(Dropout(round(choices.dropout, 6)))
    layers: list[Layer] = []
    head: list[Layer] = [GlobalAveragePool()]
    width = iter(widths)
    for unit in units:
        match unit.kind:
            case "pool":
                layers.append(MaxPool())
            case "squeeze":
                layers += [Conv(next(width), kernel=1), *tail]
            case "hidden":
                head += [Conv(next(width), kernel=1), ReLU()]
            case "conv" if choices.convolution == "dense" or not layers:
                layers += [Conv(next(width), padding=unit.padding), *tail]
            case "conv":
                layers.append(DepthwiseConv(padding=unit.padding))
                layers += [Conv(next(width), kernel=1), *tail]
    return Architecture((*layers, *head, Conv(CLASSES, kernel=1)))


def _widest(choices: Choices, units: Sequence[_Unit], parameters_at_most: int) -> Architecture:
    """The largest common scale of the widths that fits, then each width by itself, one channel
    at a time, the one that lags its share most first, until none can grow."""
    relative = [unit.relative_width for unit in units if unit.kind != "pool"]

    def network(widths: Sequence[int]) -> Architecture:
        return _network(choices, units, widths)

    def fits(widths: Sequence[int]) -> bool:
        return network(widths).parameters <= parameters_at_most

    widths = _largest_scale(relative, fits)
    growable = set(range(len(widths)))
    while growable:
        place = min(growable, key=lambda place: (widths[place] / relative[place], place))
        wider = [width + (number == place) for number, width in enumerate(widths)]
        if wider[place] <= MAX_CHANNELS and fits(wider):
            widths = wider
        else:
            growable.remove(place)
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

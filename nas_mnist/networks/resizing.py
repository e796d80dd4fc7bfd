"""Widths: the widest that a limit allows, of a template or of layers that are there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeAlias

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.architecture import Architecture, Limit
from nas_mnist.networks.layers import MAX_CHANNELS, Layer
from nas_mnist.networks.layers.composite import Repeat, Residual, SqueezeExcite
from nas_mnist.networks.layers.convolution import Conv

MIN_WIDTH = 4  # narrower maps are not worth a layer; it also bounds the smallest network

Layers: TypeAlias = tuple[Layer, ...]
# Channels of a group of equally wide convolutions, of its name and its first relative width.
Width: TypeAlias = Callable[[str, float], int]


class Resizable(ABC):
    """A network whose widths are still to be found."""

    __slots__ = ()

    @abstractmethod
    def network(self, width: Width) -> Architecture:
        """The network in which each group has that many channels."""

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


@dataclass(frozen=True, slots=True)
class Resized(Resizable):
    """A network of these layers, whose widths are to be found again: those that they have say how
    wide one is beside another. The class scores stay, and what must be as wide as what it reads."""

    layers: Layers

    def network(self, width: Width) -> Architecture:
        convolutions = [n for n, layer in enumerate(self.layers) if isinstance(layer, Conv)]
        scores = convolutions[-1]
        made = _resized(self.layers[:scores], width, map(str, count(1)))
        return Architecture((*made, *self.layers[scores:]))


def _resized(
    layers: Layers,
    width: Width,
    names: Iterator[str],
    read: tuple[str, float] | None = None,
    ends: tuple[str, float] | None = None,
) -> Layers:
    """`read`: the group of the width that they read, and `ends`, which the last must have."""
    made: list[Layer] = []
    last = max((n for n, layer in enumerate(layers) if isinstance(layer, Conv)), default=None)
    for place, layer in enumerate(layers):
        if isinstance(layer, Conv):
            read = ends if ends and place == last else (next(names), float(layer.out))
            layer = replace(layer, out=width(*read))
        elif isinstance(layer, SqueezeExcite):
            layer = replace(layer, reduced=width(next(names), float(layer.reduced)))
        elif isinstance(layer, Residual | Repeat) and read:
            layer = replace(layer, layers=_resized(layer.layers, width, names, read, read))
        made.append(layer)
    return tuple(made)


def refitted(architecture: Architecture, limit: Limit) -> Architecture:
    """The widest network of these layers that the limit allows; ArchitectureError if none does."""
    sized = Resized(architecture.layers)
    if not limit.allows(least := sized.narrowest()):
        said = f"the smallest such network has {least.parameters:,} parameters"
        raise ArchitectureError(f"{said}, more than {limit}")
    return fit(sized, limit)


def widened(architecture: Architecture, factor: float) -> Architecture:
    """The network with all its widths multiplied."""
    return Resized(architecture.layers).network(
        lambda group, share: min(MAX_CHANNELS, max(1, round(factor * share)))
    )


def as_wide_as(architecture: Architecture, other: Architecture) -> Architecture:
    """The network with the widths of another, which has the same groups of them."""
    widths = Resized(other.layers).groups()
    return Resized(architecture.layers).network(lambda group, share: int(widths[group]))


def fit(template: Resizable, limit: Limit) -> Architecture:
    """The widest network that the limit allows, which must allow the narrowest. First the largest
    common scale of the widths, then one channel at a time for the group that lags most."""
    shares = template.groups()

    def network(widths: Mapping[str, int]) -> Architecture:
        return template.network(lambda group, relative: widths[group])

    def scaled(scale: float) -> dict[str, int]:
        widths = {group: max(MIN_WIDTH, int(scale * share)) for group, share in shares.items()}
        return {group: min(MAX_CHANNELS, width) for group, width in widths.items()}

    if not shares:
        return network({})
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

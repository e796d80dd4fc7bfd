"""Networks that differ from a given one in a single decision, and are no larger than it.

A network is taken apart into an entry, blocks of units between pools, and a head from the global
average pool on. A unit is a convolution and what stands behind it; the two halves of a separable
convolution are one, and so is a residual or a repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from nas_mnist.networks.architecture import Architecture
from nas_mnist.networks.layers import MAX_CHANNELS, Layer
from nas_mnist.networks.layers.composite import Repeat, Residual
from nas_mnist.networks.layers.convolution import (
    Conv,
    Convolution,
    DepthwiseConv,
    Dropout,
    GlobalAveragePool,
    MaxPool,
    ReLU,
)
from nas_mnist.networks.layers.smooth import AntiAliasedPool
from nas_mnist.networks.resizing import Layers, Resized

# Another network, or None where there is nothing to change.
Change: TypeAlias = Callable[[Architecture], Architecture | None]


def without(*kinds: type[Layer]) -> Change:
    """Those layers left out, wherever they are."""
    return replaced(lambda layer: () if isinstance(layer, kinds) else (layer,))


def replaced(by: Callable[[Layer], Sequence[Layer]]) -> Change:
    """Each layer replaced, those within others too."""

    def all_of(layers: Layers) -> Layers:
        made: list[Layer] = []
        for layer in layers:
            if isinstance(layer, Residual | Repeat):
                layer = replace(layer, layers=all_of(layer.layers))
            made += by(layer)
        return tuple(made)

    return lambda network: _changed(network, all_of(network.layers))


def unwrapped(kind: type[Residual] | type[Repeat]) -> Change:
    """A residual without what it adds to, or a repeat applied once."""
    return replaced(lambda layer: layer.layers if isinstance(layer, kind) else (layer,))


def without_average(network: Architecture) -> Architecture | None:
    """A large last convolution to the scores in place of the global average pool and the head."""
    parts = Parts.of(network)
    if parts is None:
        return None
    side = network.costs[len(network.layers) - len(parts.head)].input_shape[1]
    scores = replace(parts.scores, kernel=side)
    return _changed(network, (*network.layers[: -len(parts.head)], scores, *parts.behind))


def pool_moved(by: int) -> Change:
    """The first pool so many units later, or earlier if below 0."""

    def changed(parts: Parts) -> Parts | None:
        if len(parts.blocks) < 2:
            return None
        first, second, *others = parts.blocks
        if len(first if by < 0 else second) <= abs(by):
            return None
        units, end = [*first, *second], len(first) + by
        return replace(parts, blocks=(tuple(units[:end]), tuple(units[end:]), *others))

    return _of_parts(changed)


def deeper(by: int) -> Change:
    """One convolution more (1) or fewer (-1), in the last of the blocks with most of them."""

    def changed(parts: Parts) -> Parts | None:
        most = max(map(len, parts.blocks))
        place = max(n for n, block in enumerate(parts.blocks) if len(block) == most)
        block = parts.blocks[place]
        if by < 0:
            return parts.with_block(place, block[:-1]) if most > 1 else None
        return parts.with_block(place, (*block, _padded(block[-1])))

    return _of_parts(changed)


def wider_first_block(factor: float) -> Change:
    """The first block so many times as wide beside the others."""

    def changed(network: Architecture) -> Architecture | None:
        parts = Parts.of(network)
        if parts is None or len(parts.blocks) < 2:
            return None
        alone = replace(parts, blocks=parts.blocks[:1], pools=())
        own = Resized(alone.layers).groups()

        def width(group: str, share: float) -> int:
            return min(MAX_CHANNELS, max(1, round(share * (factor if group in own else 1))))

        return Resized(network.layers).network(width)

    return changed


def of_convolutions(kind: str) -> Change:
    """All but the first dense, or separable: depthwise, then 1×1."""

    def changed(unit: Layers) -> Layers:
        first, *others = unit
        if kind == "separable" and isinstance(first, Conv) and first.kernel > 1:
            window = DepthwiseConv(kernel=first.kernel, padding=first.padding)
            return (window, replace(first, kernel=1, padding=0), *others)
        if kind == "dense" and isinstance(first, DepthwiseConv):
            own = others[0]
            if isinstance(own, Conv):
                return (replace(own, kernel=first.kernel, padding=first.padding), *others[1:])
        return unit

    def of(parts: Parts) -> Parts:
        (first, *others), *blocks = parts.blocks
        behind = ((first, *map(changed, others)), *(tuple(map(changed, b)) for b in blocks))
        return replace(parts, blocks=behind)

    return _of_parts(of)


def squeezed(ratio: float) -> Change:
    """A 1×1 convolution behind the first pool to so many times what it reads; 0 for none."""

    def changed(parts: Parts) -> Parts | None:
        if len(parts.blocks) < 2:
            return None
        kept = [tuple(unit for unit in b if not _is_squeeze(unit)) for b in parts.blocks]
        if ratio:
            if kept != [*parts.blocks]:
                return None
            last = kept[0][-1]
            wide = _width(last)
            start = next((n for n, own in enumerate(last) if isinstance(own, ReLU)), None)
            if not wide or start is None:
                return None
            kept[1] = ((Conv(max(1, round(ratio * wide)), kernel=1), *last[start:]), *kept[1])
        return replace(parts, blocks=tuple(kept)) if all(kept) else None

    return _of_parts(changed)


def hidden_layer(ratio: float) -> Change:
    """A hidden 1×1 convolution in the head to so many times what it reads; 0 for none."""

    def changed(parts: Parts) -> Parts | None:
        if bool(ratio) == (sum(isinstance(layer, Conv) for layer in parts.head) > 1):
            return None
        made: Layers = ()
        if ratio:
            if not (wide := _width(parts.blocks[-1][-1])):
                return None
            made = (Conv(round(ratio * wide), kernel=1), ReLU())
        return replace(parts, head=(parts.head[0], *made, parts.scores, *parts.behind))

    return _of_parts(changed)


def dropped_out(rate: float) -> Change:
    """Dropout of that rate behind each unit, in place of what there is; 0 for none."""

    def changed(parts: Parts) -> Parts:
        def dropped(unit: Layers) -> Layers:
            kept = tuple(layer for layer in unit if not isinstance(layer, Dropout))
            return (*kept, Dropout(rate)) if rate else kept

        return replace(parts, blocks=tuple(tuple(map(dropped, b)) for b in parts.blocks))

    return _of_parts(changed)


@dataclass(frozen=True, slots=True)
class Parts:
    """A network taken apart."""

    entry: Layers
    blocks: tuple[tuple[Layers, ...], ...]  # of units
    pools: Layers  # between them
    head: Layers

    @classmethod
    def of(cls, network: Architecture) -> Parts | None:
        """None for a network without blocks, a global average pool, and scores behind it."""
        kinds = [type(layer) for layer in network.layers]
        if GlobalAveragePool not in kinds or Conv not in kinds[kinds.index(GlobalAveragePool) :]:
            return None
        end = kinds.index(GlobalAveragePool)
        entry: list[Layer] = []
        blocks: list[list[list[Layer]]] = [[]]
        pools: list[Layer] = []
        for layer in network.layers[:end]:
            units = blocks[-1]
            if isinstance(layer, MaxPool | AntiAliasedPool):
                pools.append(layer)
                blocks.append([])
            elif isinstance(layer, Convolution | Residual | Repeat):
                half = units and isinstance(units[-1][-1], DepthwiseConv)
                if half and isinstance(layer, Conv) and layer.kernel == 1:
                    units[-1].append(layer)
                else:
                    units.append([layer])
            elif units:
                units[-1].append(layer)
            else:
                (pools if pools else entry).append(layer)
        if not all(blocks) or len(pools) != len(blocks) - 1:
            return None
        units_of = tuple(tuple(tuple(unit) for unit in block) for block in blocks)
        return cls(tuple(entry), units_of, tuple(pools), network.layers[end:])

    @property
    def scores(self) -> Conv:
        """The last convolution of the head."""
        return next(layer for layer in reversed(self.head) if isinstance(layer, Conv))

    @property
    def behind(self) -> Layers:
        """What stands behind the scores."""
        return self.head[len(self.head) - self.head[::-1].index(self.scores) :]

    def with_block(self, place: int, block: tuple[Layers, ...]) -> Parts:
        return replace(self, blocks=(*self.blocks[:place], block, *self.blocks[place + 1 :]))

    @property
    def layers(self) -> Layers:
        made = list(self.entry)
        for place, block in enumerate(self.blocks):
            made += self.pools[place - 1 : place] if place else ()
            made += [layer for unit in block for layer in unit]
        return (*made, *self.head)


def _of_parts(change: Callable[[Parts], Parts | None]) -> Change:
    def changed(network: Architecture) -> Architecture | None:
        parts = Parts.of(network)
        made = change(parts) if parts else None
        return _changed(network, made.layers) if made else None

    return changed


def _changed(network: Architecture, layers: Layers) -> Architecture | None:
    return Architecture(layers) if layers != network.layers else None


def _width(unit: Layers) -> int:
    """Of what the unit makes; 0 if no convolution of its own says."""
    return next((own.out for own in reversed(unit) if isinstance(own, Conv)), 0)


def _is_squeeze(unit: Layers) -> bool:
    return isinstance(unit[0], Conv) and unit[0].kernel == 1


def _padded(unit: Layers) -> Layers:
    """The unit once more, its maps no smaller than what it reads."""
    return tuple(
        replace(layer, padding=layer.kernel // 2) if isinstance(layer, Convolution) else layer
        for layer in unit
    )

"""The parametric family: a template is a network whose widths are still to be found.

    block 1, max-pool, block 2, [max-pool, block 3, [block 4,]]
    global average pool, [hidden 1×1,] 1×1 to the class scores

Before block 4 there are too few pixels for a max-pool. A template fixes all but the scale of the
widths; `resizing.py` finds the widest that a limit allows.
"""

from dataclasses import dataclass

from nas_mnist.networks.architecture import Architecture
from nas_mnist.networks.layers import CLASSES, INPUT_SHAPE, Layer, convolution as op
from nas_mnist.networks.layers.composite import Residual
from nas_mnist.networks.resizing import Resizable, Width

# Below 4 pixels a side a 3×3 convolution pads and a pool is left out, so that at least 2×2 reach
# the global average: on a 1×1 map eight of nine weights would see only padding.
_MIN_SIDE, _MIN_OUTPUT_SIDE = 4, 2

_POOL = op.MaxPool()


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
class Template(Resizable):
    """What the choices of a search make."""

    blocks: tuple[Block, ...] = (Block(),) * 4  # with a pool between, while there are pixels
    entry: tuple[Layer, ...] = ()  # before them
    pool: Layer = _POOL  # between them
    classes: int = CLASSES
    head_ratio: float = 0.0  # of a hidden 1×1 convolution to the average it reads; 0 is none

    def network(self, width: Width) -> Architecture:
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

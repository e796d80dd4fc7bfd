"""Layers: one class each, in this folder or in a module of a user's own.

A layer's class holds all that is known of it: shape rule, costs, window, notation, torch module,
batched forward and the lines of an exported file. Defining the class registers it.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from nas_mnist.errors import ArchitectureError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nas_mnist.networks.packing import PackedRun

Shape: TypeAlias = tuple[int, int, int]
"""channels, height and width of one image's feature map"""

INPUT_SHAPE: Shape = (1, 28, 28)
CLASSES = 10

# Far above any network here; limits so that a mistyped or hostile notation cannot ask for
# terabytes.
MAX_CHANNELS = 1024
MAX_LAYERS = 256
MAX_DEPTH = 8

# The longest expression of an exported file's forward.
_EXPRESSION = 72

LAYERS: dict[str, type[Layer]] = {}
"""all layers by their `op`"""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; the defaults are those of a layer that works on each value by itself.

    A subclass that sets `op` is registered under it, and drives parsing, formatting, building,
    packing and export.
    """

    op: ClassVar[str] = ""
    """name in tables and in references.json"""
    stem: ClassVar[str] = ""
    """of module names such as `conv1`; `op` unless given"""
    pattern: ClassVar[str] = ""
    """regular expression of its notation, with named groups"""
    example: ClassVar[str] = ""
    """its notation, as a person might type it"""
    starts_unit: ClassVar[bool] = False
    """whether a dash goes before it when a network is written"""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super(Layer, cls).__init_subclass__(**kwargs)
        if "op" in cls.__dict__:
            _register(cls)

    def check(self, shape: Shape) -> None:
        """Raise ArchitectureError if the layer cannot take `shape` as its input."""

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def parameters(self, shape: Shape) -> int:
        """Trainable parameters, given the input's shape."""
        return 0

    def macs(self, shape: Shape) -> int:
        """Multiply-accumulates of one image, given the input's shape.

        Convolutions alone count, as is usual for small networks: normalization folds into the
        convolution beside it at inference, and pooling and activations multiply nothing.
        """
        return 0

    def window(self, shape: Shape) -> tuple[int, int]:
        """Side of the window that one output value sees, and its stride, in input values."""
        return 1, 1

    def topology(self) -> Layer:
        """The layer without its widths; layers of one topology can be trained as one."""
        return self

    def notation(self) -> str:
        """Its notation, which `parsed` reads back."""
        raise ArchitectureError(f"layer {self.op!r} cannot be written: it has no `notation`")

    @classmethod
    def from_match(cls, **groups: str | None) -> Layer:
        """The layer of a match of `pattern`, given its named groups."""
        return cls()

    @classmethod
    def parsed(cls, text: str, position: int, depth: int) -> tuple[Layer, int] | None:
        """The layer whose notation stands at that position, and where it ends; None if none does.

        Composite layers, whose notation holds others, do this themselves; `depth` is how many of
        them this one is in.
        """
        match = re.compile(cls.pattern, re.ASCII).match(text, position)
        if match is None or match.end() == position:
            return None
        return cls.from_match(**match.groupdict()), match.end()

    def module(self, shape: Shape) -> nn.Module:
        """The torch module for inputs of (batch, *shape), with torch's initial weights."""
        raise ArchitectureError(f"layer {self.op!r} cannot be built: it has no `module`")

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        """What the layers of several networks, side by side, make of their inputs.

        Unless a layer has a faster way, each network's own module is called in turn: slower, and
        equal. See `PackedRun`.
        """
        return run.one_by_one(values)

    def made(self, name: str, shape: Shape) -> list[str]:
        """Statements of an exported file that make its modules, as attributes `self.<name>`."""
        return []

    def called(self, name: str) -> str:
        """The expression of an exported file that applies it, with {} for its input."""
        if type(self).made is Layer.made:
            raise ArchitectureError(f"layer {self.op!r} cannot be exported: it has no `made`")
        return f"self.{name}({{}})"

    def forward_lines(self, name: str, reads: str, writes: str) -> list[str] | None:
        """Statements that apply it, for what is more than one expression; None for `called`."""
        return None


def _register(cls: type[Layer]) -> None:
    known = LAYERS.get(cls.op)
    # A dataclass with slots is made twice under one name.
    if known and (known.__module__, known.__name__) != (cls.__module__, cls.__name__):
        raise ArchitectureError(f"layer {cls.op!r} is {known.__module__}.{known.__name__}")
    for other in LAYERS.values():
        if other.op == cls.op or not cls.example:
            continue
        if other.parsed(cls.example, 0, 0):
            raise ArchitectureError(
                f"layer {cls.op!r}: its notation {cls.example!r} is that of {other.op!r}"
            )
        after = other.parsed(other.example + cls.example, 0, 0)
        if after and after[1] > len(other.example):
            raise ArchitectureError(
                f"layer {cls.op!r}: behind {other.example!r} its notation {cls.example!r} would be "
                f"read as part of {other.op!r}"
            )
    LAYERS[cls.op] = cls


def parse_layers(
    text: str, position: int = 0, closing: str = "", depth: int = 0
) -> tuple[tuple[Layer, ...], int]:
    """The layers written at that position, up to the end or to the `closing` character.

    Returns:
        The layers, and the position behind them, and behind `closing` if there is one.

    Raises:
        ArchitectureError: naming the character at which no layer starts.
    """
    if depth > MAX_DEPTH:
        raise ArchitectureError(f"layers are nested more than {MAX_DEPTH} deep")
    layers: list[Layer] = []
    while position < len(text) and (not closing or text[position] != closing):
        for kind in LAYERS.values():
            found = kind.parsed(text, position, depth)
            if found is not None:
                break
        else:
            examples = [kind.example for kind in LAYERS.values() if kind.example]
            raise ArchitectureError(
                f"notation {_shortened(text)!r}: no layer starts with "
                f"{_shortened(text[position:], 12)!r} at character {position + 1}; a layer is "
                f"{', '.join(examples[:-1])} or {examples[-1]}"
            )
        layer, position = found
        layers.append(layer)
        if len(layers) > MAX_LAYERS:
            raise ArchitectureError(f"more than {MAX_LAYERS} layers")
        if text.startswith("-", position) and text[position + 1 : position + 2] != closing:
            position += 1
    if closing and not text.startswith(closing, position):
        raise ArchitectureError(f"notation {_shortened(text)!r}: no {closing!r} at its end")
    return tuple(layers), position + len(closing)


def format_layers(layers: Iterable[Layer]) -> str:
    """The notation of a run of layers."""
    text = ""
    for layer in layers:
        text += ("-" if text and layer.starts_unit else "") + layer.notation()
    return text


def layer_names(layers: Sequence[Layer]) -> list[str]:
    """A module name for each layer (`conv1`, `norm1`, `pool1`…), unique among them.

    The built network and the exported file share them, and so their weights.
    """
    counts: Counter[str] = Counter()
    names = []
    for layer in layers:
        stem = layer.stem or layer.op
        counts[stem] += 1
        names.append(f"{stem}{counts[stem]}")
    return names


def forward_lines(
    layers: Sequence[Layer], reads: str = "x", writes: str = "x", prefix: str = ""
) -> list[str]:
    """Statements of an exported file that apply the layers, one a unit, as a person would write.

    Args:
        layers: in their order.
        reads: the variable that has their input.
        writes: the variable that gets their output.
        prefix: of the modules' names.
    """
    lines: list[str] = []
    expression = ""
    for name, layer in zip(layer_names(layers), layers, strict=True):
        own = layer.forward_lines(prefix + name, writes if lines or expression else reads, writes)
        call = "" if own is not None else layer.called(prefix + name)
        too_long = len(expression) + len(call) > _EXPRESSION
        if expression and (own is not None or layer.starts_unit or too_long):
            lines.append(f"{writes} = {expression}")
            expression = ""
        if own is not None:
            lines += own
            continue
        expression = call.format(expression or (writes if lines else reads))
    return [*lines, f"{writes} = {expression}"] if expression else lines


def next_variable(variable: str) -> str:
    """A name for what is kept beside `variable` in an exported file."""
    return chr(ord(variable) + 1) if variable < "z" else f"z{int(variable[1:] or 0) + 1}"


def window_of(layers: Sequence[Layer], shape: Shape) -> tuple[int, int]:
    """Window and stride of a run of layers: size += (k - 1) * stride, stride *= s."""
    size, stride = 1, 1
    for layer in layers:
        kernel, step = layer.window(shape)
        size += (kernel - 1) * stride
        stride *= step
        shape = layer.output_shape(shape)
    return size, stride


def _shortened(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


# A new file in this folder is all that a new layer takes.
for _module in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name):
    importlib.import_module(f"{__name__}.{_module.name}")

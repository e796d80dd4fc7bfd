"""Layers: one class each, here or in a module of a user's own, with all that is known of it: shape
rule, costs, window, notation, torch module, batched forward and lines of an exported file."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from string import digits
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.packing import PackedRun

if TYPE_CHECKING:
    from torch import Tensor, nn

Shape: TypeAlias = tuple[int, int, int]  # channels, height and width of one feature map

INPUT_SHAPE: Shape = (1, 28, 28)
CLASSES, MAX_CLASSES = 10, 100
# Far above any network here: no mistyped or hostile notation can ask for terabytes.
MAX_CHANNELS, MAX_LAYERS, MAX_DEPTH = 1024, 256, 8
_EXPRESSION = 72  # the longest of an exported file's forward
_IMPORTS = "    import torch\n    from torch.nn import functional\n\n"  # of a layer's function
LAYERS: dict[str, type[Layer]] = {}  # all layers by their `op`


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; by default it works on each value by itself. If torch has no module for it, it has
    `module`, and `made` with `called` or `forward_lines`."""

    op: ClassVar[str] = ""  # name in tables; a subclass that sets it is registered
    stem: ClassVar[str] = ""  # of module names such as `conv1`; `op` unless given
    pattern: ClassVar[str] = ""  # regular expression of its notation, with named groups
    example: ClassVar[str] = ""  # its notation, as a person might type it
    form: ClassVar[str] = ""  # its notation with {0} for itself, as `str.format` takes it
    starts_unit: ClassVar[bool] = False  # whether a dash goes before it in a notation
    widths: ClassVar[tuple[str, ...]] = ()  # names of its fields that are numbers of channels
    torch_class: ClassVar[str] = ""  # name in torch.nn
    torch_function: ClassVar[str] = ""  # name in torch.nn.functional, of the same arguments
    # At the start of a network: before images are augmented. It has no parameters.
    prepares: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if "op" not in cls.__dict__:
            return
        known = LAYERS.get(cls.op, cls)
        # A dataclass with slots is made twice under one name.
        if (known.__module__, known.__name__) != (cls.__module__, cls.__name__):
            raise ArchitectureError(f"layer {cls.op!r} is {known.__module__}.{known.__name__}")
        own = f"its notation {cls.example!r}"
        for other in LAYERS.values() if cls.example and known is cls else ():
            if other.parsed(cls.example, 0, 0):
                raise ArchitectureError(f"layer {cls.op!r}: {own} is that of {other.op!r}")
            _, end = other.parsed(other.example + cls.example, 0, 0) or (None, 0)
            if end > len(other.example):
                taken = f"behind {other.example!r} {own} would be read as part of {other.op!r}"
                raise ArchitectureError(f"layer {cls.op!r}: {taken}")
        LAYERS[cls.op] = cls

    def check(self, shape: Shape) -> None:
        """Raise ArchitectureError if the layer cannot take `shape` as its input."""

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def parameters(self, shape: Shape) -> int:
        return 0

    def macs(self, shape: Shape) -> int:
        """Multiply-accumulates of one image: of convolutions, into which normalization folds."""
        return 0

    def window(self, shape: Shape) -> tuple[int, int]:
        """Side of the window that one output value sees, and its stride, in input values."""
        return 1, 1

    def copies(self) -> int:
        """How many images it makes of each one in evaluation: the network averages their scores."""
        return 1

    def topology(self) -> Layer:
        """The layer without its widths; layers of one topology can be trained as one."""
        return replace(self, **dict.fromkeys(self.widths, 0)) if self.widths else self

    def notation(self) -> str:
        """Its notation, which `parsed` reads back."""
        if not self.form:
            raise ArchitectureError(f"layer {self.op!r} cannot be written: it has no `notation`")
        return self.form.format(self)

    @classmethod
    def from_match(cls, **groups: str | None) -> Layer:
        """The layer of a match of `pattern`, whose named groups are numbers or flags in fields."""
        read: dict[Any, Any] = {"int": int, "float": float, "bool": bool}  # types may be strings
        kinds = {own.name: read.get(own.type, own.type) for own in fields(cls)}
        return cls(**{name: kinds[name](text) for name, text in groups.items() if text})

    @classmethod
    def parsed(cls, text: str, position: int, depth: int) -> tuple[Layer, int] | None:
        """The layer whose notation stands at that position, and where it ends; None if none does.
        `depth` is how many others it is in, of those whose notation holds others."""
        match = re.compile(cls.pattern, re.ASCII).match(text, position)
        if match is None or match.end() == position:
            return None
        return cls.from_match(**match.groupdict()), match.end()

    def arguments(self, shape: Shape) -> tuple[Any, ...]:
        """What `torch_class` takes by position: the layer's fields, unless it says otherwise."""
        return tuple(getattr(self, own.name) for own in fields(self))

    def options(self, shape: Shape) -> dict[str, Any]:
        """What `torch_class` takes by name."""
        return {}

    def module(self, shape: Shape) -> nn.Module:
        """The torch module for inputs of (batch, *shape), with torch's initial weights."""
        if not self.torch_class:
            raise ArchitectureError(f"layer {self.op!r} cannot be built: it has no `module`")
        from torch import nn

        make: type[nn.Module] = getattr(nn, self.torch_class)
        return make(*self.arguments(shape), **self.options(shape))

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        """What the layers of several networks, side by side, make of their inputs; without a way of
        its own, each network's module is called in turn."""
        if not self.torch_function:
            return run.one_by_one(values)
        from torch.nn import functional

        apply: Callable[..., Tensor] = getattr(functional, self.torch_function)
        return apply(values, *self.arguments(INPUT_SHAPE))

    def made(self, name: str, shape: Shape) -> list[str]:
        """Statements of an exported file that make its modules, as attributes `self.<name>`."""
        if self.torch_function or not self.torch_class:
            return []
        options = [f"{option}={value!r}" for option, value in self.options(shape).items()]
        arguments = ", ".join([*map(repr, self.arguments(shape)), *options])
        return [f"self.{name} = nn.{self.torch_class}({arguments})"]

    def called(self, name: str) -> str:
        """The expression of an exported file that applies it, with {} for its input."""
        if self.torch_function:
            arguments = ", ".join(["{}", *map(repr, self.arguments(INPUT_SHAPE))])
            return f"functional.{self.torch_function}({arguments})"
        if not self.torch_class and type(self).made is Layer.made:
            raise ArchitectureError(f"layer {self.op!r} cannot be exported: it has no `made`")
        return f"self.{name}({{}})"

    def functions(self, shape: Shape) -> tuple[str, ...]:
        """The functions that an exported file needs to apply it."""
        return ()

    def forward_lines(self, name: str, reads: str, writes: str) -> list[str] | None:
        """Statements that apply it, for what is more than one expression; None for `called`."""
        return None


def parse_layers(
    text: str, position: int = 0, closing: str = "", depth: int = 0
) -> tuple[tuple[Layer, ...], int]:
    """The layers up to the end or `closing`, and the position behind; ArchitectureError names the
    character at which no layer starts."""
    if depth > MAX_DEPTH:
        raise ArchitectureError(f"layers are nested more than {MAX_DEPTH} deep")
    layers: list[Layer] = []
    while position < len(text) and text[position] != closing:
        parsed = (kind.parsed(text, position, depth) for kind in LAYERS.values())
        if (found := next(filter(None, parsed), None)) is None:
            *examples, last = (kind.example for kind in LAYERS.values() if kind.example)
            said = f"notation {shortened(text)!r}: "
            start = len(text[:position].rstrip(digits))
            if start < position and text[position].isdecimal():
                raise ArchitectureError(f"{said}the number at character {start + 1} is too large")
            raise ArchitectureError(
                f"{said}no layer starts with {shortened(text[position:], 12)!r} at character "
                f"{position + 1}; a layer is {', '.join(examples)} or {last}"
            )
        layer, position = found
        layers.append(layer)
        if len(layers) > MAX_LAYERS:
            said = f"more than {MAX_LAYERS} layers"
            raise ArchitectureError(f"notation {shortened(text)!r}: {said}")
        if text.startswith("-", position) and text[position + 1 : position + 2] != closing:
            position += 1
    if not text.startswith(closing, position):
        raise ArchitectureError(f"notation {shortened(text)!r}: no {closing!r} at its end")
    return tuple(layers), position + len(closing)


def format_layers(layers: Iterable[Layer]) -> str:
    """The notation of a run of layers."""
    return "".join("-" * own.starts_unit + own.notation() for own in layers).removeprefix("-")


def layer_names(layers: Sequence[Layer]) -> list[str]:
    """A unique module name for each layer (`conv1`, `norm1`…), in an exported file as well."""
    stems = [layer.stem or layer.op for layer in layers]
    return [f"{stem}{stems[:number].count(stem)}" for number, stem in enumerate(stems, start=1)]


def forward_lines(
    layers: Sequence[Layer],
    reads: str = "x",
    writes: str = "x",
    prefix: str = "",
    names: Sequence[str] = (),
) -> list[str]:
    """Statements of an exported file that apply the layers, one a unit, as a person would write.
    `names`: of their modules, unless those of `layer_names`."""
    lines: list[str] = []
    expression = ""
    for name, layer in zip(names or layer_names(layers), layers, strict=True):
        own = layer.forward_lines(prefix + name, writes if lines or expression else reads, writes)
        call = "" if own is not None else layer.called(prefix + name)
        too_long = len(expression) + len(call) > _EXPRESSION
        if expression and (own is not None or layer.starts_unit or too_long):
            lines.append(f"{writes} = {expression}")
            expression = ""
        if own is None:
            expression = call.format(expression or (writes if lines else reads))
        else:
            lines += own
    return [*lines, f"{writes} = {expression}"] if expression else lines


def as_module(function: Callable[[Tensor], Tensor]) -> nn.Module:
    """The function as a module without parameters."""
    from torch import nn

    class Module(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    return Module()


def exported_function(function: Callable[..., Tensor]) -> str:
    """Its text in an exported file, which imports torch and `functional` at its top."""
    return inspect.getsource(function).replace(_IMPORTS, "")


def wider(window: tuple[int, int], behind: tuple[int, int]) -> tuple[int, int]:
    """Side and stride of a window through another: rf += (k - 1) * jump, jump *= stride (Araujo,
    Norris, Sim: Computing Receptive Fields of Convolutional Neural Networks, 2019)."""
    return window[0] + (behind[0] - 1) * window[1], window[1] * behind[1]


def with_shapes(layers: Iterable[Layer], shape: Shape) -> Iterator[tuple[Layer, Shape]]:
    """Each layer with the shape of its input."""
    for layer in layers:
        yield layer, shape
        shape = layer.output_shape(shape)


def check_range(what: str, value: int, least: int, most: int, note: str = "") -> None:
    if not least <= value <= most:
        raise ArchitectureError(f"{what} {value} is not within {least} to {most}{note}")


def shortened(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


# A new file in this folder is all that a new layer takes.
for _module in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name):
    importlib.import_module(f"{__name__}.{_module.name}")

"""A network as one immutable value, and all that follows from its layers without building it.

Its notation is its layers in order; a dash may stand between two. `c10rn-m2-[dk5p2c10k1b]-g-c10k1`
is a convolution to 10 channels, ReLU, batch normalization, and a 2×2 max-pool; a residual of one
depthwise convolution, of kernel 5 and padding 2, and one of 1×1 with bias; then the global average
and ten scores. The README has all letters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from nas_mnist.errors import ArchitectureError, RequestError
from nas_mnist.networks import layers as runs
from nas_mnist.networks.layers import INPUT_SHAPE, MAX_CLASSES, MAX_LAYERS, Layer, Shape, shortened
from nas_mnist.networks.layers.views import average

if TYPE_CHECKING:
    from torch import nn

MAX_PARAMETERS = 10**9
OTHER_COSTS = ("macs",)  # what can be limited beside the parameters: names in an architecture


class LayerCost(NamedTuple):
    """What one layer of an architecture costs and sees."""

    layer: Layer
    input_shape: Shape
    output_shape: Shape
    parameters: int
    macs: int  # of all views together, behind a layer that makes several
    receptive_field: int  # side, in pixels, of the square that one output value depends on


@dataclass(frozen=True, slots=True)
class Architecture:
    """The ordered layers of one network from a 1×28×28 image to the scores of 2 to 100 classes;
    layers that do not fit each other, or do not end in such scores, raise ArchitectureError."""

    layers: tuple[Layer, ...]
    costs: tuple[LayerCost, ...] = field(init=False, repr=False, compare=False)  # one a layer

    def __post_init__(self) -> None:
        layers = tuple(self.layers) if isinstance(self.layers, Iterable) else (self.layers,)
        for layer in layers:
            if not isinstance(layer, Layer):
                raise ArchitectureError(f"{layer!r} is no Layer; `parse_notation` reads notations")
        if not 1 <= len(layers) <= MAX_LAYERS:
            raise ArchitectureError(f"{len(layers)} layers are not within 1 to {MAX_LAYERS}")
        shape, window, views = INPUT_SHAPE, (1, 1), 1
        costs = []
        for number, layer in enumerate(layers, start=1):
            try:
                layer.check(shape)
            except ArchitectureError as error:
                raise ArchitectureError(f"layer {number} ({layer.op}): {error}") from None
            window = runs.wider(window, layer.window(shape))
            macs = layer.macs(shape) * views
            known = layer.output_shape(shape), layer.parameters(shape), macs
            if views > 1 and layer.copies() > 1:
                raise ArchitectureError("a network has at most one layer of views")
            views *= layer.copies()
            costs.append(LayerCost(layer, shape, *known, window[0]))
            shape = known[0]
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "costs", tuple(costs))
        if (total := self.parameters) > MAX_PARAMETERS:
            raise ArchitectureError(f"{total:,} parameters are more than {MAX_PARAMETERS:,}")
        if shape[1:] != (1, 1) or not 2 <= shape[0] <= MAX_CLASSES:
            ends = "×".join(map(str, shape))
            raise ArchitectureError(
                f"the network ends in {ends} values, not in scores of 2 to {MAX_CLASSES} classes "
                "(10×1×1); end it in a global average pool and a 1×1 convolution to the classes"
            )

    @property
    def topology(self) -> tuple[Layer, ...]:
        """The layers without their widths; networks of one topology can be trained as one."""
        return tuple(layer.topology() for layer in self.layers)

    @property
    def classes(self) -> int:
        return self.costs[-1].output_shape[0]

    @property
    def entry(self) -> int:
        """How many of its first layers training images pass once, before they are augmented."""
        return next(n for n, layer in enumerate(self.layers) if not layer.prepares)

    @property
    def views(self) -> int:
        """How many times it looks at an image in evaluation, whose scores it averages."""
        return max(layer.copies() for layer in self.layers)

    @property
    def parameters(self) -> int:
        return sum(cost.parameters for cost in self.costs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image (see `Layer.macs`)."""
        return sum(cost.macs for cost in self.costs)

    @property
    def receptive_field(self) -> int:
        """Receptive field of the class scores, in pixels; beyond 28 it sees the padding too."""
        return self.costs[-1].receptive_field


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that a network may cost, inclusive."""

    parameters: int
    others: tuple[tuple[str, int], ...] = ()  # limits of OTHER_COSTS, by their names

    @classmethod
    def of(cls, parameters: int, others: Mapping[str, int]) -> Limit:
        """RequestError for a cost that is not known, or a limit that nothing can keep."""
        for name, most in others.items():
            if name not in OTHER_COSTS:
                known = ", ".join(OTHER_COSTS)
                raise RequestError(f"--limit {name}={most}: what can be limited is {known}")
            if most < 1:
                raise RequestError(f"--limit {name}={most} is below 1")
        return cls(parameters, tuple(sorted(others.items())))

    def allows(self, architecture: Architecture) -> bool:
        others = all(getattr(architecture, name) <= most for name, most in self.others)
        return architecture.parameters <= self.parameters and others

    def __str__(self) -> str:
        limits = (("parameters", self.parameters), *self.others)
        return " and ".join(f"{most:,} {name}" for name, most in limits)


def build_network(architecture: Architecture | str) -> nn.Sequential:
    """A module from normalized float32 images (batch, 1, 28, 28) to logits (batch, classes), with
    torch's initial weights, drawn from torch's global generator. A notation does as well."""
    from torch import nn

    architecture = _architecture(architecture)
    costs = zip(runs.layer_names(architecture.layers), architecture.costs, strict=True)
    modules = OrderedDict((name, cost.layer.module(cost.input_shape)) for name, cost in costs)
    modules["flatten"] = nn.Flatten()
    if architecture.views > 1:
        modules["average"] = average(architecture.views)
    return nn.Sequential(modules)


def format_notation(architecture: Architecture | str) -> str:
    """The architecture's notation; `parse_notation` gives back an equal architecture."""
    return runs.format_layers(_architecture(architecture).layers)


def parse_notation(text: str) -> Architecture:
    """The architecture of a notation; ArchitectureError names the character or layer at fault."""
    if not isinstance(text, str):
        raise ArchitectureError(f"a notation is text such as 'c10rn-g-c10k1', not {text!r}")
    layers, _ = runs.parse_layers(text.strip())
    try:
        return Architecture(layers)
    except ArchitectureError as error:
        raise ArchitectureError(f"notation {shortened(text.strip())!r}: {error}") from None


def _architecture(named: Architecture | str) -> Architecture:
    return named if isinstance(named, Architecture) else parse_notation(named)

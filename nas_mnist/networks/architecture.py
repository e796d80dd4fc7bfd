"""A network as one immutable value, and everything that follows from its layers alone.

Parameters, multiply-accumulates (MACs), output shapes and receptive fields are closed forms: no
network is built, and torch is not imported. The formulas stand in each layer's class.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.layers import (
    CLASSES,
    INPUT_SHAPE,
    MAX_LAYERS,
    Layer,
    Shape,
    layer_names,
)

if TYPE_CHECKING:
    from torch import nn

MAX_PARAMETERS = 10**9


class LayerCost(NamedTuple):
    """What one layer of an architecture costs and sees."""

    layer: Layer
    input_shape: Shape
    output_shape: Shape
    parameters: int
    macs: int
    receptive_field: int
    """side, in pixels of the input image, of the square that one output value depends on"""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The ordered layers of one network from a 1×28×28 image to ten class scores.

    Raises:
        ArchitectureError: with the layer's number, if the layers do not fit each other or do not
            end in ten scores.
    """

    layers: tuple[Layer, ...]
    costs: tuple[LayerCost, ...] = field(init=False, repr=False, compare=False)
    """one entry a layer, in order"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "costs", _costs_of(self.layers))

    @property
    def topology(self) -> tuple[Layer, ...]:
        """The layers without their widths; networks of one topology can be trained as one."""
        return tuple(layer.topology() for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return sum(cost.parameters for cost in self.costs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image (see `Layer.macs`)."""
        return sum(cost.macs for cost in self.costs)

    @property
    def receptive_field(self) -> int:
        """Receptive field of the class scores, in pixels; beyond 28 it sees the padding too."""
        return self.costs[-1].receptive_field


def build_network(architecture: Architecture) -> nn.Sequential:
    """A network with torch's initial weights, drawn from torch's global generator.

    Returns:
        A module from images (batch, 1, 28, 28) float32, normalized, to logits (batch, 10).
    """
    from torch import nn

    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for name, cost in zip(layer_names(architecture.layers), architecture.costs, strict=True):
        modules[name] = cost.layer.module(cost.input_shape)
    modules["flatten"] = nn.Flatten()
    return nn.Sequential(modules)


def _costs_of(layers: Sequence[Layer]) -> tuple[LayerCost, ...]:
    """Costs of all layers; the receptive field grows by rf += (k - 1) * jump, jump *= stride
    (Araujo, Norris, Sim: Computing Receptive Fields of Convolutional Neural Networks, 2019)."""
    if not 1 <= len(layers) <= MAX_LAYERS:
        raise ArchitectureError(f"{len(layers)} layers are not within 1 to {MAX_LAYERS}")
    shape, receptive_field, jump = INPUT_SHAPE, 1, 1
    costs = []
    for number, layer in enumerate(layers, start=1):
        try:
            layer.check(shape)
        except ArchitectureError as error:
            raise ArchitectureError(f"layer {number} ({layer.op}): {error}") from None
        kernel, stride = layer.window(shape)
        receptive_field += (kernel - 1) * jump
        jump *= stride
        output = layer.output_shape(shape)
        parameters, macs = layer.parameters(shape), layer.macs(shape)
        costs.append(LayerCost(layer, shape, output, parameters, macs, receptive_field))
        shape = output
    total = sum(cost.parameters for cost in costs)
    if total > MAX_PARAMETERS:
        raise ArchitectureError(f"{total:,} parameters are more than {MAX_PARAMETERS:,}")
    if shape != (CLASSES, 1, 1):
        raise ArchitectureError(
            f"the network ends in {'×'.join(map(str, shape))} values, not in {CLASSES} class "
            f"scores ({CLASSES}×1×1); end it in a global average pool and a 1×1 convolution to "
            f"{CLASSES}"
        )
    return tuple(costs)

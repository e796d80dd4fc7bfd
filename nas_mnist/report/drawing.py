"""A network as boxes to draw: blocks between its max-pools, and in each what a convolution or a
pool makes, with all that follows it."""

from dataclasses import fields
from typing import NamedTuple

from nas_mnist.networks.architecture import Architecture
from nas_mnist.networks.layers import Layer, Shape
from nas_mnist.networks.layers.composite import Composite

_WRITTEN = {"kernel": "{0}×{0}", "p": "{0:g}", "padding": "padding {0}"}


class Box(NamedTuple):
    """One box: a layer, and those that follow it up to the next that reads a window."""

    layers: str
    shape: Shape
    parameters: int
    receptive_field: int

    @property
    def sheets(self) -> int:
        """How deep it is drawn, by its channels on a logarithmic scale."""
        return self.shape[0].bit_length()


def boxes(network: Architecture) -> list[list[Box]]:
    """The boxes of each block; a pool ends one, and stands alone."""
    blocks: list[list[Box]] = [[]]
    for cost in network.costs:
        said = layer_text(cost.layer)
        if blocks[-1] and not cost.layer.starts_unit:
            last = blocks[-1].pop()
            own = last._replace(layers=f"{last.layers}, {said}", shape=cost.output_shape)
            own = own._replace(parameters=last.parameters + cost.parameters)
            blocks[-1].append(own)
            continue
        box = Box(said, cost.output_shape, cost.parameters, cost.receptive_field)
        strides = cost.layer.window(cost.input_shape)[1] > 1
        blocks += [[box], []] if strides else []
        if not strides:
            blocks[-1].append(box)
    return [block for block in blocks if block]


def layer_text(layer: Layer) -> str:
    """A layer in words, such as "conv 3×3, padding 1"; one that is made of others also as its
    notation."""
    if isinstance(layer, Composite):
        return f"{layer.op} {layer.notation()}"
    named = {own.name for own in fields(layer) if getattr(layer, own.name)}
    said = [_WRITTEN[name].format(getattr(layer, name)) for name in _WRITTEN if name in named]
    return " ".join([layer.op, ", ".join(said)]).strip()

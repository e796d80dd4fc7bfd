"""An architecture as one short line that a person can type, and back.

A line is a run of layers, read from the image to the scores; a dash may stand between any two:

    c16          convolution, 3×3, 16 channels out, no padding, no bias
    c16k5p2b     the same, kernel 5, padding 2, with bias
    d, dk5p2b    depthwise convolution, 3×3; kernel 5, padding 2, with bias
    r            ReLU
    n            batch normalization
    x0.1         dropout of values at rate 0.1
    y0.1         dropout of whole channels at rate 0.1
    m2           max-pool 2×2
    g            global average pool
    s4           squeeze-and-excitation through 4 channels
    w2c16p1      the same convolution twice, each time with ReLU and a normalization of its own
    [c16p1rn]    a residual: what is within, and its input added

For example `c10rn-c20rn-m2-c10rn-c20rn-m2-c12rn-g-c10k1`. Each layer's class has its own part.
"""

from __future__ import annotations

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.architecture import Architecture
from nas_mnist.networks.layers import format_layers, parse_layers


def format_notation(architecture: Architecture) -> str:
    """The architecture's notation; `parse_notation` gives back an equal architecture."""
    return format_layers(architecture.layers)


def parse_notation(text: str) -> Architecture:
    """The architecture that `text` describes.

    Raises:
        ArchitectureError: naming the character or the layer, if it describes none.
    """
    text = text.strip()
    layers, _ = parse_layers(text)
    try:
        return Architecture(layers)
    except ArchitectureError as error:
        said = text if len(text) <= 60 else text[:59] + "…"
        raise ArchitectureError(f"notation {said!r}: {error}") from None

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

For example `c10rn-c20rn-m2-c10rn-c20rn-m2-c12rn-g-c10k1`.
"""

from __future__ import annotations

import re
from typing import TypedDict

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.architecture import (
    Architecture,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Dropout2d,
    GlobalAveragePool,
    Layer,
    MaxPool,
    ReLU,
)

# Four digits a number: enough for every legal value, and int() never meets a huge one.
_WINDOW = r"(?:k(?P<kernel>\d{1,4}))?(?:p(?P<padding>\d{1,4}))?(?P<bias>b)?"
_LAYER = re.compile(
    rf"""
      c(?P<out>\d{{1,4}}){_WINDOW}
    | (?P<depthwise>d){_WINDOW.replace("<", "<d_")}
    | (?P<relu>r)
    | (?P<norm>n)
    | x(?P<dropout>\d(?:\.\d{{1,6}})?)
    | y(?P<dropout2d>\d(?:\.\d{{1,6}})?)
    | m(?P<pool>\d{{1,4}})
    | (?P<gap>g)
    """,
    re.VERBOSE | re.ASCII,
)


class _Window(TypedDict):
    kernel: int
    padding: int
    bias: bool


_STARTS_UNIT = (Conv, DepthwiseConv, MaxPool, GlobalAveragePool)


def format_notation(architecture: Architecture) -> str:
    """The architecture's notation; `parse_notation` gives back an equal architecture."""
    text = ""
    for layer in architecture.layers:
        if text and isinstance(layer, _STARTS_UNIT):
            text += "-"
        text += _format_layer(layer)
    return text


def parse_notation(text: str) -> Architecture:
    """The architecture that `text` describes.

    Raises ArchitectureError, naming the place, if it describes none.
    """
    layers = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _LAYER.match(text, position)
        if match is None:
            raise ArchitectureError(
                f"notation {_shorten(text)!r}: no layer starts with "
                f"{_shorten(text[position:], 12)!r} at character {position + 1}; a layer is "
                "c16, c16k1, d, r, n, x0.1, y0.1, m2 or g"
            )
        layers.append(_parse_layer(match))
        position = match.end()
        if text.startswith("-", position) and position + 1 < len(text):
            position += 1
    try:
        return Architecture(tuple(layers))
    except ArchitectureError as error:
        raise ArchitectureError(f"notation {_shorten(text)!r}: {error}") from None


def _format_layer(layer: Layer) -> str:
    match layer:
        case Conv():
            return f"c{layer.out}{_format_window(layer)}"
        case DepthwiseConv():
            return f"d{_format_window(layer)}"
        case ReLU():
            return "r"
        case BatchNorm():
            return "n"
        case Dropout():
            return f"x{_format_rate(layer.p)}"
        case Dropout2d():
            return f"y{_format_rate(layer.p)}"
        case MaxPool():
            return f"m{layer.kernel}"
        case GlobalAveragePool():
            return "g"
    raise TypeError(f"no notation for {layer!r}")


def _format_window(layer: Conv | DepthwiseConv) -> str:
    kernel = f"k{layer.kernel}" if layer.kernel != 3 else ""
    padding = f"p{layer.padding}" if layer.padding else ""
    return kernel + padding + ("b" if layer.bias else "")


def _format_rate(p: float) -> str:
    return f"{p:.6f}".rstrip("0").rstrip(".")


def _parse_layer(match: re.Match[str]) -> Layer:
    found = match.groupdict()
    if found["out"]:
        return Conv(int(found["out"]), **_window(found, ""))
    if found["depthwise"]:
        return DepthwiseConv(**_window(found, "d_"))
    if found["relu"]:
        return ReLU()
    if found["norm"]:
        return BatchNorm()
    if found["dropout"]:
        return Dropout(float(found["dropout"]))
    if found["dropout2d"]:
        return Dropout2d(float(found["dropout2d"]))
    if found["pool"]:
        return MaxPool(int(found["pool"]))
    return GlobalAveragePool()


def _window(found: dict[str, str | None], prefix: str) -> _Window:
    kernel, padding = found[prefix + "kernel"], found[prefix + "padding"]
    bias = found[prefix + "bias"] is not None
    return {"kernel": int(kernel or 3), "padding": int(padding or 0), "bias": bias}


def _shorten(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"

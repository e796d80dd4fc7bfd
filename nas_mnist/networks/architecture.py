"""A network as one immutable value, and everything that follows from its layers alone.

Parameters, multiply-accumulates (MACs), output shapes and receptive fields are closed forms:
no network is built, and torch is not imported. The formulas stand beside the layer they cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple, TypeAlias

from nas_mnist.errors import ArchitectureError

Shape: TypeAlias = tuple[int, int, int]
"""channels, height and width of one image's feature map"""

INPUT_SHAPE: Shape = (1, 28, 28)
CLASSES = 10

# Far above any network here; limits so that a mistyped or hostile notation cannot ask for
# terabytes.
MAX_CHANNELS = 1024
MAX_LAYERS = 256
MAX_PARAMETERS = 10**9


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; the defaults are those of a layer that works on each value by itself."""

    op: ClassVar[str]

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
        """Side of the window that one output value sees, and its stride, in input pixels."""
        return 1, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Convolution(Layer):
    kernel: int = 3
    """side of the square window"""
    padding: int = 0
    """pixels of zeros added on every side"""
    bias: bool = False

    def check(self, shape: Shape) -> None:
        _, height, width = shape
        if not 1 <= self.kernel <= INPUT_SHAPE[1]:
            raise ArchitectureError(f"kernel {self.kernel} is not within 1 to {INPUT_SHAPE[1]}")
        if not 0 <= self.padding < self.kernel:
            raise ArchitectureError(
                f"padding {self.padding} is not within 0 to {self.kernel - 1} (kernel - 1)"
            )
        if self.kernel > min(height, width) + 2 * self.padding:
            raise ArchitectureError(
                f"kernel {self.kernel} does not fit a {height}×{width} map "
                f"with padding {self.padding}"
            )

    def _side(self, side: int) -> int:
        return side + 2 * self.padding - self.kernel + 1

    def window(self, shape: Shape) -> tuple[int, int]:
        return self.kernel, 1


@dataclass(frozen=True, slots=True)
class Conv(_Convolution):
    """A dense convolution to `out` channels."""

    op = "conv"
    out: int

    def check(self, shape: Shape) -> None:
        if not 1 <= self.out <= MAX_CHANNELS:
            raise ArchitectureError(f"width {self.out} is not within 1 to {MAX_CHANNELS}")
        _Convolution.check(self, shape)

    def output_shape(self, shape: Shape) -> Shape:
        return self.out, self._side(shape[1]), self._side(shape[2])

    def parameters(self, shape: Shape) -> int:
        return self.out * (shape[0] * self.kernel * self.kernel + self.bias)

    def macs(self, shape: Shape) -> int:
        out, height, width = self.output_shape(shape)
        return out * height * width * shape[0] * self.kernel * self.kernel


@dataclass(frozen=True, slots=True)
class DepthwiseConv(_Convolution):
    """One filter for each channel; with a 1×1 `Conv` behind it, a separable convolution."""

    op = "depthwise"

    def output_shape(self, shape: Shape) -> Shape:
        return shape[0], self._side(shape[1]), self._side(shape[2])

    def parameters(self, shape: Shape) -> int:
        return shape[0] * (self.kernel * self.kernel + self.bias)

    def macs(self, shape: Shape) -> int:
        channels, height, width = self.output_shape(shape)
        return channels * height * width * self.kernel * self.kernel


@dataclass(frozen=True, slots=True)
class BatchNorm(Layer):
    """Batch normalization with a trained scale and shift for each channel."""

    op = "batchnorm"

    def parameters(self, shape: Shape) -> int:
        return 2 * shape[0]


@dataclass(frozen=True, slots=True)
class ReLU(Layer):
    op = "relu"


@dataclass(frozen=True, slots=True)
class _Dropout(Layer):
    p: float = 0.0
    """share of values (or of whole channels) set to zero while training"""

    def check(self, shape: Shape) -> None:
        if not 0 <= self.p < 1:
            raise ArchitectureError(f"dropout rate {self.p} is not within 0 to 1 (exclusive)")
        if round(self.p, 6) != self.p:
            raise ArchitectureError(f"dropout rate {self.p} has more than six decimals")


@dataclass(frozen=True, slots=True)
class Dropout(_Dropout):
    """Dropout of single values."""

    op = "dropout"


@dataclass(frozen=True, slots=True)
class Dropout2d(_Dropout):
    """Dropout of whole channels."""

    op = "dropout2d"


@dataclass(frozen=True, slots=True)
class MaxPool(Layer):
    """The largest value of each `kernel`×`kernel` square; the stride is the kernel."""

    op = "maxpool"
    kernel: int = 2

    def check(self, shape: Shape) -> None:
        if not 2 <= self.kernel <= min(shape[1:]):
            raise ArchitectureError(
                f"max-pool {self.kernel} is not within 2 to the map's side ({min(shape[1:])})"
            )

    def output_shape(self, shape: Shape) -> Shape:
        return shape[0], shape[1] // self.kernel, shape[2] // self.kernel

    def window(self, shape: Shape) -> tuple[int, int]:
        return self.kernel, self.kernel


@dataclass(frozen=True, slots=True)
class GlobalAveragePool(Layer):
    """The mean of each channel over the whole map."""

    op = "gap"

    def output_shape(self, shape: Shape) -> Shape:
        return shape[0], 1, 1

    def window(self, shape: Shape) -> tuple[int, int]:
        return shape[1], 1


class LayerCost(NamedTuple):
    """What one layer of an architecture costs and sees."""

    layer: Layer
    output_shape: Shape
    parameters: int
    macs: int
    receptive_field: int
    """side, in pixels of the input image, of the square that one output value depends on"""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The ordered layers of one network from a 1×28×28 image to ten class scores.

    Raises ArchitectureError, with the layer's number, if the layers do not fit each other or do
    not end in ten scores.
    """

    layers: tuple[Layer, ...]
    costs: tuple[LayerCost, ...] = field(init=False, repr=False, compare=False)
    """one entry a layer, in order"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "costs", _walk(self.layers))

    @property
    def topology(self) -> tuple[Layer, ...]:
        """The layers without their widths; networks of one topology can be trained as one."""
        return tuple(
            replace(layer, out=0) if isinstance(layer, Conv) else layer for layer in self.layers
        )

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


def _walk(layers: Sequence[Layer]) -> tuple[LayerCost, ...]:
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
        costs.append(
            LayerCost(layer, output, layer.parameters(shape), layer.macs(shape), receptive_field)
        )
        shape = output
    parameters = sum(cost.parameters for cost in costs)
    if parameters > MAX_PARAMETERS:
        raise ArchitectureError(f"{parameters:,} parameters are more than {MAX_PARAMETERS:,}")
    if shape != (CLASSES, 1, 1):
        raise ArchitectureError(
            f"the network ends in {'×'.join(map(str, shape))} values, not in {CLASSES} class "
            f"scores ({CLASSES}×1×1); end it in a global average pool and a 1×1 convolution to "
            f"{CLASSES}"
        )
    return tuple(costs)

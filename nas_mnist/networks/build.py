"""The one place where an architecture becomes a torch module."""

from __future__ import annotations

from collections import Counter, OrderedDict

from torch import nn

from nas_mnist.networks.architecture import (
    Architecture,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Dropout2d,
    GlobalAveragePool,
    Layer,
    LayerCost,
    MaxPool,
    ReLU,
)

_NAMES: dict[type[Layer], str] = {
    Conv: "conv",
    DepthwiseConv: "depthwise",
    BatchNorm: "norm",
    ReLU: "relu",
    Dropout: "dropout",
    Dropout2d: "dropout",
    MaxPool: "pool",
    GlobalAveragePool: "gap",
}


def layer_names(architecture: Architecture) -> list[str]:
    """A module name for each layer (`conv1`, `norm1`, `pool1`…), unique within the network.

    The built network and the exported file share them, and so their weights.
    """
    counts: Counter[str] = Counter()
    names = []
    for layer in architecture.layers:
        kind = _NAMES[type(layer)]
        counts[kind] += 1
        names.append(f"{kind}{counts[kind]}")
    return names


def build_network(architecture: Architecture) -> nn.Sequential:
    """A network with torch's initial weights, drawn from torch's global generator.

    It takes images (batch, 1, 28, 28) float32, normalized, and gives logits (batch, 10).
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 1
    for name, cost in zip(layer_names(architecture), architecture.costs, strict=True):
        modules[name] = _module(cost, channels)
        channels = cost.output_shape[0]
    modules["flatten"] = nn.Flatten()
    return nn.Sequential(modules)


def _module(cost: LayerCost, channels: int) -> nn.Module:
    match cost.layer:
        case Conv() as conv:
            return nn.Conv2d(channels, conv.out, conv.kernel, padding=conv.padding, bias=conv.bias)
        case DepthwiseConv() as conv:
            return nn.Conv2d(
                channels,
                channels,
                conv.kernel,
                padding=conv.padding,
                groups=channels,
                bias=conv.bias,
            )
        case BatchNorm():
            return nn.BatchNorm2d(channels)
        case ReLU():
            return nn.ReLU()
        case Dropout() as dropout:
            return nn.Dropout(dropout.p)
        case Dropout2d() as dropout:
            return nn.Dropout2d(dropout.p)
        case MaxPool() as pool:
            return nn.MaxPool2d(pool.kernel)
        case GlobalAveragePool():
            return nn.AdaptiveAvgPool2d(1)
    raise TypeError(f"no module for {cost.layer!r}")

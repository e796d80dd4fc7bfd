"""The decisions that a network and its recipe are made of: each as what is left when it is undone,
and all as the lifecycle that makes them one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks import variants as to
from nas_mnist.networks.architecture import Architecture, Limit
from nas_mnist.networks.layers import Layer
from nas_mnist.networks.layers.composite import Repeat, Residual, SqueezeExcite
from nas_mnist.networks.layers.convolution import BatchNorm, DepthwiseConv, Dropout, MaxPool, ReLU
from nas_mnist.networks.layers.deskew import Deskew
from nas_mnist.networks.layers.smooth import AntiAliasedPool, SiLU
from nas_mnist.networks.layers.views import Views
from nas_mnist.networks.resizing import as_wide_as, refitted, widened
from nas_mnist.training.recipe import Augmentation, Recipe

_SKELETON_WIDTH = 4.0  # times as wide as what fits: people begin with too large a network
_NO_AUGMENTATION = {**dict.fromkeys(Augmentation.model_fields, 0.0), "plain_epochs": 0}


@dataclass(frozen=True, slots=True)
class Decision:
    """One thing decided. `undo` or `settings` give None where there is nothing of it to undo."""

    name: str
    undone: str  # what a network without it is called; {} is the first pool's receptive field
    undo: to.Change = lambda network: network
    settings: Callable[[Recipe], Mapping[str, Any] | None] = lambda recipe: {}
    made: str = ""  # what the step of a lifecycle that makes it is called; "" for none


@dataclass(frozen=True, slots=True)
class Variant:
    """A network and a recipe to be trained beside others."""

    name: str
    title: str
    architecture: Architecture
    recipe: Recipe
    impossible: str = ""  # why there is no such network; then the two above are those it was to be


def _with(settings: Mapping[str, Any]) -> Callable[[Recipe], Mapping[str, Any] | None]:
    return lambda recipe: settings if recipe.changed(settings) != recipe else None


def _peak(factor: float) -> Callable[[Recipe], Mapping[str, Any]]:
    return lambda recipe: {"learning_rate": factor * recipe.learning_rate}


def _constant(recipe: Recipe) -> Mapping[str, Any] | None:
    rate = recipe.learning_rate * recipe.start_factor
    own = {"schedule": "constant", "learning_rate": rate}
    return own if recipe.schedule == "onecycle" else None


def _narrow(layer: Layer) -> Layer:
    if isinstance(layer, DepthwiseConv) and layer.kernel > 3:
        return replace(layer, kernel=3, padding=min(layer.padding, 1))
    return layer


def _each(change: Callable[[Layer], Layer]) -> to.Change:
    return to.replaced(lambda layer: (change(layer),))


def _instead(kind: type[Layer], other: Layer) -> to.Change:
    return _each(lambda layer: other if isinstance(layer, kind) else layer)


def _pool_at_5(network: Architecture) -> Architecture | None:
    """Where the published lifecycles put it, if that is two convolutions earlier or more."""
    moved = (to.pool_moved(-by)(network) for by in range(2, 9))
    return next((own for own in moved if first_pool(own) == 5), None)


def _added(name: str, made: str, **how: Any) -> Decision:
    return Decision(name, f"without {made}", made=made, **how)


# In the order that a lifecycle makes them.
DECISIONS = (
    _added("batch-norm", "batch normalization", undo=to.without(BatchNorm)),
    Decision(  # what learns without it takes smaller steps
        "batch-norm-slow",
        "without batch normalization, at a tenth of the peak learning rate",
        to.without(BatchNorm),
        _peak(0.1),
    ),
    _added("dropout", "dropout", undo=to.without(Dropout)),
    Decision(
        "average-pool",
        "a large last kernel in place of the global average",
        to.without_average,
        made="global average pooling",
    ),
    Decision(
        "pool-later",
        "first pool one convolution later, at receptive field {}",
        to.pool_moved(1),
        made="first pool one convolution earlier",
    ),
    Decision(
        "pool-earlier",
        "first pool one convolution earlier, at receptive field {}",
        to.pool_moved(-1),
    ),
    Decision("pool-at-5", "first pool at receptive field {}", _pool_at_5),
    Decision("shallower", "one convolution fewer", to.deeper(-1)),
    Decision("deeper", "one convolution more", to.deeper(1)),
    Decision(
        "dense",
        "dense convolutions in place of separable ones",
        to.of_convolutions("dense"),
        made="separable convolutions",
    ),
    Decision(
        "separable",
        "separable convolutions in place of dense ones",
        to.of_convolutions("separable"),
    ),
    Decision("no-squeeze", "without the 1×1 squeeze", to.squeezed(0), made="a 1×1 squeeze"),
    Decision("squeeze", "with a 1×1 squeeze", to.squeezed(0.5)),
    Decision(
        "no-hidden",
        "without the hidden layer of the head",
        to.hidden_layer(0),
        made="a hidden layer in the head",
    ),
    Decision("hidden", "with a hidden layer in the head", to.hidden_layer(1)),
    Decision("first-half", "first block half as wide", to.wider_first_block(0.5)),
    Decision("first-twice", "first block twice as wide", to.wider_first_block(2)),
    Decision("dropout-0.05", "dropout of 0.05", to.dropped_out(0.05)),
    _added("residual", "residuals", undo=to.unwrapped(Residual)),
    _added("repeat", "repeats", undo=to.unwrapped(Repeat)),
    _added("excite", "squeeze-and-excitation", undo=to.without(SqueezeExcite)),
    Decision(
        "kernel-3",
        "3×3 in place of larger depthwise windows",
        _each(_narrow),
        made="larger depthwise windows",
    ),
    Decision(
        "max-pool",
        "max-pools in place of anti-aliased ones",
        _instead(AntiAliasedPool, MaxPool()),
        made="anti-aliased pools",
    ),
    Decision("relu", "ReLU in place of SiLU", _instead(SiLU, ReLU()), made="SiLU"),
    Decision(
        "norm-scale", "with scaled norms", _instead(BatchNorm, BatchNorm()), made="unscaled norms"
    ),
    _added("deskew", "deskewing", undo=to.without(Deskew)),
    Decision("views", "looking at each image once", to.without(Views), made="several views"),
    _added("augmentation", "augmentation", settings=_with({"augmentation": _NO_AUGMENTATION})),
    Decision(
        "schedule",
        "a constant learning rate, that of the start",
        settings=_constant,
        made="a schedule for the learning rate",
    ),
    Decision("peak-half", "half the peak learning rate", settings=_peak(0.5)),
    Decision("peak-twice", "twice the peak learning rate", settings=_peak(2.0)),
    Decision(
        "average",
        "last weights in place of averaged ones",
        settings=_with({"average_epochs": 0.0}),
        made="averaged weights",
    ),
)


def undone(architecture: Architecture, recipe: Recipe) -> list[Variant]:
    """The network as it is, then with one decision undone at a time: those that apply. Where that
    changes its size, its widths are found again: the widest of no more parameters."""
    found = [Variant("as it is", "as it is", architecture, recipe)]
    for own in DECISIONS:
        settings = own.settings(recipe)
        try:
            network = own.undo(architecture)
            if network and network.parameters != architecture.parameters:
                network = refitted(network, Limit(architecture.parameters))
        except ArchitectureError as error:
            title = own.undone.format(first_pool(architecture))
            found.append(Variant(own.name, title, architecture, recipe, str(error)))
            continue
        if network is None or settings is None or (network, settings) == (architecture, {}):
            continue
        title = own.undone.format(first_pool(network))
        found.append(Variant(own.name, title, network, recipe.changed(settings)))
    return found


def lifecycle(architecture: Architecture, recipe: Recipe) -> list[Variant]:
    """From a plain skeleton to the network, one decision a step; from the second step on each is
    within the network's own number of parameters."""
    steps = [own for own in DECISIONS if own.made and _applies(own, architecture, recipe)]
    limit = Limit(architecture.parameters)

    def fitted(name: str, title: str, made: int) -> Variant:
        """With so many of the steps made."""
        network, own = architecture, recipe
        for step in reversed(steps[made:]):
            network = step.undo(network) or network
            own = own.changed(step.settings(own) or {})
        try:
            return Variant(name, title, refitted(network, limit), own)
        except ArchitectureError as error:
            return Variant(name, title, network, own, str(error))

    lighter = fitted("lighter", "lighter, within the budget", 0)
    large = widened(lighter.architecture, _SKELETON_WIDTH)
    skeleton = Variant("skeleton", "a skeleton", large, lighter.recipe)
    found = [skeleton, lighter]
    for number, step in enumerate(steps, start=1):
        before, now = found[-1], fitted(step.name, step.made, number)
        found.append(now)
        if step.name == "average-pool" and not (before.impossible or now.impossible):
            narrow = as_wide_as(now.architecture, before.architecture)
            found[-1] = replace(now, architecture=narrow)
            title = "capacity: what that saved, in width"
            found.append(replace(now, name="capacity", title=title))
    return [*found[:-1], replace(found[-1], architecture=architecture)]


def first_pool(network: Architecture | None) -> int:
    """Side, in pixels, of what the first pool's input sees; 0 without a pool."""
    for before, cost in zip(network.costs, network.costs[1:], strict=False) if network else ():
        if isinstance(cost.layer, MaxPool | AntiAliasedPool):
            return before.receptive_field
    return 0


def _applies(own: Decision, architecture: Architecture, recipe: Recipe) -> bool:
    try:
        return None not in (own.undo(architecture), own.settings(recipe))
    except ArchitectureError:
        return False

"""Optimizers: one class each for networks side by side, and torch's own for all others.

Torch is imported where it is used: the names are needed without it.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from nas_mnist.errors import RequestError
from nas_mnist.lookup import find

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nas_mnist.training.packed import PackedValues
    from nas_mnist.training.recipe import Recipe

# Those of torch.optim.AdamW.
_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class PackOptimizer(Protocol):
    """Moves the weights of networks side by side, each network at a rate of its own."""

    capturable: ClassVar[bool]
    """whether a step can be captured as a CUDA graph"""

    @property
    def state(self) -> list[Tensor]:
        """What it remembers, for a captured step to be set back."""

    def step(self, gradient: Tensor, rates: Tensor) -> None:
        """Move the weights in place.

        Args:
            gradient: as the weights lie, see `PackedValues.values`.
            rates: (members,), learning rates.
        """

    def kept(self, slots: Sequence[int], values: PackedValues) -> PackOptimizer:
        """The same with what it remembers of those networks alone, whose weights are `values`."""


class ElementWise(ABC):
    """An optimizer that moves every weight by itself, over all networks' weights at once.

    By torch's own functions, not its classes: making one imports torch's compiler, 3 s of every
    worker's start. A subclass says what it remembers, and how it moves at learning rate 1.
    """

    capturable: ClassVar[bool] = True
    name: ClassVar[str]
    remembers: ClassVar[tuple[str, ...]] = ()
    """vectors like the weights, zero at the start"""

    def __init__(
        self, recipe: Recipe, values: PackedValues, memory: dict[str, Tensor] | None = None
    ) -> None:
        import torch

        self.recipe = recipe
        self.values = values
        self.memory = memory or {
            **{name: torch.zeros_like(values.values) for name in self.remembers},
            # On a GPU a captured step advances it, so that it must lie there too.
            "steps": torch.zeros((), dtype=torch.float32, device=values.values.device),
        }

    @property
    def state(self) -> list[Tensor]:
        return list(self.memory.values())

    @abstractmethod
    def move(self, weights: Tensor, gradient: Tensor) -> None:
        """Move the weights in place, at rate 1."""

    @classmethod
    @abstractmethod
    def torch_optimizer(
        cls, recipe: Recipe, weights: list[Tensor], learning_rate: float
    ) -> torch.optim.Optimizer:
        """Torch's own, for the plain trainer."""

    def step(self, gradient: Tensor, rates: Tensor) -> None:
        import torch

        weights = self.values.values
        with torch.no_grad():
            # A move is proportional to the rate: all move at 1, and each network then takes its
            # own share of its move.
            before = weights.clone()
            self.move(weights, gradient)
            share = self.values.spread(rates).to(before.dtype)
            weights.copy_(torch.lerp(before, weights, share))

    def kept(self, slots: Sequence[int], values: PackedValues) -> PackOptimizer:
        memory = {
            name: self.values.parts(vector, slots) if vector.dim() else vector
            for name, vector in self.memory.items()
        }
        return type(self)(self.recipe, values, memory)


class SGD(ElementWise):
    """Gradient descent with Nesterov momentum."""

    name = "sgd"
    remembers = ("momentum",)

    def move(self, weights: Tensor, gradient: Tensor) -> None:
        from torch.optim.sgd import sgd

        momentum = self.recipe.momentum
        sgd(
            [weights],
            [gradient],
            [self.memory["momentum"] if momentum > 0 else None],
            foreach=False,
            fused=False,
            weight_decay=self.recipe.weight_decay,
            momentum=momentum,
            lr=1.0,
            dampening=0.0,
            nesterov=momentum > 0,
            maximize=False,
        )

    @classmethod
    def torch_optimizer(
        cls, recipe: Recipe, weights: list[Tensor], learning_rate: float
    ) -> torch.optim.Optimizer:
        import torch

        return torch.optim.SGD(
            weights,
            learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.momentum > 0,
        )


class AdamW(ElementWise):
    """Adam with decoupled weight decay."""

    name = "adamw"
    remembers = ("first", "second")

    def move(self, weights: Tensor, gradient: Tensor) -> None:
        from torch.optim.adamw import adamw

        adamw(
            [weights],
            [gradient],
            [self.memory["first"]],
            [self.memory["second"]],
            [],
            [self.memory["steps"]],
            foreach=False,
            capturable=weights.is_cuda,
            fused=False,
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=1.0,
            weight_decay=self.recipe.weight_decay,
            eps=_EPSILON,
            maximize=False,
        )

    @classmethod
    def torch_optimizer(
        cls, recipe: Recipe, weights: list[Tensor], learning_rate: float
    ) -> torch.optim.Optimizer:
        import torch

        return torch.optim.AdamW(weights, learning_rate, weight_decay=recipe.weight_decay)


OPTIMIZERS: dict[str, type[ElementWise]] = {kind.name: kind for kind in (SGD, AdamW)}


class OneByOne:
    """Any torch optimizer, one for each network: for matrices as well, slower, and equal."""

    capturable: ClassVar[bool] = False

    def __init__(
        self,
        recipe: Recipe,
        values: PackedValues,
        optimizers: Sequence[tuple[list[Tensor], torch.optim.Optimizer]] = (),
    ) -> None:
        from torch.nn import Parameter

        self._recipe = recipe
        self._values = values
        self._optimizers = list(optimizers)
        for tensors in () if optimizers else values.by_network(values.values):
            parameters: list[Tensor] = [Parameter(own.clone()) for own in tensors]
            self._optimizers.append((parameters, make_optimizer(recipe, parameters, 1.0)))

    @property
    def state(self) -> list[Tensor]:
        return []

    def step(self, gradient: Tensor, rates: Tensor) -> None:
        weights = self._values.by_network(self._values.values)
        gradients = self._values.by_network(gradient)
        for (parameters, optimizer), own, moves, rate in zip(
            self._optimizers, weights, gradients, rates.tolist(), strict=True
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate
            for parameter, weight, move in zip(parameters, own, moves, strict=True):
                parameter.data.copy_(weight)
                parameter.grad = move.clone()
            optimizer.step()
            for parameter, weight in zip(parameters, own, strict=True):
                weight.copy_(parameter.data)

    def kept(self, slots: Sequence[int], values: PackedValues) -> PackOptimizer:
        return OneByOne(self._recipe, values, [self._optimizers[slot] for slot in slots])


def make_pack_optimizer(recipe: Recipe, values: PackedValues) -> PackOptimizer:
    """The recipe's optimizer for the weights of networks side by side."""
    found = find("--recipe optimizer", recipe.optimizer, OPTIMIZERS)
    if isinstance(found, type) and issubclass(found, ElementWise):
        return found(recipe, values)
    return OneByOne(recipe, values)


def make_optimizer(
    recipe: Recipe, parameters: Iterable[Tensor], learning_rate: float
) -> torch.optim.Optimizer:
    """The recipe's optimizer of one network's parameters, in torch's own form.

    Raises:
        RequestError: if a user's own does not give one.
    """
    weights = list(parameters)
    found: Any = find("--recipe optimizer", recipe.optimizer, OPTIMIZERS)
    if isinstance(found, type) and issubclass(found, ElementWise):
        return found.torch_optimizer(recipe, weights, learning_rate)
    try:
        takes = inspect.signature(found).parameters
        all_names = any(taken.kind is taken.VAR_KEYWORD for taken in takes.values())
        own = {"momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
        settings = {name: value for name, value in own.items() if all_names or name in takes}
        made: torch.optim.Optimizer = found(weights, lr=learning_rate, **settings)
        _ = made.param_groups, made.step
    except Exception as error:  # a user's own may fail in any way
        said = " ".join(str(error).split())
        raise RequestError(f"recipe: optimizer {recipe.optimizer!r}: {said}") from None
    return made

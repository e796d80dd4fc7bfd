"""Optimizers: those known here move all networks' weights at once, any other each network's."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from nas_mnist.errors import RequestError
from nas_mnist.lookup import find
from nas_mnist.training.packed import PackedValues
from nas_mnist.training.recipe import OPTIMIZERS, Recipe


class AllAtOnce:
    """SGD or AdamW for networks side by side, each network at a rate of its own.

    By torch's own functions, not its classes: making one imports torch's compiler, 3 s of every
    worker's start.
    """

    capturable = True
    """whether a step can be captured as a CUDA graph"""

    def __init__(
        self, recipe: Recipe, values: PackedValues, state: Sequence[Tensor] | None = None
    ) -> None:
        """`state`: what is remembered of earlier steps, see `kept`; none if there were none."""
        self._recipe, self._values = recipe, values
        weights = values.values
        self.state = state or (
            *(torch.zeros_like(weights), torch.zeros_like(weights)),
            # On a GPU a captured step advances it, so that it must lie there too.
            torch.zeros((), dtype=torch.float32, device=weights.device),
        )

    @torch.no_grad()
    def step(self, gradient: Tensor, rates: Tensor) -> None:
        """Move the weights in place.

        Args:
            gradient: as the weights lie, see `PackedValues.values`.
            rates: (members,), learning rates.
        """
        weights = self._values.values
        # A move is proportional to the rate: all move at 1, and each network then takes its own
        # share of its move.
        before = weights.clone()
        self._move(weights, gradient)
        share = self._values.spread(rates).to(before.dtype)
        weights.copy_(torch.lerp(before, weights, share))

    def kept(self, slots: Sequence[int], values: PackedValues) -> AllAtOnce:
        """The same with what it remembers of those networks alone, whose weights are `values`."""
        state = [self._values.parts(own, slots) if own.dim() else own for own in self.state]
        return AllAtOnce(self._recipe, values, state)

    def _move(self, weights: Tensor, gradient: Tensor) -> None:
        """Move at rate 1."""
        first, second, steps = self.state
        momentum = self._recipe.momentum
        same: dict[str, Any] = {
            **{"lr": 1.0, "weight_decay": self._recipe.weight_decay},
            **{"foreach": False, "fused": False, "maximize": False},
        }
        if self._recipe.optimizer == "sgd":
            memory = [first if momentum > 0 else None]
            same |= {"momentum": momentum, "dampening": 0.0, "nesterov": momentum > 0}
            sgd([weights], [gradient], memory, **same)
        else:  # with the betas and epsilon of torch.optim.AdamW
            same |= {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False}
            same |= {"state_steps": [steps], "capturable": weights.is_cuda}
            adamw([weights], [gradient], [first], [second], [], **same)


class OneByOne:
    """Any torch optimizer, one for each network: for matrices as well, slower, and equal."""

    capturable = False
    state = ()

    def __init__(
        self,
        recipe: Recipe,
        values: PackedValues,
        own: Sequence[tuple[list[Tensor], torch.optim.Optimizer]] = (),
    ) -> None:
        """`own`: each network's parameters and their optimizer, new ones if there are none."""
        self._recipe, self._values, self._own = recipe, values, list(own)
        for tensors in () if own else values.by_network(values.values):
            parameters: list[Tensor] = [torch.nn.Parameter(tensor.clone()) for tensor in tensors]
            self._own.append((parameters, make_optimizer(recipe, parameters, 1.0)))

    def step(self, gradient: Tensor, rates: Tensor) -> None:
        weights = self._values.by_network(self._values.values)
        gradients = self._values.by_network(gradient)
        for (parameters, optimizer), own, moves, rate in zip(
            self._own, weights, gradients, rates.tolist(), strict=True
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate
            for parameter, weight, move in zip(parameters, own, moves, strict=True):
                parameter.data.copy_(weight)
                parameter.grad = move.clone()
            optimizer.step()
            for parameter, weight in zip(parameters, own, strict=True):
                weight.copy_(parameter.data)

    def kept(self, slots: Sequence[int], values: PackedValues) -> OneByOne:
        return OneByOne(self._recipe, values, [self._own[slot] for slot in slots])


def make_pack_optimizer(recipe: Recipe, values: PackedValues) -> AllAtOnce | OneByOne:
    """The recipe's optimizer for the weights of networks side by side."""
    return (AllAtOnce if recipe.optimizer in OPTIMIZERS else OneByOne)(recipe, values)


def make_optimizer(
    recipe: Recipe, parameters: Iterable[Tensor], learning_rate: float
) -> torch.optim.Optimizer:
    """The recipe's optimizer of one network's parameters, in torch's own form.

    Raises:
        RequestError: if a user's own does not give one.
    """
    found: Any = find("--recipe optimizer", recipe.optimizer, OPTIMIZERS)
    settings = {"momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        settings["nesterov"] = recipe.momentum > 0
    try:
        if isinstance(found, str):
            found = getattr(torch.optim, found)
        takes = inspect.signature(found).parameters
        if all(taken.kind is not taken.VAR_KEYWORD for taken in takes.values()):
            settings = {name: value for name, value in settings.items() if name in takes}
        made: torch.optim.Optimizer = found(list(parameters), lr=learning_rate, **settings)
        _ = made.param_groups, made.step
    except Exception as error:  # a user's own may fail in any way
        said = " ".join(str(error).split())
        raise RequestError(f"recipe: optimizer {recipe.optimizer!r}: {said}") from None
    return made

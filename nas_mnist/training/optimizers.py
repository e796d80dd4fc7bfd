"""Optimizers: those known here move all networks' weights at once, any other each network's."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
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
        """`state`: what it remembers of earlier steps; nothing if it is left out."""
        self._recipe, self._values, weights = recipe, values, values.values
        # On a GPU a captured step advances it, so that it must lie there too.
        steps = torch.zeros((), dtype=torch.float32, device=weights.device)
        self.state = state or (torch.zeros_like(weights), torch.zeros_like(weights), steps)

    @torch.no_grad()
    def step(self, gradient: Tensor, rates: Tensor) -> None:
        """Move the weights in place. `gradient`: as `PackedValues.values` lie; `rates`:
        (members,), learning rates."""
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
        settings: dict[str, Any] = {"lr": 1.0, "weight_decay": self._recipe.weight_decay}
        settings |= {"foreach": False, "fused": False, "maximize": False}
        if self._recipe.optimizer == "sgd":
            settings |= {"momentum": momentum, "dampening": 0.0, "nesterov": momentum > 0}
            sgd([weights], [gradient], [first if momentum > 0 else None], **settings)
        else:  # with the betas and epsilon of torch.optim.AdamW
            settings |= {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False}
            settings |= {"state_steps": [steps], "capturable": weights.is_cuda}
            adamw([weights], [gradient], [first], [second], [], **settings)


class OneByOne:
    """Any torch optimizer, one for each network: for matrices as well, slower, and equal."""

    capturable = False
    state = ()

    def __init__(self, recipe: Recipe, values: PackedValues) -> None:
        self._values = values
        networks = values.by_network(values.values)
        self._parameters = [[nn.Parameter(own.clone()) for own in tensors] for tensors in networks]
        self._optimizers = [make_optimizer(recipe, own, 1.0) for own in self._parameters]

    def step(self, gradient: Tensor, rates: Tensor) -> None:
        networks = self._values.by_network(self._values.values)
        gradients = self._values.by_network(gradient)
        for parameters, optimizer, weights, moves, rate in zip(
            self._parameters, self._optimizers, networks, gradients, rates.tolist(), strict=True
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate
            for parameter, move in zip(parameters, moves, strict=True):
                parameter.grad = move.clone()
            optimizer.step()
            for parameter, weight in zip(parameters, weights, strict=True):
                weight.copy_(parameter.data)

    def kept(self, slots: Sequence[int], values: PackedValues) -> OneByOne:
        self._values = values
        self._parameters = [self._parameters[slot] for slot in slots]
        self._optimizers = [self._optimizers[slot] for slot in slots]
        return self


def make_pack_optimizer(recipe: Recipe, values: PackedValues) -> AllAtOnce | OneByOne:
    """The recipe's optimizer for the weights of networks side by side."""
    return (AllAtOnce if recipe.optimizer in OPTIMIZERS else OneByOne)(recipe, values)


def make_optimizer(
    recipe: Recipe, parameters: Iterable[Tensor], learning_rate: float
) -> torch.optim.Optimizer:
    """The recipe's optimizer of one network's parameters, in torch's own form; RequestError if a
    user's own does not give one."""
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

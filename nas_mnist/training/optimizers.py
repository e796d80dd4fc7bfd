"""One optimizer step on a flat tensor of weights, with the optimizer's state at hand."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from nas_mnist.training.recipe import Recipe

# Those of torch.optim.AdamW.
_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class Updates:
    """The recipe's optimizer at learning rate 1, over `weights`, by torch's own functions.

    Not by its classes: making one imports torch's compiler, 3 s of every worker's start. All of
    the `state` is tensors on the weights' device, zero at the start.
    """

    def __init__(self, recipe: Recipe, weights: Tensor) -> None:
        self._recipe = recipe
        self._weights = weights
        self.state: dict[str, Tensor]
        if recipe.optimizer == "adamw":
            # On a GPU a captured step advances it, so that it must lie there too.
            steps = torch.zeros((), dtype=torch.float32, device=weights.device)
            self.state = {
                "first": torch.zeros_like(weights),
                "second": torch.zeros_like(weights),
                "steps": steps,
            }
        else:
            self.state = {"momentum": torch.zeros_like(weights)}

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """Move the weights in place, at rate 1."""
        recipe, state = self._recipe, self.state
        if recipe.optimizer == "adamw":
            adamw(
                [self._weights],
                [gradient],
                [state["first"]],
                [state["second"]],
                [],
                [state["steps"]],
                foreach=False,
                capturable=self._weights.is_cuda,
                fused=False,
                amsgrad=False,
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                lr=1.0,
                weight_decay=recipe.weight_decay,
                eps=_EPSILON,
                maximize=False,
            )
            return
        sgd(
            [self._weights],
            [gradient],
            [state["momentum"] if recipe.momentum > 0 else None],
            foreach=False,
            fused=False,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
            lr=1.0,
            dampening=0.0,
            nesterov=recipe.momentum > 0,
            maximize=False,
        )

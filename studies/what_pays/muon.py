"""Muon for dense and 1×1 filters; everything else by SGD."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Moves filters, as matrices of (filters, weights of each), by orthogonal matrices (Jordan et
    al., 2024). Depthwise filters and those of the image are no matrices to speak of."""

    # A move by Muon is as large at any gradient: this share of SGD's rate changes filters that are
    # drawn as torch draws them by a few percent a step.
    share = 0.1

    def __init__(
        self, params: Sequence[Tensor], lr: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(params, {"lr": lr})
        filters = [own for own in params if own.dim() == 4 and own.shape[1] > 1]
        others = [own for own in params if not any(own is one for one in filters)]
        # Views: what moves a matrix moves the filters.
        self._matrices = [(own, nn.Parameter(own.detach().flatten(1))) for own in filters]
        settings = {"momentum": momentum, "weight_decay": weight_decay, "nesterov": True}
        self._sgd = torch.optim.SGD(others, lr, **settings)
        self._muon = torch.optim.Muon([own for _, own in self._matrices], lr, **settings)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        rate = self.param_groups[0]["lr"]
        for own, matrix in self._matrices:
            assert own.grad is not None
            matrix.grad = own.grad.flatten(1)
        for optimizer, part in ((self._sgd, 1.0), (self._muon, self.share)):
            for group in optimizer.param_groups:
                group["lr"] = part * rate
            optimizer.step()

"""Stops a trial that a network of equal or fewer parameters has left behind.

A rule that looks at accuracy alone erases the small end of the front; here a network is only
ever compared with networks that are no larger, at the same epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# Rungs of a 15-epoch run; other lengths scale them.
_RUNGS = (1, 2, 4, 8)
_RUN = 15


class Rival(NamedTuple):
    """Another trial's network and its validation accuracies so far, in percent, by epoch."""

    trial: int
    parameters: int
    accuracies: Sequence[float]


class Stop(NamedTuple):
    """Why a trial should end at this epoch."""

    epoch: int
    accuracy: float
    rival: int
    """number of the trial that leads it most"""
    rival_accuracy: float
    margin: float
    """percentage points that the rival had to be ahead by"""


@dataclass(frozen=True, slots=True)
class DominancePruner:
    """Decides from recorded curves alone, so a resumed search decides as an uninterrupted one.

    At a rung, a trial with accuracy a stops when some rival of equal or fewer parameters has an
    accuracy b > a + chance + reach, where

    - chance = `deviations` standard deviations of b - a: the binomial error of both accuracies
      on the validation set, and what seeds alone change, taken as a share of each error;
    - reach = `catch_up` × (100 - a) × share of epochs still to run: what the trial could gain on
      the rival by then.

    The defaults are on the careful side.
    """

    epochs: int
    validation_images: int
    deviations: float = 2.0
    seed_deviation: float = 0.1
    """standard deviation between seeds, as a share of the error in percent"""
    catch_up: float = 0.5

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a trial may be stopped; never the last one."""
        scaled = {max(1, round(rung * self.epochs / _RUN)) for rung in _RUNGS}
        return tuple(sorted(rung for rung in scaled if rung < self.epochs))

    def stop(
        self, parameters: int, accuracies: Sequence[float], rivals: Iterable[Rival]
    ) -> Stop | None:
        """The reason to stop after the last of `accuracies` (percent, one an epoch), or None."""
        epoch = len(accuracies)
        if epoch not in self.rungs:
            return None
        accuracy = accuracies[-1]
        ahead = [
            Stop(epoch, accuracy, rival.trial, leading, margin)
            for rival in rivals
            if rival.parameters <= parameters and len(rival.accuracies) >= epoch
            for leading in [rival.accuracies[epoch - 1]]
            for margin in [self._margin(accuracy, leading, epoch)]
            if leading - accuracy > margin
        ]
        return max(ahead, key=lambda stop: stop.rival_accuracy, default=None)

    def _margin(self, accuracy: float, leading: float, epoch: int) -> float:
        chance = self.deviations * math.sqrt(self._variance(accuracy) + self._variance(leading))
        remaining = (self.epochs - epoch) / self.epochs
        return chance + self.catch_up * (100 - accuracy) * remaining

    def _variance(self, accuracy: float) -> float:
        error = 100 - accuracy
        binomial = accuracy * error / self.validation_images
        return binomial + (self.seed_deviation * error) ** 2

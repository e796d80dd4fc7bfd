"""Stops trials early, by recorded curves alone. A rule that looks at accuracy alone erases the
small end of the front; dominance compares a network only with those no larger."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from nas_mnist.errors import RequestError
from nas_mnist.lookup import find
from nas_mnist.search.curve import LearningCurve, PruneReason, scaled_rungs
from nas_mnist.search.prediction import PredictionPruner

EXEMPT_SHARE = 0.05  # of trials that are never stopped, so that wrongful stops can be counted


@dataclass(frozen=True, slots=True)
class DominancePruner:
    """At a rung, stops a trial whose error (100 - accuracy) is more than `allowance` times that of
    the best rival of equal or fewer parameters at the same epoch:

        log allowance = deviations × sqrt(2 × (binomial² + seed_deviation²)) + catch_up × remaining²

    The first term is chance, for both networks: the relative standard deviation of an error on the
    validation images, and between seeds. The second is what the trial could still make good in the
    share of its epochs that remains. Replayed on complete runs (results/pruning/replay.csv) the
    defaults cost the posterior front about its own error or less, on average over their orders.
    """

    epochs: int
    validation_images: int
    deviations: float = 1.0
    seed_deviation: float = 0.1  # of the natural logarithm of the error, between seeds
    catch_up: float = 0.3  # natural logarithm of what a trial could gain on its rival in a run

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a trial may be stopped; never the last one."""
        return scaled_rungs(self.epochs)

    def stop(self, curve: LearningCurve, rivals: Iterable[LearningCurve]) -> PruneReason | None:
        """Why to stop the trial after its last epoch so far, or None; `rivals`: every other trial
        of the study that has a curve, pruned ones included."""
        epoch = len(curve.accuracies)
        no_larger = [rival for rival in rivals if rival.parameters <= curve.parameters]
        compared = [rival for rival in no_larger if len(rival.accuracies) >= epoch]
        if epoch not in self.rungs or not compared:
            return None
        leader = max(compared, key=lambda rival: rival.accuracies[epoch - 1])
        error = max(100 - leader.accuracies[epoch - 1], 100 / self.validation_images)
        needed = 100 - error * self.allowance(error, epoch)
        if curve.accuracies[-1] >= needed:
            return None
        return PruneReason(epoch, curve.accuracies[-1], round(needed, 6), leader.trial)

    def allowance(self, error: float, epoch: int) -> float:
        """How many times the rival's error (percent) a trial may have after this epoch."""
        share = error / 100
        binomial = (1 - share) / (share * self.validation_images)
        chance = self.deviations * math.sqrt(2 * (binomial + self.seed_deviation**2))
        remaining = (self.epochs - epoch) / self.epochs
        return math.exp(chance + self.catch_up * remaining**2)


@dataclass(frozen=True, slots=True)
class QuantilePruner:
    """Size-blind: at a rung, stops what is below a quantile of the other trials' accuracies; with
    the median it is Optuna's MedianPruner (Golovin et al.: Google Vizier, 2017)."""

    rungs: tuple[int, ...]
    quantile: float = 0.5
    least: int = 5  # trials that must have come as far before any is stopped

    def stop(self, curve: LearningCurve, rivals: Iterable[LearningCurve]) -> PruneReason | None:
        epoch, accuracy = len(curve.accuracies), curve.accuracies[-1]
        compared = [rival for rival in rivals if len(rival.accuracies) >= epoch]
        if epoch not in self.rungs or len(compared) < self.least:
            return None
        others = sorted(rival.accuracies[epoch - 1] for rival in compared)
        position = self.quantile * (len(others) - 1)  # between two: linear interpolation
        low, high = others[math.floor(position)], others[math.ceil(position)]
        needed = low + position % 1 * (high - low)
        return PruneReason(epoch, accuracy, needed, None) if accuracy < needed else None


Pruner: TypeAlias = DominancePruner | PredictionPruner | QuantilePruner
"""A user's own has `rungs` and `stop` as these do, and decides from recorded curves alone, so that
a resumed search decides as an uninterrupted one."""

PRUNERS: dict[str, Callable[[int, int], Pruner]] = {
    "prediction": lambda epochs, images: PredictionPruner(epochs, DominancePruner(epochs, images)),
    "dominance": DominancePruner,
    "median": lambda epochs, _: QuantilePruner(scaled_rungs(epochs)),
    "one-epoch": lambda epochs, _: QuantilePruner(scaled_rungs(epochs)[:1]),
    "none": lambda epochs, _: QuantilePruner(()),
}


def make_pruner(text: str, epochs: int, validation_images: int) -> Pruner:
    """The pruner of that name; or `module:attribute` or a given object: a pruner, or what makes
    one of (epochs of a whole run, number of validation images). RequestError for others."""
    found = find("--pruner", text, PRUNERS)
    try:
        is_made = hasattr(found, "stop") and not isinstance(found, type)
        pruner: Pruner = found if is_made else found(epochs, validation_images)
        if not callable(pruner.stop) or not all(isinstance(rung, int) for rung in pruner.rungs):
            raise TypeError("it has no `stop` and `rungs`")
    except (TypeError, AttributeError) as error:
        raise RequestError(f"--pruner {text!r}: {' '.join(str(error).split())}") from None
    return pruner

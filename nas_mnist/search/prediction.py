"""Stops a trial by where it will end: predicted from its curve so far, its size and its choices."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from nas_mnist.search.curve import LearningCurve, PruneReason, scaled_rungs
from nas_mnist.search.front import on_log_scale

Floats: TypeAlias = NDArray[np.float64]

_NOISE, _NOISE_RUNS = 0.09, 10  # of a run, of the logarithm of its error; runs that it counts as
_CHOICE = 2.5  # prior variance of what a choice does between its ends, in that of the noise
_LOOSE = 1e4  # of what the error so far and the size do: next to nothing is assumed
_OWN = 0.3  # share of a run's difference from its prediction that is its network's, not chance
_WIDE = 8  # times its least value that a choice reaches, from which on its logarithm counts


class _Rule(Protocol):
    def stop(self, curve: LearningCurve, rivals: Iterable[LearningCurve]) -> PruneReason | None: ...


@dataclass(frozen=True, slots=True)
class PredictionPruner:
    """At a rung, stops a trial whose predicted final error is above that of the best finished
    rival of equal or fewer parameters by more than `deviations` of the prediction.

    The prediction is a Bayesian linear regression of the logarithm of the final error (Bishop:
    Pattern Recognition and Machine Learning, 2006, 3.3 and exercise 3.12), fitted to the finished
    trials. Its inputs: the logarithm of the error after this epoch, that of the parameters and its
    square, and the choices. A rival's own result counts for a part: it may have been lucky. Until
    `least` trials have finished, `before` decides.
    """

    epochs: int
    before: _Rule
    deviations: float = 1.0
    least: int = 20

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a trial may be stopped; never the last one."""
        return scaled_rungs(self.epochs)

    def stop(self, curve: LearningCurve, rivals: Iterable[LearningCurve]) -> PruneReason | None:
        """Why to stop the trial after its last epoch so far, or None; `rivals`: every other trial
        of the study that has a curve, pruned ones included."""
        epoch, rivals = len(curve.accuracies), list(rivals)
        finished = [rival for rival in rivals if len(rival.accuracies) == self.epochs]
        if epoch not in self.rungs:
            return None
        if len(finished) < self.least:
            return self.before.stop(curve, rivals)
        no_larger = np.array([rival.parameters <= curve.parameters for rival in finished])
        if not no_larger.any():
            return None
        inputs, loose = _inputs([*finished, curve], epoch)
        finals = np.array([_log_error(rival, -1) for rival in finished])
        fitted, deviation, slope = _predicted(inputs, loose, finals)
        expected = fitted[:-1] + _OWN * (finals - fitted[:-1])
        behind = fitted[-1] - expected[no_larger].min() - self.deviations * deviation
        if behind <= 0:
            return None
        error = _log_error(curve, -1) - behind / slope if slope > 0 else -math.inf
        leader = finished[int(np.where(no_larger, expected, np.inf).argmin())]
        needed = round(100 - math.exp(error), 6)
        return PruneReason(epoch, curve.accuracies[-1], needed, leader.trial)


def final_error(
    curve: LearningCurve, finished: Sequence[LearningCurve]
) -> tuple[float, float] | None:
    """The logarithm of the error that an unfinished run would end at, by its curve and its size
    alone, and the variance of that; None with few finished runs that went further."""
    finished = [own for own in finished if len(own.accuracies) > len(curve.accuracies)]
    if len(finished) < _NOISE_RUNS or not curve.accuracies:
        return None
    alike = [own._replace(point={}) for own in (*finished, curve)]
    inputs, loose = _inputs(alike, len(curve.accuracies))
    finals = np.array([_log_error(own, -1) for own in finished])
    fitted, deviation, _ = _predicted(inputs, loose, finals)
    return float(fitted[-1]), deviation**2


def expected_ends(trials: Sequence[FrozenTrial]) -> Iterator[tuple[FrozenTrial, float, float]]:
    """Of these trials the pruned ones, with the logarithm of the error that each would have ended
    at, and its variance; what is damaged decides little, and is left out."""
    curves = {}
    for trial in trials:
        with suppress(KeyError, TypeError, ValueError):
            curves[trial.number] = LearningCurve.of(trial)
    known = [trial for trial in trials if trial.number in curves]
    finished = [curves[own.number] for own in known if own.state == TrialState.COMPLETE]
    for trial in (own for own in known if own.state == TrialState.PRUNED):
        if end := final_error(curves[trial.number], finished):
            yield trial, *end


def _predicted(inputs: Floats, loose: int, finals: Floats) -> tuple[Floats, float, float]:
    """For each row of `inputs` the final log error, of which the last row's is not known; that
    one's standard deviation; and what a unit of its log error so far changes."""
    known = inputs[:-1]
    prior = np.full(inputs.shape[1], 1 / _CHOICE)
    prior[:loose] = 1 / _LOOSE
    covariance = np.linalg.inv(known.T @ known + np.diag(prior))
    weights = covariance @ known.T @ finals
    squares = float(finals @ (finals - known @ weights))  # what is left, and what the prior takes
    runs = len(finals) - loose
    noise = (_NOISE_RUNS * _NOISE**2 + squares) / (_NOISE_RUNS + max(runs, 0))
    spread = noise * (1 + float(inputs[-1] @ covariance @ inputs[-1]))
    return inputs @ weights, math.sqrt(spread), float(weights[1])


def _inputs(curves: Sequence[LearningCurve], epoch: int) -> tuple[Floats, int]:
    """A row a curve, and of how many columns little is assumed: they come first. All are centred
    on the finished trials, which are all but the last."""
    errors = np.array([_log_error(curve, epoch - 1) for curve in curves])
    sizes = np.log([curve.parameters for curve in curves])
    sizes -= sizes[:-1].mean()
    columns = [errors, sizes, sizes**2]
    loose = 1 + len(columns)
    points = [curve.point for curve in curves]
    for name in points[-1]:
        if all(name in point for point in points):
            columns += _columns(name, points)
    centred = [column - column[:-1].mean() for column in columns]
    return np.array([np.ones(len(curves)), *centred]).T, loose


def _columns(name: str, points: Sequence[Mapping[str, Any]]) -> list[Floats]:
    """A choice within 0 to 1, and its square if it is on a log scale; of a category, a column for
    each value."""
    values = [point[name] for point in points]
    if not all(isinstance(value, int | float) for value in values):
        return [
            np.array([value == own for value in values], float) for own in dict.fromkeys(values)
        ]
    scaled = np.array(values, float)
    wide = 0 < _WIDE * scaled.min() <= scaled.max()
    if wide:
        scaled = np.log(scaled)
    low, high = scaled.min(), scaled.max()
    unit = (scaled - low) / (high - low) if high > low else np.zeros(len(values))
    return [unit, unit**2] if wide else [unit]


def _log_error(curve: LearningCurve, index: int) -> float:
    return on_log_scale(curve.parameters, curve.accuracies[index])[1]

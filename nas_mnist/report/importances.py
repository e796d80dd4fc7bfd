"""Which choices matter: what share of the variance of accuracy at a given size each explains."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_mnist.execution.records import StudyRecord
from nas_mnist.search.front import on_log_scale
from nas_mnist.search.posterior import Floats

_LEAST_TRIALS = 20  # fewer say nothing about fifteen choices
_RESAMPLES = 20
_TREES, _FEWER_TREES = 64, 10  # of a forest, and of one of many
_RANGE = (10, 90)  # percentiles of the resamples


class Importance(NamedTuple):
    """A choice's share of the variance, from 0 to 1, and its bootstrap range."""

    share: float
    low: float
    high: float


def expected_by_size(points: Sequence[tuple[float, float]]) -> Floats:
    """For each pair of parameters and accuracy in percent the logarithm of the error that its size
    lets one expect: a quadratic fit on the logarithm of parameters."""
    sizes, errors = np.array([on_log_scale(*point) for point in points]).T
    degree = min(2, len({*sizes.tolist()}) - 1)
    if not degree:
        return np.full(len(errors), errors.mean())
    fitted: Floats = np.polynomial.Polynomial.fit(sizes, errors, degree)(sizes)
    return fitted


def at_given_size(trials: Sequence[FrozenTrial]) -> Floats:
    """By how much the logarithm of each completed trial's error is above what its size lets one
    expect."""
    points = [(trial.values[0], trial.values[1]) for trial in trials]
    above: Floats = np.array([on_log_scale(*own)[1] for own in points]) - expected_by_size(points)
    return above


def importances(record: StudyRecord) -> dict[str, Importance]:
    """Of each choice, the largest first, by fANOVA (Hutter, Hoos, Leyton-Brown 2014); empty with
    few completed trials, or equal ones. The range is of the same on resamples of the trials: the
    10th to the 90th percentile."""
    trials = record.trials(TrialState.COMPLETE)
    if len(trials) < _LEAST_TRIALS:
        return {}
    values, draws = at_given_size(trials), np.random.default_rng(0)
    if not np.ptp(values):
        return {}
    names = [name for name in trials[0].params if name != "fill"]
    shares = _shares(trials, values, names, _TREES)
    again = []
    for _ in range(_RESAMPLES):
        drawn = draws.integers(len(trials), size=len(trials))
        again.append(_shares([trials[at] for at in drawn], values[drawn], names, _FEWER_TREES))
    found = {}
    for name, share in shares.items():
        low, high = np.percentile([own[name] for own in again], _RANGE)
        found[name] = Importance(share, float(low), float(high))
    return found


def _shares(
    trials: Sequence[FrozenTrial], values: Floats, names: list[str], trees: int
) -> dict[str, float]:
    if not np.ptp(values):  # a resample of equal ones
        return dict.fromkeys(names, 0.0)
    study = optuna.create_study()
    study.add_trials(
        [
            create_trial(params=own.params, distributions=own.distributions, value=float(value))
            for own, value in zip(trials, values, strict=True)
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=trees, seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=names)
    return {name: float(share) for name, share in found.items()}

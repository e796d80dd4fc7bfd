"""What a search claims of test accuracy before a confirmation: to read, not to choose by.

Validation images are training images held out, and other than the test images: on MNIST networks
make about a fifth fewer mistakes on the latter. So an estimate of validation accuracy belittles.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from optuna.trial import TrialState

from nas_mnist.execution.estimates import estimates
from nas_mnist.execution.records import StudyRecord, percent, reading
from nas_mnist.search.front import MIN_LOGGED_ERROR


class Claim(NamedTuple):
    """The test accuracy that a network is expected to have on average over seeds, in percent, and
    how sure that is, as a standard deviation."""

    mean: float
    sd: float


def claims(record: StudyRecord) -> dict[int, Claim]:
    """Of all completed trials, by number: the estimated odds of a mistake on validation images,
    times the ratio of test odds to these, the geometric mean over the completed trials. Estimated,
    not the trials' own: reruns may say that the sixth which those validate on is a hard one.
    Odds of small errors are the errors, and whatever they are multiplied by stays below 100%."""
    known, ratios = estimates(record), []
    for trial in record.trials(TrialState.COMPLETE):
        if trial.number in known:
            with reading(record.name, trial, "test_accuracy"):
                tested = percent(trial.user_attrs["test_accuracy"])
            ratios.append(_log_odds(tested) - _log_odds(known[trial.number].mean))
    ratio = float(np.exp(np.mean(ratios))) if ratios else 1.0
    claimed = {}
    for number, own in known.items():
        error = min(100 - own.mean, 100.0)
        whole = 100 - error + ratio * error
        claimed[number] = Claim(
            100 - 100 * ratio * error / whole, own.sd * ratio * (100 / whole) ** 2
        )
    return claimed


def _log_odds(accuracy: float) -> float:
    """Of a mistake."""
    error = min(max(100 - accuracy, MIN_LOGGED_ERROR), 100 - MIN_LOGGED_ERROR)
    return math.log(error / (100 - error))

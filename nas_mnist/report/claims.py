"""What a search claims of test accuracy before a confirmation: to read, not to choose by.

Validation images are training images held out, and other than the test images: on MNIST networks
make about a fifth fewer mistakes on the latter. So an estimate of validation accuracy belittles.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from optuna.trial import TrialState

from nas_mnist.execution.estimates import estimates
from nas_mnist.execution.records import StudyRecord, percent, reading
from nas_mnist.search.front import on_log_scale


class Claim(NamedTuple):
    """The test accuracy that a network is expected to have on average over seeds, in percent, and
    how sure that is, as a standard deviation."""

    mean: float
    sd: float


def claims(record: StudyRecord) -> dict[int, Claim]:
    """Of all completed trials, by number: the estimated error on validation images, times what
    test errors are of validation errors, as the geometric mean over the completed trials."""
    known, points, ratios = estimates(record), record.points(), []
    for trial in record.trials(TrialState.COMPLETE):
        if trial.number in points:
            with reading(record.name, trial, "test_accuracy"):
                tested = on_log_scale(1, percent(trial.user_attrs["test_accuracy"]))[1]
            ratios.append(tested - on_log_scale(*points[trial.number])[1])
    ratio = float(np.exp(np.mean(ratios))) if ratios else 1.0
    return {
        number: Claim(max(0.0, 100 - (100 - own.mean) * ratio), own.sd * ratio)
        for number, own in known.items()
    }

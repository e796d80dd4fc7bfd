"""Which choices of the skeleton matter for accuracy, size put aside."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from nas_mnist.execution.study import StudyRecord
from nas_mnist.search.front import on_log_scale
from nas_mnist.search.space import SPACE

# Fewer trials say nothing about fifteen choices.
LEAST_TRIALS = 20


def importances(record: StudyRecord) -> dict[str, float]:
    """How much of the variance of accuracy at a given size each sampled choice explains, as
    shares of what all of them explain alone, the largest first; empty with fewer than
    `LEAST_TRIALS` completed trials.

    Accuracy at a given size is the residual of the logarithm of the validation error about its
    quadratic fit on the logarithm of parameters; the shares are those of fANOVA (Hutter, Hoos,
    Leyton-Brown: An Efficient Approach for Assessing Hyperparameter Importance, 2014). Pruned
    trials have no final accuracy, and are left out.
    """
    trials = record.trials(TrialState.COMPLETE)
    if len(trials) < LEAST_TRIALS:
        return {}
    logs = np.array([on_log_scale(*trial.values) for trial in trials])
    fit = np.polynomial.Polynomial.fit(logs[:, 0], logs[:, 1], 2)
    residuals = {
        trial.number: float(rest)
        for trial, rest in zip(trials, logs[:, 1] - fit(logs[:, 0]), strict=True)
    }

    def residual(trial: FrozenTrial) -> float:
        return residuals[trial.number]

    return optuna.importance.get_param_importances(
        record.study,
        evaluator=FanovaImportanceEvaluator(seed=0),
        params=[name for name in SPACE if name != "fill"],
        target=residual,
    )

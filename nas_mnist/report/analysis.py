"""What a study's trials say when they are put together: where the epochs went, how often the
pruner was wrong, and which choices matter."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from nas_mnist.execution.records import StudyRecord
from nas_mnist.search.front import on_log_scale

# Fewer trials say nothing about fifteen choices.
LEAST_TRIALS = 20


class EpochUsage(NamedTuple):
    """What a study's finished trials cost."""

    epochs: int
    """that were trained"""
    epochs_unpruned: int
    """that the same trials would have cost without pruning"""
    stopped: dict[int, int]
    """stopped trials by the epoch they were stopped after"""
    exempt: int
    """completed trials that the pruner was not allowed to stop"""
    spared: int
    """those of them that it would have stopped"""
    wrongful: int
    """those of the spared that are on the front: it would have lost them"""


def epoch_usage(record: StudyRecord) -> EpochUsage:
    on_front = {trial.number for trial in record.front()}
    epochs = unpruned = exempt = spared = wrongful = 0
    stopped: Counter[int] = Counter()
    for trial in record.trials(TrialState.COMPLETE, TrialState.PRUNED):
        attrs = trial.user_attrs
        curve = attrs.get("curve")
        spent = len(curve) if isinstance(curve, list) else 0  # the database may be anyone's
        epochs += spent
        unpruned += record.spec.epochs
        if trial.state == TrialState.PRUNED:
            stopped[spent] += 1
            continue
        exempt += bool(attrs.get("exempt"))
        would_be_pruned = attrs.get("would_be_pruned") is not None
        spared += would_be_pruned
        wrongful += would_be_pruned and trial.number in on_front
    return EpochUsage(epochs, unpruned, dict(sorted(stopped.items())), exempt, spared, wrongful)


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
        params=[name for name in trials[0].params if name != "fill"],
        target=residual,
    )

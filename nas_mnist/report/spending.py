"""Where a study's epochs went, and how often its pruner was wrong."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from optuna.trial import TrialState

from nas_mnist.execution.study import StudyRecord


class Spending(NamedTuple):
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


def spending(record: StudyRecord) -> Spending:
    on_front = {trial.number for trial in record.front()}
    epochs = unpruned = exempt = spared = wrongful = 0
    stopped: Counter[int] = Counter()
    for trial in record.trials(TrialState.COMPLETE, TrialState.PRUNED):
        attrs = trial.user_attrs
        curve = attrs.get("curve")
        spent = len(curve) if isinstance(curve, list) else 0  # the database may be anyone's
        epochs += spent
        unpruned += record.config.epochs
        if trial.state == TrialState.PRUNED:
            stopped[spent] += 1
            continue
        exempt += bool(attrs.get("exempt"))
        would_be_pruned = attrs.get("would_be_pruned") is not None
        spared += would_be_pruned
        wrongful += would_be_pruned and trial.number in on_front
    return Spending(epochs, unpruned, dict(sorted(stopped.items())), exempt, spared, wrongful)

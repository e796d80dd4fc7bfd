"""What pruners see, and what they say."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Self


class LearningCurve(NamedTuple):
    """How far a trial has come."""

    trial: int
    parameters: int
    accuracies: Sequence[float]  # on the validation images, in percent, by epoch
    point: Mapping[str, Any] = MappingProxyType({})  # its choices, as far as they are known

    @classmethod
    def of(cls, trial: Any) -> Self:
        """Of an Optuna trial of a search; KeyError, TypeError or ValueError if it has none."""
        accuracies = [float(entry["val_accuracy"]) for entry in trial.user_attrs["curve"]]
        if not all(0 <= accuracy <= 100 for accuracy in accuracies):
            raise ValueError("an accuracy is no percentage")
        parameters = int(trial.user_attrs["parameters"])
        return cls(trial.number, parameters, accuracies, trial.params)


class PruneReason(NamedTuple):
    """Why a trial should end at this epoch."""

    epoch: int
    accuracy: float
    needed: float  # accuracy in percent that would have let it go on
    rival: int | None  # the trial that leads it most; None where no single one decides


def scaled_rungs(epochs: int) -> tuple[int, ...]:
    """Epochs 1, 2, 4 and 8 of 15, scaled to a run of `epochs`, without its last."""
    scaled = {max(1, round(rung * epochs / 15)) for rung in (1, 2, 4, 8)}
    return tuple(sorted(rung for rung in scaled if rung < epochs))

"""One trial while a worker trains it: what the study learns of it, and how it ends."""

from __future__ import annotations

import random

import torch
from optuna.trial import Trial, TrialState
from torch import nn

from nas_mnist.errors import DivergedError
from nas_mnist.execution.artifacts import keep_weights
from nas_mnist.execution.queue import finish, write_held
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.execution.store import Storage
from nas_mnist.networks.notation import format_notation
from nas_mnist.search.pruner import EXEMPT_SHARE, Pruner, Standing
from nas_mnist.search.space import Sample
from nas_mnist.training.epochs import EpochRecord
from nas_mnist.training.pack import Member
from nas_mnist.training.seeds import derived_seed

# Attributes that say how a trial ended.
_OUTCOMES = {"pruned", "would_be_pruned", "failed", "test_accuracy", "weights"}


class RunningTrial:
    """A trial that this process holds. Raises AssertionError for a network over the budget."""

    def __init__(
        self,
        storage: Storage,
        trial: Trial,
        sample: Sample,
        config: SearchConfig,
        precision: torch.dtype,
    ) -> None:
        self._storage = storage
        self._trial = trial
        self._config = config
        self.architecture = sample.architecture(config.budget)
        if self.architecture.parameters > config.budget:
            raise AssertionError(f"{format_notation(self.architecture)} is over the budget")
        self.member = Member(
            self.architecture,
            config.trial_recipe(sample.peak_learning_rate),
            derived_seed(config.seed, trial.number),
        )
        self._curve: list[dict[str, float]] = []
        self._exempt = random.Random(derived_seed(self.member.seed, -1)).random() < EXEMPT_SHARE
        self._spared = False
        self._describe(precision)

    def go_on(self, record: EpochRecord, pruner: Pruner) -> bool:
        """Record an epoch; False if the pruner ends the trial with it, or if the trial was taken
        for dead meanwhile and is another's now."""
        self._curve.append(record.entry("val_accuracy"))
        if not write_held(self._storage, self._trial._trial_id, "curve", self._curve):
            return False
        if len(self._curve) not in pruner.rungs or self._spared:
            return True
        own = _standing(self._trial.number, self.architecture.parameters, self._curve)
        stop = pruner.stop(own, self._rivals())
        if stop is None:
            return True
        # An exempt trial goes on; when it would have been stopped is what is worth knowing.
        self._spared = self._exempt
        self._trial.set_user_attr("would_be_pruned" if self._exempt else "pruned", stop._asdict())
        if not self._exempt:
            self._tell(TrialState.PRUNED)
        return self._exempt

    def fail(self, error: DivergedError) -> None:
        """End the trial with its reason."""
        self._trial.set_user_attr("failed", str(error))
        self._tell(TrialState.FAIL)

    def complete(self, network: nn.Module, test_accuracy: float) -> None:
        """End the trial with its trained network."""
        self._trial.set_user_attr("test_accuracy", test_accuracy)
        # The storage's own record of the trial: Optuna takes no other beside a storage.
        frozen = self._storage.get_trial(self._trial._trial_id)
        weights = keep_weights(network, self._config, self._storage, frozen)
        self._trial.set_user_attr("weights", weights._asdict())
        validation = self._curve[-1]["val_accuracy"]
        self._tell(TrialState.COMPLETE, [self.architecture.parameters, validation])

    def _describe(self, precision: torch.dtype) -> None:
        trial, architecture = self._trial, self.architecture
        trial.set_user_attr("notation", format_notation(architecture))
        trial.set_user_attr("parameters", architecture.parameters)
        trial.set_user_attr("macs", architecture.macs)
        trial.set_user_attr("receptive_field", architecture.receptive_field)
        trial.set_user_attr("seed", self.member.seed)
        trial.set_user_attr("precision", str(precision).removeprefix("torch."))
        trial.set_user_attr("exempt", self._exempt)
        trial.set_user_attr("curve", [])
        for name in _OUTCOMES & trial.user_attrs.keys():  # a trial that is run again starts afresh
            trial.set_user_attr(name, None)
        if "parameters" not in trial.constraints:
            trial.set_constraint("parameters", architecture.parameters - self._config.budget)

    def _tell(self, state: TrialState, values: list[float] | None = None) -> None:
        finish(self._storage, self._trial._trial_id, state, values)

    def _rivals(self) -> list[Standing]:
        study = self._trial.study
        return [
            _standing(trial.number, trial.user_attrs["parameters"], trial.user_attrs["curve"])
            for trial in self._storage.get_all_trials(study._study_id, deepcopy=False)
            if trial.number != self._trial.number
            and trial.state != TrialState.FAIL  # a network that diverged leads nobody
            and "curve" in trial.user_attrs
        ]


def _standing(number: int, parameters: int, curve: list[dict[str, float]]) -> Standing:
    return Standing(number, parameters, [entry["val_accuracy"] for entry in curve])

"""The trials of a search: sampled, trained in packs of one topology, pruned."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from torch import nn

from nas_mnist.errors import DivergedError
from nas_mnist.execution import optuna_internals
from nas_mnist.execution.artifacts import keep_weights
from nas_mnist.execution.creation import FIRST
from nas_mnist.execution.jobs import Job
from nas_mnist.execution.optuna_internals import fix_point, open_trial
from nas_mnist.execution.queue import claim, finish, first_waiting, write_held
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.networks.notation import format_notation
from nas_mnist.search.pruner import EXEMPT_SHARE, LearningCurve, make_pruner
from nas_mnist.search.sampler import SearchSampler
from nas_mnist.search.space import find_space
from nas_mnist.training.datasets import split_dataset
from nas_mnist.training.pack import Member, Pack
from nas_mnist.training.recipe import derived_seed
from nas_mnist.training.trainer import EpochRecord, accuracy

# Attributes that say how a trial ended.
_OUTCOMES = ("pruned", "would_be_pruned", "failed", "test_accuracy", "weights")


class SearchJob(Job):
    """Runs a search's trials, up to `config.pack` at once."""

    def __init__(self, config: SearchConfig, keep_going: Callable[[], None]) -> None:
        super().__init__(config, config.study, keep_going)
        train, validation = split_dataset(self.dataset, config.seed, config.train_samples)
        self.training, self.validation = train.to(self.device), validation.to(self.device)
        self.space = find_space(config.space)
        self.pruner = make_pruner(config.pruner, config.epochs, len(validation))
        self.sampler = SearchSampler(config.sampler, config.seed, self.space, self.limit)
        self.first = self._study().user_attrs.get(FIRST, [])

    def claim(self) -> list[int]:
        """Up to a pack of trials."""
        taken: list[int] = []
        choose = first_waiting(self.config.trials)
        while len(taken) < self.config.pack:
            trial_id = claim(self.storage, self.study_id, choose)
            if trial_id is None:
                break
            taken.append(trial_id)
        return taken

    def train(self, taken: list[int]) -> None:
        """Train them together, as far as they are of one topology."""
        waiting: list[RunningTrial] = []
        topology: dict[str, Any] | None = None
        for trial_id in taken:
            trial = self._trial(trial_id, topology)
            waiting.append(RunningTrial(self, trial, self.space.suggest(trial)))
            names = self.space.topology_names
            topology = {name: value for name, value in trial.params.items() if name in names}
        while waiting:
            first = waiting[0].architecture.topology
            together = [trial for trial in waiting if trial.architecture.topology == first]
            waiting = [trial for trial in waiting if trial.architecture.topology != first]
            self._train_pack(together)

    def other_curves(self, own: Trial) -> list[LearningCurve]:
        """The curves of all other trials; a network that diverged leads nobody."""
        return [
            learning_curve(trial, trial.user_attrs["curve"])
            for trial in self.storage.get_all_trials(self.study_id, deepcopy=False)
            if trial.number != own.number
            and trial.state != TrialState.FAIL
            and "curve" in trial.user_attrs
        ]

    def _trial(self, trial_id: int, topology: dict[str, Any] | None) -> Trial:
        """The trial, to be sampled within that topology unless its point is given already."""
        number = self.storage.get_trial(trial_id).number
        point = self.first[number] if number < len(self.first) else topology
        if point is not None:
            fix_point(self.storage, trial_id, point)
        return open_trial(self._study(), trial_id)

    def _study(self) -> optuna.Study:
        """A study remembers the trials that it has read; a new one sees those that came since."""
        return optuna.load_study(
            study_name=self.config.study, storage=self.storage, sampler=self.sampler
        )

    def _train_pack(self, trials: list[RunningTrial]) -> None:
        pack = Pack(
            [trial.member for trial in trials],
            self.training,
            self.validation,
            normalization=self.dataset.normalization,
            device=self.device,
            precision=self.precision,
            on_step=self.keep_going,
        )
        training = set(range(len(trials)))
        for outcomes in pack:
            for index, outcome in outcomes.items():
                if isinstance(outcome, DivergedError):
                    trials[index].fail(outcome)
                    training.remove(index)
                elif not trials[index].go_on(outcome):
                    pack.stop(index)
                    training.remove(index)
        for index in sorted(training):
            network = pack.network(index)
            tested = accuracy(network, self.test, self.dataset.normalization)
            trials[index].complete(network, tested)


class RunningTrial:
    """A trial that this process holds: what the study learns of it, and how it ends.

    Raises AssertionError for a network over the budget.
    """

    def __init__(self, job: SearchJob, trial: Trial, point: dict[str, Any]) -> None:
        config = job.config
        self._job = job
        self._trial = trial
        self._id = optuna_internals.trial_id(trial)
        self.architecture = job.space.decode(point, job.limit)
        if not job.limit.allows(self.architecture):
            raise AssertionError(f"{format_notation(self.architecture)} is over the budget")
        self.member = Member(
            self.architecture,
            config.trial_recipe(point["peak_learning_rate"]),
            derived_seed(config.seed, trial.number),
        )
        self._curve: list[dict[str, float]] = []
        self._exempt = random.Random(derived_seed(self.member.seed, -1)).random() < EXEMPT_SHARE
        self._spared = False
        self._describe()

    def go_on(self, record: EpochRecord) -> bool:
        """Record an epoch; False if the pruner ends the trial with it, or if the trial was taken
        for dead meanwhile and is another's now."""
        job = self._job
        self._curve.append(record.entry("val_accuracy"))
        if not write_held(job.storage, self._id, {"curve": self._curve}):
            return False
        if len(self._curve) not in job.pruner.rungs or self._spared:
            return True
        own = LearningCurve(
            self._trial.number,
            self.architecture.parameters,
            [entry["val_accuracy"] for entry in self._curve],
        )
        why = job.pruner.stop(own, job.other_curves(self._trial))
        if why is None:
            return True
        if self._exempt:  # it goes on; when it would have been stopped is what is worth knowing
            self._spared = True
            return write_held(job.storage, self._id, {"would_be_pruned": why._asdict()})
        finish(job.storage, self._id, TrialState.PRUNED, attributes={"pruned": why._asdict()})
        return False

    def fail(self, error: DivergedError) -> None:
        """End the trial with its reason."""
        finish(self._job.storage, self._id, TrialState.FAIL, attributes={"failed": str(error)})

    def complete(self, network: nn.Module, test_accuracy: float) -> None:
        """End the trial with its trained network."""
        job = self._job
        # The storage's own record of the trial: Optuna takes no other beside a storage.
        weights = keep_weights(network, job.config, job.storage, job.storage.get_trial(self._id))
        values = [self.architecture.parameters, self._curve[-1]["val_accuracy"]]
        last = {"test_accuracy": test_accuracy, "weights": weights._asdict()}
        finish(job.storage, self._id, TrialState.COMPLETE, values, last)

    def _describe(self) -> None:
        trial, architecture = self._trial, self.architecture
        attributes = {
            "notation": format_notation(architecture),
            "parameters": architecture.parameters,
            "macs": architecture.macs,
            "receptive_field": architecture.receptive_field,
            "seed": self.member.seed,
            "precision": str(self._job.precision).removeprefix("torch."),
            "exempt": self._exempt,
            "curve": [],
        }
        # A trial that is run again starts afresh.
        before = self._job.storage.get_trial(self._id).user_attrs
        attributes |= {name: None for name in _OUTCOMES if name in before}
        write_held(self._job.storage, self._id, attributes)
        if "parameters" not in trial.constraints:
            excess = architecture.parameters - self._job.config.budget
            trial.set_constraint("parameters", excess)


def learning_curve(trial: FrozenTrial, curve: list[dict[str, float]]) -> LearningCurve:
    """A trial's curve, as the pruner reads it."""
    accuracies = [entry["val_accuracy"] for entry in curve]
    return LearningCurve(trial.number, trial.user_attrs["parameters"], accuracies)

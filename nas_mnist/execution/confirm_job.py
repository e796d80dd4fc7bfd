"""The runs of a confirmation: all seeds of a network at once, on all training images."""

from __future__ import annotations

from collections.abc import Callable

from optuna.trial import FrozenTrial, TrialState

from nas_mnist.errors import DivergedError
from nas_mnist.execution.artifacts import keep_weights
from nas_mnist.execution.confirmation import choose_run, networks_to_confirm, wanted_runs
from nas_mnist.execution.job import Job
from nas_mnist.execution.queue import claim, finish, write_held
from nas_mnist.execution.spec import CONFIRMATION, SearchConfig
from nas_mnist.execution.study import load_study
from nas_mnist.training.epochs import accuracy
from nas_mnist.training.pack import Member, Pack
from nas_mnist.training.runs import SEEDS_AT_ONCE


class ConfirmJob(Job):
    """Retrains networks; the test images are looked at to report, and no more."""

    def __init__(self, config: SearchConfig, keep_going: Callable[[], None]) -> None:
        super().__init__(config, config.study + CONFIRMATION, keep_going)
        record = load_study(config.study, config.storage)
        self.networks = {trial.number: trial for trial in networks_to_confirm(record, config)}
        self.wanted = wanted_runs(record, config)
        self.training = self.dataset.train.to(self.device)

    def claim(self) -> list[int]:
        """The waiting runs of one network."""
        taken: list[int] = []
        network: int | None = None

        def choose(trials: list[FrozenTrial]) -> FrozenTrial | None:
            return choose_run(trials, self.wanted, network)

        while len(taken) < SEEDS_AT_ONCE:
            trial_id = claim(self.storage, self.study_id, choose)
            if trial_id is None:
                break
            taken.append(trial_id)
            network = self.storage.get_trial(trial_id).user_attrs["trial"]
        return taken

    def train(self, taken: list[int]) -> None:
        runs = [self.storage.get_trial(trial_id) for trial_id in taken]
        trial = self.networks[runs[0].user_attrs["trial"]]
        if trial.architecture.parameters > self.config.budget:
            raise AssertionError(f"{trial.notation} is over the budget")
        recipe = self.config.trial_recipe(trial.peak_learning_rate)
        for trial_id in taken:  # one that is run again starts afresh
            self.storage.set_trial_user_attr(trial_id, "curve", [])
        pack = Pack(
            [Member(trial.architecture, recipe, run.user_attrs["seed"]) for run in runs],
            self.training,
            self.test,
            normalization=self.dataset.normalization,
            device=self.device,
            precision=self.precision,
            on_step=self.keep_going,
        )
        curves: list[list[dict[str, float]]] = [[] for _ in taken]
        training = set(range(len(taken)))
        for outcomes in pack:
            for place, outcome in outcomes.items():
                if isinstance(outcome, DivergedError):
                    self.storage.set_trial_user_attr(taken[place], "failed", str(outcome))
                    finish(self.storage, taken[place], TrialState.FAIL)
                    training.remove(place)
                    continue
                curves[place].append(outcome.entry("test_accuracy"))
                if not write_held(self.storage, taken[place], "curve", curves[place]):
                    pack.stop(place)
                    training.remove(place)
        for place in sorted(training):
            network = pack.network(place)
            # By itself, not in the pack, which rounds otherwise: what its file will answer.
            tested = accuracy(network, self.test, self.dataset.normalization)
            curves[place][-1]["test_accuracy"] = tested
            self.storage.set_trial_user_attr(taken[place], "curve", curves[place])
            weights = keep_weights(network, self.config, self.storage, runs[place])
            self.storage.set_trial_user_attr(taken[place], "weights", weights._asdict())
            finish(self.storage, taken[place], TrialState.COMPLETE, [tested])

"""What a worker does with a study: take waiting trials, train them together, give back the rest.

Here are what all jobs share, and the confirmation's: all seeds of a network at once, on all
training images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from nas_mnist.errors import DivergedError
from nas_mnist.execution.artifacts import keep_weights
from nas_mnist.execution.confirmation import choose_run, networks_to_confirm, wanted_runs
from nas_mnist.execution.queue import claim, finish, give_back, heartbeat, write_held
from nas_mnist.execution.records import load_study
from nas_mnist.execution.spec import CONFIRMATION, SearchConfig
from nas_mnist.execution.store import open_storage
from nas_mnist.training.datasets import load_dataset
from nas_mnist.training.device import resolve_device, resolve_precision
from nas_mnist.training.pack import Member, Pack
from nas_mnist.training.runs import SEEDS_AT_ONCE
from nas_mnist.training.trainer import accuracy


class Job(ABC):
    """Runs trials of one study with one set of data on one device."""

    def __init__(self, config: SearchConfig, study: str, keep_going: Callable[[], None]) -> None:
        """
        Args:
            config: the request.
            study: name of the study that the trials are of.
            keep_going: called at every step of training; it raises KeyboardInterrupt to stop.
        """
        self.config = config
        self.limit = config.limit()
        self.keep_going = keep_going
        self.device = resolve_device(config.device)
        self.precision = resolve_precision(config.precision, self.device)
        self.dataset = load_dataset(
            config.dataset, Path(config.data_dir) if config.data_dir else None
        )
        self.test = self.dataset.test.to(self.device)
        self.storage = open_storage(config.storage, create=False)
        self.study_id = self.storage.get_study_id_from_name(study)

    @abstractmethod
    def claim(self) -> list[int]:
        """Take the trials to be trained next; none when none waits."""

    @abstractmethod
    def train(self, taken: list[int]) -> None:
        """Train them, and finish each that is still this process's."""

    def run(self) -> None:
        """Run waiting trials until none is left."""
        while True:
            self.keep_going()
            taken = self.claim()
            if not taken:
                return
            try:
                with heartbeat(self.storage, taken):
                    self.train(taken)
            except UpdateFinishedTrialError:  # taken for dead, and finished by another
                continue
            finally:
                for trial_id in taken:
                    give_back(self.storage, trial_id)


class ConfirmJob(Job):
    """Retrains networks; the test images are used to report, and no more."""

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
        if not self.limit.allows(trial.architecture):
            raise AssertionError(f"{trial.notation} is over the budget")
        recipe = self.config.trial_recipe(trial.peak_learning_rate)
        for trial_id in taken:  # one that is run again starts afresh
            write_held(self.storage, trial_id, {"curve": []})
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
            for index, outcome in outcomes.items():
                if isinstance(outcome, DivergedError):
                    failed = {"failed": str(outcome)}
                    finish(self.storage, taken[index], TrialState.FAIL, attributes=failed)
                    training.remove(index)
                    continue
                curves[index].append(outcome.entry("test_accuracy"))
                if not write_held(self.storage, taken[index], {"curve": curves[index]}):
                    pack.stop(index)
                    training.remove(index)
        for index in sorted(training):
            network = pack.network(index)
            # By itself, not in the pack, which rounds otherwise: what its file will answer.
            tested = accuracy(network, self.test, self.dataset.normalization)
            curves[index][-1]["test_accuracy"] = tested
            weights = keep_weights(network, self.config, self.storage, runs[index])
            last = {"curve": curves[index], "weights": weights._asdict()}
            finish(self.storage, taken[index], TrialState.COMPLETE, [tested], last)

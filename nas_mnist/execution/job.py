"""What a worker does with a study: take waiting trials, train them in packs, give back the rest."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from torch import nn

from nas_mnist.errors import DivergedError
from nas_mnist.execution import queue
from nas_mnist.execution.creation import check_identity
from nas_mnist.execution.records import load_study
from nas_mnist.execution.spec import AUTO, SearchConfig
from nas_mnist.execution.store import keep_weights
from nas_mnist.networks.architecture import Architecture, format_notation
from nas_mnist.training.datasets import Images, load_dataset
from nas_mnist.training.device import resolve_device, resolve_precision
from nas_mnist.training.pack import Member, Pack
from nas_mnist.training.trainer import EpochRecord, accuracy


@dataclass
class Run:
    """A trial that this process holds."""

    trial_id: int
    number: int
    member: Member
    fold: int = 0  # which sixth of the training images is held out
    exempt: bool = False  # from pruning, to tell of pruned trials that would have won
    spared: bool = False  # though it would have been pruned
    curve: list[dict[str, float]] = field(default_factory=list)


class Job(ABC):
    """Runs trials of one study with one set of data on one device."""

    metric = "val_accuracy"  # what an epoch records
    ending = ""  # of the name of the study whose trials they are, beside the search's
    at_once: int  # trials that are taken at a time

    def __init__(self, config: SearchConfig, keep_going: Callable[[], None]) -> None:
        """`keep_going` is called at every step of training; it raises KeyboardInterrupt to stop."""
        self.config, self.limit, self.keep_going = config, config.limit(), keep_going
        self.device = resolve_device(config.device)
        self.dataset = load_dataset(config.dataset, config.data_dir)
        self.record = load_study(config.study, config.storage)
        check_identity(self.record, config)
        precision = self.record.spec.precision if config.precision == AUTO else config.precision
        self.precision = resolve_precision(precision, self.device)
        self.pack = partial(Pack, device=self.device, precision=self.precision, on_step=keep_going)
        self.storage = self.record.storage
        self.study_id = self.storage.get_study_id_from_name(config.study + self.ending)

    @abstractmethod
    def choose(self, taken: list[int], trials: list[FrozenTrial]) -> FrozenTrial | None:
        """The waiting trial to take beside those; None for none."""

    @abstractmethod
    def begin(self, trial_id: int, beside: Run | None) -> Run:
        """A trial that was taken, afresh if it had begun before."""

    @abstractmethod
    def images(self, fold: int) -> tuple[Images, Images]:
        """What trials train on, and what is held out."""

    @abstractmethod
    def results(self, run: Run, network: nn.Module) -> tuple[list[float], dict[str, Any]]:
        """Values and last attributes of a trial that was trained to its end."""

    def tested(self, network: nn.Module) -> float:
        """Accuracy in percent on the test images, by itself, not in the pack, which rounds
        otherwise: what its file will answer."""
        return accuracy(network, self.dataset.test.to(self.device), self.dataset.normalization)

    def kept(self, network: nn.Module, run: Run) -> dict[str, Any]:
        """The attribute that tells where the weights are, once they are there."""
        kept = keep_weights(network, self.config, self.storage, run.trial_id)
        return {"weights": {"artifact": kept}}

    def go_on(self, run: Run, record: EpochRecord) -> bool:
        """Record an epoch; whether training goes on: not if the trial is another's meanwhile."""
        run.curve.append(record.entry(self.metric))
        return queue.write_held(self.storage, run.trial_id, {"curve": run.curve})

    def run(self) -> None:
        """Run waiting trials until none is left."""
        while taken := self.take():
            try:
                with queue.heartbeat(self.storage, taken):
                    together: dict[Any, list[Run]] = {}
                    run = None
                    for trial_id in taken:
                        run = self.begin(trial_id, run)
                        alike = run.member.architecture.topology, run.fold
                        together.setdefault(alike, []).append(run)
                    for runs in together.values():
                        self._train(runs)
            except UpdateFinishedTrialError:  # taken for dead, and finished by another
                continue
            finally:
                for trial_id in taken:
                    queue.give_back(self.storage, trial_id)

    def member(self, architecture: Architecture, learning_rate: float, seed: int) -> Member:
        """The network of a trial; AssertionError if it is over the budget."""
        if not self.limit.allows(architecture):
            raise AssertionError(f"{format_notation(architecture)} is over the budget")
        return Member(architecture, self.config.trial_recipe(learning_rate), seed)

    def take(self) -> list[int]:
        self.keep_going()
        taken: list[int] = []
        claim = partial(queue.claim, self.storage, self.study_id, partial(self.choose, taken))
        while len(taken) < self.at_once and (trial_id := claim()) is not None:
            taken.append(trial_id)
        return taken

    def _train(self, runs: list[Run]) -> None:
        """Train them together, and finish each that is still this process's."""
        members, normalization = [run.member for run in runs], self.dataset.normalization
        pack = self.pack(members, *self.images(runs[0].fold), normalization=normalization)
        training = dict(enumerate(runs))
        for outcomes in pack:
            for index, outcome in outcomes.items():
                if isinstance(outcome, DivergedError):
                    trial_id, failed = training.pop(index).trial_id, {"failed": str(outcome)}
                    queue.finish(self.storage, trial_id, TrialState.FAIL, (), failed)
                elif not self.go_on(training[index], outcome):
                    pack.stop(index)
                    del training[index]
        for index, run in training.items():
            values, attributes = self.results(run, pack.network(index))
            queue.finish(self.storage, run.trial_id, TrialState.COMPLETE, values, attributes)

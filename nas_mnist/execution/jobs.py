"""What a worker does with a study: take waiting trials, train them in packs, give back the rest."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from nas_mnist.errors import DivergedError
from nas_mnist.execution import optuna_internals, queue
from nas_mnist.execution.confirmation import choose_run, wanted_runs
from nas_mnist.execution.creation import FIRST, check_identity
from nas_mnist.execution.records import load_study
from nas_mnist.execution.spec import AUTO, CONFIRMATION, SearchConfig
from nas_mnist.execution.store import keep_weights
from nas_mnist.networks.architecture import Architecture, format_notation
from nas_mnist.search.pruner import EXEMPT_SHARE, LearningCurve, make_pruner
from nas_mnist.search.sampler import SearchSampler
from nas_mnist.search.space import find_space
from nas_mnist.training.datasets import Images, first_train_samples, load_dataset, split_dataset
from nas_mnist.training.device import resolve_device, resolve_precision
from nas_mnist.training.pack import Member, Pack
from nas_mnist.training.recipe import derived_seed
from nas_mnist.training.runs import SEEDS_AT_ONCE
from nas_mnist.training.trainer import EpochRecord, accuracy

# Attributes that say how a trial ended.
_OUTCOMES = ("pruned", "would_be_pruned", "failed", "test_accuracy", "weights")


@dataclass
class Run:
    """A trial that this process holds."""

    trial_id: int
    number: int
    member: Member
    exempt: bool = False  # from pruning, to tell of pruned trials that would have won
    spared: bool = False  # though it would have been pruned
    curve: list[dict[str, float]] = field(default_factory=list)


class Job(ABC):
    """Runs trials of one study with one set of data on one device."""

    metric: str  # the accuracy that an epoch records
    ending = ""  # of the name of the study whose trials they are, beside the search's
    at_once: int  # trials that are taken at a time
    training: Images
    held_out: Images

    def __init__(self, config: SearchConfig, keep_going: Callable[[], None]) -> None:
        """`keep_going` is called at every step of training; it raises KeyboardInterrupt to stop."""
        self.config, self.limit, self.keep_going = config, config.limit(), keep_going
        self.device = resolve_device(config.device)
        self.dataset = load_dataset(config.dataset, config.data_dir)
        self.test = self.dataset.test.to(self.device)
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
    def results(self, run: Run, test_accuracy: float) -> tuple[list[float], dict[str, Any]]:
        """Values and last attributes of a trial that was trained to its end."""

    def go_on(self, run: Run, record: EpochRecord) -> bool:
        """Record an epoch; whether training goes on: not if the trial is another's meanwhile."""
        run.curve.append(record.entry(self.metric))
        return queue.write_held(self.storage, run.trial_id, {"curve": run.curve})

    def run(self) -> None:
        """Run waiting trials until none is left."""
        while taken := self.take():
            try:
                with queue.heartbeat(self.storage, taken):
                    by_topology: dict[Any, list[Run]] = {}
                    run = None
                    for trial_id in taken:
                        run = self.begin(trial_id, run)
                        by_topology.setdefault(run.member.architecture.topology, []).append(run)
                    for runs in by_topology.values():
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
        pack = self.pack(members, self.training, self.held_out, normalization=normalization)
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
            network = pack.network(index)
            # By itself, not in the pack, which rounds otherwise: what its file will answer.
            tested = accuracy(network, self.test, normalization)
            artifact = keep_weights(network, self.config, self.storage, run.trial_id)
            values, attributes = self.results(run, tested)
            attributes["weights"] = {"artifact": artifact}
            queue.finish(self.storage, run.trial_id, TrialState.COMPLETE, values, attributes)


class ConfirmJob(Job):
    """Retrains networks, all seeds of one at once; the test images only serve to report."""

    metric = "test_accuracy"
    ending = CONFIRMATION
    at_once = SEEDS_AT_ONCE

    def __init__(self, config: SearchConfig, keep_going: Callable[[], None]) -> None:
        super().__init__(config, keep_going)
        self.wanted = wanted_runs(self.record, config)
        images = first_train_samples(self.dataset, config.confirmation_images()).train
        self.training, self.held_out = images.to(self.device), self.test

    def choose(self, taken: list[int], trials: list[FrozenTrial]) -> FrozenTrial | None:
        mine = [t.user_attrs["trial"] for t in trials if optuna_internals.trial_id(t) in taken]
        return choose_run(trials, self.wanted, mine[0] if mine else None)

    def begin(self, trial_id: int, beside: Run | None) -> Run:
        row = self.storage.get_trial(trial_id)
        trial, seed = row.user_attrs["trial"], row.user_attrs["seed"]
        found = self.wanted[trial, seed, row.user_attrs.get("images", 0)]
        member = self.member(found.architecture, found.peak_learning_rate, seed)
        queue.write_held(self.storage, trial_id, {"curve": []})
        return Run(trial_id, row.number, member)

    def results(self, run: Run, test_accuracy: float) -> tuple[list[float], dict[str, Any]]:
        run.curve[-1]["test_accuracy"] = test_accuracy
        return [test_accuracy], {"curve": run.curve}


class SearchJob(Job):
    """Runs a search's trials, up to `config.pack` at once, as far as they are of one topology."""

    metric = "val_accuracy"

    def __init__(self, config: SearchConfig, keep_going: Callable[[], None]) -> None:
        super().__init__(config, keep_going)
        self.at_once = config.pack
        train, validation = split_dataset(self.dataset, config.seed, config.train_samples)
        self.training, self.held_out = train.to(self.device), validation.to(self.device)
        self.space = find_space(config.space, config.classes)
        self.pruner = make_pruner(config.pruner, config.epochs, len(validation))
        self.sampler = SearchSampler(config.sampler, config.seed, self.space, self.limit)
        self.first = self.record.study.user_attrs.get(FIRST, [])

    def choose(self, taken: list[int], trials: list[FrozenTrial]) -> FrozenTrial | None:
        return queue.first_waiting(self.config.trials)(trials)

    def begin(self, trial_id: int, beside: Run | None) -> Run:
        """Draw the trial, of the topology of the one beside it unless its point is given."""
        before = self.storage.get_trial(trial_id)
        if before.number < len(self.first):
            optuna_internals.fix_point(self.storage, trial_id, self.first[before.number])
        elif beside is not None:
            drawn, names = self.storage.get_trial(beside.trial_id).params, self.space.topology_names
            shared = {name: value for name, value in drawn.items() if name in names}
            optuna_internals.fix_point(self.storage, trial_id, shared)
        # A study remembers the trials that it has read; a new one sees those that came since.
        name, sampler = self.config.study, self.sampler
        study = optuna.load_study(study_name=name, storage=self.storage, sampler=sampler)
        trial = optuna_internals.open_trial(study, trial_id)
        point = self.space.suggest(trial)
        architecture = self.space.decode(point, self.limit)
        seed = derived_seed(self.config.seed, trial.number)
        member = self.member(architecture, point["peak_learning_rate"], seed)
        exempt = random.Random(derived_seed(seed, -1)).random() < EXEMPT_SHARE
        attributes: dict[str, Any] = {
            **{name: None for name in _OUTCOMES if name in before.user_attrs},
            **{"notation": format_notation(architecture), "parameters": architecture.parameters},
            **{"macs": architecture.macs, "receptive_field": architecture.receptive_field},
            "precision": str(self.precision).removeprefix("torch."),
            **{"seed": seed, "exempt": exempt, "curve": []},
        }
        queue.write_held(self.storage, trial_id, attributes)
        if "parameters" not in trial.constraints:
            trial.set_constraint("parameters", architecture.parameters - self.config.budget)
        return Run(trial_id, trial.number, member, exempt)

    def go_on(self, run: Run, record: EpochRecord) -> bool:
        if not super().go_on(run, record):
            return False
        if len(run.curve) not in self.pruner.rungs or run.spared:
            return True
        rivals = [
            _curve(trial, trial.user_attrs["parameters"], trial.user_attrs["curve"])
            for trial in self.storage.get_all_trials(self.study_id, deepcopy=False)
            if trial.number != run.number
            and trial.state != TrialState.FAIL  # a network that diverged leads nobody
            and "curve" in trial.user_attrs
        ]
        trial = self.storage.get_trial(run.trial_id)
        own = _curve(trial, run.member.architecture.parameters, run.curve)
        why = self.pruner.stop(own, rivals)
        if why is None:
            return True
        if run.exempt:
            run.spared = True
            return queue.write_held(self.storage, run.trial_id, {"would_be_pruned": why._asdict()})
        pruned = {"pruned": why._asdict()}
        queue.finish(self.storage, run.trial_id, TrialState.PRUNED, (), pruned)
        return False

    def results(self, run: Run, test_accuracy: float) -> tuple[list[float], dict[str, Any]]:
        values = [run.member.architecture.parameters, run.curve[-1]["val_accuracy"]]
        return values, {"test_accuracy": test_accuracy}


def _curve(trial: FrozenTrial, parameters: int, curve: list[dict[str, float]]) -> LearningCurve:
    accuracies = [entry["val_accuracy"] for entry in curve]
    return LearningCurve(trial.number, parameters, accuracies, trial.params)


JOBS: dict[str, type[Job]] = {"search": SearchJob, "confirm": ConfirmJob}

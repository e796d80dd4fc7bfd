"""What a worker does with a study: take waiting trials, train them in packs, give back the rest."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from nas_mnist.errors import DivergedError
from nas_mnist.execution import optuna_internals, queue
from nas_mnist.execution.confirmation import choose_run, wanted_runs
from nas_mnist.execution.creation import FIRST, check_identity
from nas_mnist.execution.records import load_study
from nas_mnist.execution.spec import CONFIRMATION, SearchConfig
from nas_mnist.execution.store import keep_weights
from nas_mnist.networks.architecture import format_notation
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


class Job(ABC):
    """Runs trials of one study with one set of data on one device."""

    metric: str
    """the accuracy that an epoch records"""
    training: Images
    held_out: Images

    def __init__(self, config: SearchConfig, study: str, keep_going: Callable[[], None]) -> None:
        """`keep_going` is called at every step of training; it raises KeyboardInterrupt to stop."""
        self.config, self.limit, self.keep_going = config, config.limit(), keep_going
        self.device = resolve_device(config.device)
        self.precision = resolve_precision(config.precision, self.device)
        folder = Path(config.data_dir) if config.data_dir else None
        self.dataset = load_dataset(config.dataset, folder)
        self.test = self.dataset.test.to(self.device)
        self.record = load_study(config.study, config.storage)
        check_identity(self.record, config)
        self.storage = self.record.storage
        self.study = study
        self.study_id = self.storage.get_study_id_from_name(study)

    @abstractmethod
    def claim(self) -> list[int]:
        """Take the trials to be trained next; none when none waits."""

    @abstractmethod
    def packs(self, taken: list[int]) -> list[list[Run]]:
        """Those trials, as they are trained together."""

    def run(self) -> None:
        """Run waiting trials until none is left."""
        while True:
            self.keep_going()
            taken = self.claim()
            if not taken:
                return
            try:
                with queue.heartbeat(self.storage, taken):
                    for runs in self.packs(taken):
                        self._train(runs)
            except UpdateFinishedTrialError:  # taken for dead, and finished by another
                continue
            finally:
                for trial_id in taken:
                    queue.give_back(self.storage, trial_id)

    def _train(self, runs: list[Run]) -> None:
        """Train them together, and finish each that is still this process's."""
        pack = Pack(
            [run.member for run in runs],
            self.training,
            self.held_out,
            normalization=self.dataset.normalization,
            device=self.device,
            precision=self.precision,
            on_step=self.keep_going,
        )
        training = set(range(len(runs)))
        for outcomes in pack:
            for index, outcome in outcomes.items():
                if isinstance(outcome, DivergedError):
                    runs[index].end(TrialState.FAIL, failed=str(outcome))
                    training.remove(index)
                elif not runs[index].go_on(outcome):
                    pack.stop(index)
                    training.remove(index)
        for index in sorted(training):
            network = pack.network(index)
            # By itself, not in the pack, which rounds otherwise: what its file will answer.
            tested = accuracy(network, self.test, self.dataset.normalization)
            artifact = keep_weights(network, self.config, self.storage, runs[index].trial_id)
            runs[index].complete(tested, {"artifact": artifact})

    def _take(self, most: int, choose: queue.Choose) -> list[int]:
        """Up to so many trials."""
        taken: list[int] = []
        while len(taken) < most:
            trial_id = queue.claim(self.storage, self.study_id, choose)
            if trial_id is None:
                break
            taken.append(trial_id)
        return taken


class Run:
    """A trial that this process holds: what the study learns of it, and how it ends.

    Raises AssertionError for a network over the budget.
    """

    def __init__(self, job: Job, trial_id: int, member: Member) -> None:
        if not job.limit.allows(member.architecture):
            raise AssertionError(f"{format_notation(member.architecture)} is over the budget")
        self.job, self.trial_id, self.member = job, trial_id, member
        self.curve: list[dict[str, float]] = []

    def write(self, **attributes: Any) -> bool:
        """False if the trial was taken for dead meanwhile, and is another's now."""
        return queue.write_held(self.job.storage, self.trial_id, attributes)

    def end(self, state: TrialState, *values: float, **attributes: Any) -> None:
        queue.finish(self.job.storage, self.trial_id, state, values, attributes)

    def go_on(self, record: EpochRecord) -> bool:
        """Record an epoch; whether training goes on."""
        self.curve.append(record.entry(self.job.metric))
        return self.write(curve=self.curve)

    def complete(self, test_accuracy: float, weights: dict[str, str]) -> None:
        """End the trial; `weights`: where they are kept."""
        self.curve[-1]["test_accuracy"] = test_accuracy
        self.end(TrialState.COMPLETE, test_accuracy, curve=self.curve, weights=weights)


class ConfirmJob(Job):
    """Retrains networks, all seeds of one at once; the test images are used to report, and no
    more."""

    metric = "test_accuracy"

    def __init__(self, config: SearchConfig, keep_going: Callable[[], None]) -> None:
        super().__init__(config, config.study + CONFIRMATION, keep_going)
        self.wanted = wanted_runs(self.record, config)
        images = first_train_samples(self.dataset, config.confirmation_images()).train
        self.training, self.held_out = images.to(self.device), self.test

    def claim(self) -> list[int]:
        """The waiting runs of one network."""
        network: int | None = None

        def choose(trials: list[FrozenTrial]) -> FrozenTrial | None:
            nonlocal network
            run = choose_run(trials, self.wanted, network)
            network = run.user_attrs["trial"] if run else network
            return run

        return self._take(SEEDS_AT_ONCE, choose)

    def packs(self, taken: list[int]) -> list[list[Run]]:
        runs = []
        for trial_id in taken:
            attrs = self.storage.get_trial(trial_id).user_attrs
            trial = self.wanted[attrs["trial"], attrs["seed"], attrs.get("images", 0)]
            recipe = self.config.trial_recipe(trial.peak_learning_rate)
            run = Run(self, trial_id, Member(trial.architecture, recipe, attrs["seed"]))
            run.write(curve=[])  # one that is run again starts afresh
            runs.append(run)
        return [runs]


class SearchJob(Job):
    """Runs a search's trials, up to `config.pack` at once, as far as they are of one topology."""

    metric = "val_accuracy"

    def __init__(self, config: SearchConfig, keep_going: Callable[[], None]) -> None:
        super().__init__(config, config.study, keep_going)
        train, validation = split_dataset(self.dataset, config.seed, config.train_samples)
        self.training, self.held_out = train.to(self.device), validation.to(self.device)
        self.space = find_space(config.space)
        self.pruner = make_pruner(config.pruner, config.epochs, len(validation))
        self.sampler = SearchSampler(config.sampler, config.seed, self.space, self.limit)
        self.first = self.record.study.user_attrs.get(FIRST, [])

    def claim(self) -> list[int]:
        return self._take(self.config.pack, queue.first_waiting(self.config.trials))

    def packs(self, taken: list[int]) -> list[list[Run]]:
        by_topology: dict[Any, list[Run]] = {}
        topology: dict[str, Any] | None = None
        for trial_id in taken:
            run = self.sample(trial_id, topology)
            by_topology.setdefault(run.member.architecture.topology, []).append(run)
            names = self.space.topology_names
            topology = {name: run.trial.params[name] for name in run.trial.params if name in names}
        return list(by_topology.values())

    def sample(self, trial_id: int, topology: dict[str, Any] | None = None) -> SearchRun:
        """The trial, drawn within that topology unless its point is given already."""
        number = self.storage.get_trial(trial_id).number
        point = self.first[number] if number < len(self.first) else topology
        if point is not None:
            optuna_internals.fix_point(self.storage, trial_id, point)
        trial = optuna_internals.open_trial(self._load(), trial_id)
        return SearchRun(self, trial_id, trial, self.space.suggest(trial))

    def other_curves(self, own: Trial) -> list[LearningCurve]:
        """The curves of all other trials; a network that diverged leads nobody."""
        curves = []
        for trial in self.storage.get_all_trials(self.study_id, deepcopy=False):
            attrs, failed = trial.user_attrs, trial.state == TrialState.FAIL
            if trial.number != own.number and not failed and "curve" in attrs:
                curves.append(_curve(trial.number, attrs["parameters"], attrs["curve"]))
        return curves

    def _load(self) -> optuna.Study:
        """A study remembers the trials that it has read; a new one sees those that came since."""
        return optuna.load_study(study_name=self.study, storage=self.storage, sampler=self.sampler)


class SearchRun(Run):
    """A trial of a search, which the pruner may end."""

    job: SearchJob

    def __init__(self, job: SearchJob, trial_id: int, trial: Trial, point: dict[str, Any]) -> None:
        architecture = job.space.decode(point, job.limit)
        recipe = job.config.trial_recipe(point["peak_learning_rate"])
        seed = derived_seed(job.config.seed, trial.number)
        super().__init__(job, trial_id, Member(architecture, recipe, seed))
        self.trial = trial
        self.parameters = architecture.parameters
        self.exempt = random.Random(derived_seed(seed, -1)).random() < EXEMPT_SHARE
        self.spared = False
        # A trial that is run again starts afresh.
        before = job.storage.get_trial(trial_id).user_attrs
        self.write(
            **{name: None for name in _OUTCOMES if name in before},
            notation=format_notation(architecture),
            parameters=self.parameters,
            macs=architecture.macs,
            receptive_field=architecture.receptive_field,
            seed=seed,
            precision=str(job.precision).removeprefix("torch."),
            exempt=self.exempt,
            curve=[],
        )
        if "parameters" not in trial.constraints:
            trial.set_constraint("parameters", self.parameters - job.config.budget)

    def go_on(self, record: EpochRecord) -> bool:
        if not super().go_on(record):
            return False
        job = self.job
        if len(self.curve) not in job.pruner.rungs or self.spared:
            return True
        own = _curve(self.trial.number, self.parameters, self.curve)
        why = job.pruner.stop(own, job.other_curves(self.trial))
        if why is None:
            return True
        if self.exempt:  # it goes on, and tells of pruned trials that would have won
            self.spared = True
            return self.write(would_be_pruned=why._asdict())
        self.end(TrialState.PRUNED, pruned=why._asdict())
        return False

    def complete(self, test_accuracy: float, weights: dict[str, str]) -> None:
        values = self.parameters, self.curve[-1]["val_accuracy"]
        self.end(TrialState.COMPLETE, *values, test_accuracy=test_accuracy, weights=weights)


def _curve(number: int, parameters: int, curve: list[dict[str, float]]) -> LearningCurve:
    return LearningCurve(number, parameters, [entry["val_accuracy"] for entry in curve])


JOBS: dict[str, Callable[[SearchConfig, Callable[[], None]], Job]] = {
    "search": SearchJob,
    "confirm": ConfirmJob,
}

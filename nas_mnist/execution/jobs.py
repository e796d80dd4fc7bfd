"""The kinds of trials that a worker runs: a search's, its reruns, and its confirmation."""

import random
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from torch import nn

from nas_mnist.execution import optuna_internals, queue
from nas_mnist.execution.confirmation import choose_run, wanted_runs
from nas_mnist.execution.creation import FIRST
from nas_mnist.execution.job import Job, Run
from nas_mnist.execution.reruns import fold_of, mean_accuracies, rows_by_key
from nas_mnist.execution.spec import CONFIRMATION, RERUNS, SearchConfig
from nas_mnist.networks.architecture import format_notation
from nas_mnist.search.curve import LearningCurve
from nas_mnist.search.pruner import EXEMPT_SHARE, make_pruner
from nas_mnist.search.sampler import SearchSampler
from nas_mnist.search.space import find_space
from nas_mnist.training.datasets import Images, first_train_samples, split_dataset
from nas_mnist.training.recipe import derived_seed
from nas_mnist.training.runs import SEEDS_AT_ONCE
from nas_mnist.training.trainer import EpochRecord

# Attributes that say how a trial ended.
_OUTCOMES = ("pruned", "would_be_pruned", "failed", "test_accuracy", "weights")


class ConfirmJob(Job):
    """Retrains networks, all seeds of one at once; the test images only serve to report."""

    metric = "test_accuracy"
    ending = CONFIRMATION
    at_once = SEEDS_AT_ONCE

    def __init__(self, config: SearchConfig, keep_going: Callable[[], None]) -> None:
        super().__init__(config, keep_going)
        # Settled by who started it: on another processor an estimate may round otherwise.
        self.wanted = wanted_runs(config, self.record.records(config.confirm_trials))
        images = first_train_samples(self.dataset, config.confirmation_images()).train
        self.data = images.to(self.device), self.dataset.test.to(self.device)

    def images(self, fold: int) -> tuple[Images, Images]:
        return self.data

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

    def results(self, run: Run, network: nn.Module) -> tuple[list[float], dict[str, Any]]:
        run.curve[-1]["test_accuracy"] = tested = self.tested(network)
        return [tested], {"curve": run.curve, **self.kept(network, run)}


class OfSearch(Job):
    """Trains on five sixths of the training images, judged by the other, up to `config.pack` trials
    at once."""

    def __init__(self, config: SearchConfig, keep_going: Callable[[], None]) -> None:
        super().__init__(config, keep_going)
        self.at_once = config.pack
        self._split: dict[int, Any] = {}

    def images(self, fold: int) -> tuple[Images, Images]:
        if fold not in self._split:  # one at a time is kept
            images = split_dataset(self.dataset, self.config.seed, self.config.train_samples, fold)
            self._split = {fold: tuple(some.to(self.device) for some in images)}
        found: tuple[Images, Images] = self._split[fold]
        return found


class RerunJob(OfSearch):
    """Trains networks of a search again, each time with another sixth held out."""

    ending = RERUNS

    def choose(self, taken: list[int], trials: list[FrozenTrial]) -> FrozenTrial | None:
        rows = [*rows_by_key(trials).items()][: self.config.total_reruns()]
        of = {optuna_internals.trial_id(row): fold_of(run) for (_, run), row in rows}
        alike = {of[number] for number in taken} or set(of.values())
        waiting = [row for _, row in rows if row.state == TrialState.WAITING]
        return next((r for r in waiting if of[optuna_internals.trial_id(r)] in alike), None)

    def begin(self, trial_id: int, beside: Run | None) -> Run:
        row = self.storage.get_trial(trial_id)
        number, seed = row.user_attrs["trial"], row.user_attrs["seed"]
        (found,) = self.record.records([number])
        member = self.member(found.architecture, found.peak_learning_rate, seed)
        queue.write_held(self.storage, trial_id, {"curve": []})
        return Run(trial_id, row.number, member, fold_of(row.user_attrs["run"]))

    def results(self, run: Run, network: nn.Module) -> tuple[list[float], dict[str, Any]]:
        return [run.curve[-1]["val_accuracy"]], {}


class SearchJob(OfSearch):
    """Runs a search's trials, those at once of one topology."""

    def __init__(self, config: SearchConfig, keep_going: Callable[[], None]) -> None:
        super().__init__(config, keep_going)
        space = find_space(config.space, config.classes)
        self.space = space.from_size(config.smallest, config.budget)
        self.pruner = make_pruner(config.pruner, config.epochs, len(self.images(0)[1]))
        means = mean_accuracies(self.record)
        own = config.sampler, config.seed, self.space, self.limit
        self.sampler = SearchSampler(*own, means=means)
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
        return Run(trial_id, trial.number, member, exempt=exempt)

    def go_on(self, run: Run, record: EpochRecord) -> bool:
        if not super().go_on(run, record):
            return False
        if len(run.curve) not in self.pruner.rungs or run.spared:
            return True
        rivals = [
            self._curve(trial)
            for trial in self.storage.get_all_trials(self.study_id, deepcopy=False)
            if trial.number != run.number
            and trial.state != TrialState.FAIL  # a network that diverged leads nobody
            and "curve" in trial.user_attrs
        ]
        own = self._curve(self.storage.get_trial(run.trial_id))
        why = self.pruner.stop(own, rivals)
        if why is None:
            return True
        if run.exempt:
            run.spared = True
            return queue.write_held(self.storage, run.trial_id, {"would_be_pruned": why._asdict()})
        pruned = {"pruned": why._asdict()}
        queue.finish(self.storage, run.trial_id, TrialState.PRUNED, (), pruned)
        return False

    def _curve(self, trial: FrozenTrial) -> LearningCurve:
        """With the defaults of choices that an earlier version did not draw."""
        return LearningCurve.of(trial)._replace(point=self.space.point(trial.params))

    def results(self, run: Run, network: nn.Module) -> tuple[list[float], dict[str, Any]]:
        values = [run.member.architecture.parameters, run.curve[-1]["val_accuracy"]]
        return values, {"test_accuracy": self.tested(network), **self.kept(network, run)}


JOBS: dict[str, type[Job]] = {"search": SearchJob, "rerun": RerunJob, "confirm": ConfirmJob}

"""The trials of a search: sampled, trained in packs of one topology, pruned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import Trial

from nas_mnist.errors import DivergedError
from nas_mnist.execution.job import Job
from nas_mnist.execution.queue import claim, first_waiting
from nas_mnist.execution.running_trial import RunningTrial
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.execution.study import FIRST
from nas_mnist.search.pruner import make_pruner
from nas_mnist.search.sampler import SAMPLER, SearchSampler
from nas_mnist.search.space import WIDTHS, suggest
from nas_mnist.training.datasets import split_dataset
from nas_mnist.training.epochs import accuracy
from nas_mnist.training.pack import Pack


class SearchJob(Job):
    """Runs a search's trials, up to `config.pack` at once."""

    def __init__(self, config: SearchConfig, keep_going: Callable[[], None]) -> None:
        super().__init__(config, config.study, keep_going)
        train, validation = split_dataset(self.dataset, config.seed, config.train_samples)
        self.training, self.validation = train.to(self.device), validation.to(self.device)
        self.pruner = make_pruner(config.pruner, config.epochs, len(validation))
        self.sampler = SearchSampler(SAMPLER, config.seed, config.budget)
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
            waiting.append(
                RunningTrial(self.storage, trial, suggest(trial), self.config, self.precision)
            )
            topology = {name: v for name, v in trial.params.items() if name not in WIDTHS}
        while waiting:
            first = waiting[0].architecture.topology
            together = [trial for trial in waiting if trial.architecture.topology == first]
            waiting = [trial for trial in waiting if trial.architecture.topology != first]
            self._train_pack(together)

    def _trial(self, trial_id: int, topology: dict[str, Any] | None) -> Trial:
        """The trial, to be sampled within that topology unless its point is given already."""
        trial = self.storage.get_trial(trial_id)
        point = self.first[trial.number] if trial.number < len(self.first) else topology
        if point is not None and "fixed_params" not in trial.system_attrs:
            self.storage.set_trial_system_attr(trial_id, "fixed_params", point)
        return Trial(self._study(), trial_id)

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
            for place, outcome in outcomes.items():
                if isinstance(outcome, DivergedError):
                    trials[place].fail(outcome)
                    training.remove(place)
                elif not trials[place].go_on(outcome, self.pruner):
                    pack.stop(place)
                    training.remove(place)
        for place in sorted(training):
            network = pack.network(place)
            tested = accuracy(network, self.test, self.dataset.normalization)
            trials[place].complete(network, tested)

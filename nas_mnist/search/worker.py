"""A worker process: takes waiting trials one by one and trains them.

The search starts it as `python -m nas_mnist.search.worker`, with the request as JSON on standard
input. It ends with 0 when no trial waits, 130 when it was told to stop, and otherwise with an
error's exit code and one line on standard error. A trial that it had begun goes back to the
queue whenever it does not end by itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import optuna
import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial

from nas_mnist.errors import INTERRUPTED, DivergedError, NasMnistError, is_out_of_memory
from nas_mnist.search.config import SearchConfig
from nas_mnist.search.pruner import make_pruner
from nas_mnist.search.sampler import SAMPLER, SearchSampler
from nas_mnist.search.space import WIDTHS, suggest
from nas_mnist.search.storage import (
    claim,
    give_back,
    heartbeat,
    is_held,
    open_storage,
    storage_errors,
)
from nas_mnist.search.trial import RunningTrial
from nas_mnist.training.datasets import load_dataset, split_dataset
from nas_mnist.training.device import keep_freed_memory, resolve_device, training_precision
from nas_mnist.training.epochs import accuracy
from nas_mnist.training.pack import Pack


class Worker:
    """Runs trials of one study with one set of data on one device."""

    def __init__(self, config: SearchConfig, keep_going: Callable[[], None]) -> None:
        """`keep_going` is called at every step of training; it raises KeyboardInterrupt to stop."""
        self.config = config
        self.keep_going = keep_going
        self.device = resolve_device(config.device)
        self.precision = training_precision(self.device)
        self.dataset = load_dataset(
            config.dataset, Path(config.data_dir) if config.data_dir else None
        )
        train, validation = split_dataset(self.dataset, config.seed, config.train_samples)
        self.train, self.validation = train.to(self.device), validation.to(self.device)
        self.test = self.dataset.test.to(self.device)
        self.pruner = make_pruner(config.pruner, config.epochs, len(validation))
        self.storage = open_storage(config.storage, create=False)
        self.study_id = self.storage.get_study_id_from_name(config.study)
        self.sampler = SearchSampler(SAMPLER, config.seed, config.budget)

    def run(self) -> None:
        """Run waiting trials until none of the study's total is left."""
        while True:
            self.keep_going()
            taken = self._claim()
            if not taken:
                return
            try:
                with heartbeat(self.storage, taken):
                    self._run_trials(taken)
            except UpdateFinishedTrialError:  # taken for dead, and finished by another
                continue
            finally:
                for trial_id in taken:
                    if is_held(self.storage, trial_id):
                        give_back(self.storage, trial_id)

    def _claim(self) -> list[int]:
        """Up to a pack of trials."""
        taken: list[int] = []
        while len(taken) < self.config.pack:
            trial_id = claim(self.storage, self.study_id, self.config.trials)
            if trial_id is None:
                break
            taken.append(trial_id)
        return taken

    def _run_trials(self, taken: list[int]) -> None:
        """Train them together, as far as they are of one topology."""
        waiting: list[RunningTrial] = []
        topology: dict[str, Any] | None = None
        for trial_id in taken:
            trial = self._trial(trial_id, topology)
            waiting.append(RunningTrial(trial, suggest(trial), self.config, self.precision))
            topology = {name: v for name, v in trial.params.items() if name not in WIDTHS}
        while waiting:
            first = waiting[0].architecture.topology
            together = [trial for trial in waiting if trial.architecture.topology == first]
            waiting = [trial for trial in waiting if trial.architecture.topology != first]
            self._train(together)

    def _trial(self, trial_id: int, topology: dict[str, Any] | None) -> Trial:
        """The trial, to be sampled within that topology unless its point is given already."""
        given = self.storage.get_trial(trial_id).system_attrs.get("fixed_params")
        if topology is not None and not given:
            self.storage.set_trial_system_attr(trial_id, "fixed_params", topology)
        # A study remembers the trials that it has read; a new one sees those that came since.
        study = optuna.load_study(
            study_name=self.config.study, storage=self.storage, sampler=self.sampler
        )
        return Trial(study, trial_id)

    def _train(self, trials: list[RunningTrial]) -> None:
        pack = Pack(
            [trial.member for trial in trials],
            self.train,
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


def _stop_on_request(search: int) -> Callable[[], None]:
    """What raises KeyboardInterrupt once SIGTERM has come, or once the search is gone.

    `search`: the search's process number. The signal only leaves a note: an exception out of a
    handler can strike between two halves of a claim, or where Python swallows it.
    """
    told: list[int] = []

    def leave_note(signum: int, frame: FrameType | None) -> None:
        told.append(signum)

    signal.signal(signal.SIGTERM, leave_note)

    def keep_going() -> None:
        if told or os.getppid() != search:
            raise KeyboardInterrupt

    return keep_going


def main() -> int:
    try:
        request = json.load(sys.stdin)
        keep_going = _stop_on_request(request["search"])
        config = SearchConfig(**request["config"])
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        torch.set_num_threads(1)
        keep_freed_memory()
        with storage_errors(config.storage):
            Worker(config, keep_going).run()
    except KeyboardInterrupt:
        return INTERRUPTED
    except NasMnistError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print("a worker ran out of memory; try fewer --workers", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

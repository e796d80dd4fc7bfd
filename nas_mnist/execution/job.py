"""What a worker does with a study: take waiting trials, train them together, give back the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError

from nas_mnist.execution.queue import give_back, heartbeat
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.execution.store import open_storage
from nas_mnist.training.datasets import load_dataset
from nas_mnist.training.device import resolve_device, training_precision


class Job(ABC):
    """Runs trials of one study with one set of data on one device."""

    def __init__(self, config: SearchConfig, study: str, keep_going: Callable[[], None]) -> None:
        """`keep_going` is called at every step of training; it raises KeyboardInterrupt to stop."""
        self.config = config
        self.keep_going = keep_going
        self.device = resolve_device(config.device)
        self.precision = training_precision(self.device)
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

"""A worker process: takes waiting trials one by one and trains them.

The search starts it as `python -m nas_mnist.search.worker`, with the request as JSON on standard
input. It ends with 0 when no trial waits, 130 when it was told to stop, and otherwise with an
error's exit code and one line on standard error. A trial that it had begun goes back to the
queue whenever it does not end by itself.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import optuna
import torch
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial, TrialState

from nas_mnist.arch.architecture import Architecture
from nas_mnist.arch.notation import format_notation
from nas_mnist.errors import (
    INTERRUPTED,
    DivergedError,
    NasMnistError,
    StorageError,
    is_out_of_memory,
    reason,
)
from nas_mnist.search.config import SearchConfig, artifact_folder
from nas_mnist.search.pruner import EXEMPT_SHARE, Rival, make_pruner
from nas_mnist.search.sampler import SAMPLER, SearchSampler
from nas_mnist.search.space import suggest
from nas_mnist.search.storage import (
    claim,
    give_back,
    heartbeat,
    is_held,
    open_storage,
    storage_errors,
)
from nas_mnist.training.datasets import load_dataset, split_dataset
from nas_mnist.training.seeds import derived_seed
from nas_mnist.training.trainer import EpochRecord, Trainer, resolve_device

# Attributes that say how a trial ended.
_OUTCOMES = {"pruned", "would_be_pruned", "failed", "test_accuracy", "weights"}


class Worker:
    """Runs trials of one study with one set of data on one device."""

    def __init__(self, config: SearchConfig, keep_going: Callable[[], None]) -> None:
        """`keep_going` is called at every step of training; it raises KeyboardInterrupt to stop."""
        self.config = config
        self.keep_going = keep_going
        self.device = resolve_device(config.device)
        self.dataset = load_dataset(
            config.dataset, Path(config.data_dir) if config.data_dir else None
        )
        self.train, self.validation = split_dataset(self.dataset, config.seed, config.train_samples)
        self.pruner = make_pruner(config.pruner, config.epochs, len(self.validation))
        self.sampler = SearchSampler(SAMPLER, config.seed, config.budget)
        self.storage = open_storage(config.storage, create=False)
        self.study_id = self.storage.get_study_id_from_name(config.study)

    def run(self) -> None:
        """Run waiting trials until none of the study's total is left."""
        while True:
            self.keep_going()
            trial_id = claim(self.storage, self.study_id, self.config.trials)
            if trial_id is None:
                return
            try:
                with heartbeat(self.storage, trial_id):
                    self._run_trial(trial_id)
            except UpdateFinishedTrialError:  # taken for dead, and finished by another
                continue
            except BaseException:
                if is_held(self.storage, trial_id):
                    give_back(self.storage, trial_id)
                raise

    def _run_trial(self, trial_id: int) -> None:
        number = self.storage.get_trial_number_from_id(trial_id)
        seed = derived_seed(self.config.seed, number)
        study = optuna.load_study(
            study_name=self.config.study,
            storage=self.storage,
            sampler=self.sampler,
        )
        trial = Trial(study, trial_id)
        sample = suggest(trial)
        architecture = sample.architecture(self.config.budget)
        if architecture.parameters > self.config.budget:
            raise AssertionError(f"{format_notation(architecture)} is over the budget")
        self._describe(trial, architecture, seed)
        trainer = Trainer(
            architecture,
            self.config.trial_recipe(sample.peak_learning_rate),
            self.train,
            self.validation,
            normalization=self.dataset.normalization,
            seed=seed,
            device=self.device,
            on_step=self.keep_going,
        )
        try:
            stopped = self._train(trial, trainer, architecture.parameters)
        except DivergedError as error:
            trial.set_user_attr("failed", str(error))
            self._tell(trial, TrialState.FAIL)
            return
        if stopped:
            self._tell(trial, TrialState.PRUNED)
            return
        accuracy = trial.user_attrs["curve"][-1]["val_accuracy"]
        trial.set_user_attr("test_accuracy", trainer.accuracy(self.dataset.test))
        trial.set_user_attr("weights", self._upload(trial, trainer))
        self._tell(trial, TrialState.COMPLETE, [architecture.parameters, accuracy])

    def _tell(self, trial: Trial, state: TrialState, values: list[float] | None = None) -> None:
        # One that was taken for dead meanwhile, and handed to another, is the other's to finish.
        if is_held(self.storage, trial._trial_id):
            trial.study.tell(trial, values, state)

    def _describe(self, trial: Trial, architecture: Architecture, seed: int) -> None:
        trial.set_user_attr("notation", format_notation(architecture))
        trial.set_user_attr("parameters", architecture.parameters)
        trial.set_user_attr("macs", architecture.macs)
        trial.set_user_attr("receptive_field", architecture.receptive_field)
        trial.set_user_attr("seed", seed)
        trial.set_user_attr("curve", [])
        for name in _OUTCOMES & trial.user_attrs.keys():  # a trial that is run again starts afresh
            trial.set_user_attr(name, None)
        if "parameters" not in trial.constraints:
            trial.set_constraint("parameters", architecture.parameters - self.config.budget)

    def _train(self, trial: Trial, trainer: Trainer, parameters: int) -> bool:
        """Train to the end, or until the pruner stops it: True if it did."""
        exempt = random.Random(derived_seed(trainer.seed, -1)).random() < EXEMPT_SHARE
        trial.set_user_attr("exempt", exempt)
        spared = False
        curve: list[dict[str, float]] = []
        for record in trainer:
            curve.append(_curve_entry(record))
            trial.set_user_attr("curve", curve)
            accuracies = [entry["val_accuracy"] for entry in curve]
            if len(curve) not in self.pruner.rungs or spared:
                continue
            stop = self.pruner.stop(parameters, accuracies, self._rivals(trial.number))
            if stop is None:
                continue
            # An exempt trial goes on; when it would have been stopped is what is worth knowing.
            spared = exempt
            trial.set_user_attr("would_be_pruned" if exempt else "pruned", stop._asdict())
            if not exempt:
                return True
        return False

    def _rivals(self, own: int) -> list[Rival]:
        return [
            Rival(
                trial.number,
                trial.user_attrs["parameters"],
                [entry["val_accuracy"] for entry in trial.user_attrs["curve"]],
            )
            for trial in self.storage.get_all_trials(self.study_id, deepcopy=False)
            if trial.number != own
            and trial.state != TrialState.FAIL  # a network that diverged leads nobody
            and "curve" in trial.user_attrs
        ]

    def _upload(self, trial: Trial, trainer: Trainer) -> dict[str, str]:
        """Keep the network's weights in the artifact store; where they are."""
        folder = artifact_folder(self.config.artifact_dir, self.config.study, self.config.storage)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory() as scratch:
                weights = io.BytesIO()  # torch's own writer has no word for a full disk
                network = trainer.network.cpu().to(memory_format=torch.contiguous_format)
                torch.save(network.state_dict(), weights)
                file = Path(scratch) / "weights.pt"
                file.write_bytes(weights.getvalue())
                artifact = upload_artifact(
                    artifact_store=FileSystemArtifactStore(folder),
                    file_path=str(file),
                    study_or_trial=trial,
                )
                return {"artifact_dir": self.config.artifact_dir, "artifact": artifact}
        except OSError as error:
            raise StorageError(
                f"artifacts {folder}: {reason(error)}; make room or name another folder with "
                "--artifact-dir"
            ) from None


def _curve_entry(record: EpochRecord) -> dict[str, float]:
    """The record as a study keeps it: what was held out is the validation set."""
    entry = record._asdict()
    entry["val_accuracy"] = entry.pop("accuracy")
    return {name: round(value, 6) for name, value in entry.items()}


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

"""The search from Python: a script or a notebook, in two lines.

study = nas_mnist.search(dataset="digits", budget=2000, trials=30)
network = study.winner().load()
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_mnist import lookup
from nas_mnist.errors import NasMnistError, RequestError
from nas_mnist.execution.confirmation import Candidate, chosen
from nas_mnist.execution.creation import resolve_request
from nas_mnist.execution.records import StudyRecord
from nas_mnist.execution.spec import SearchConfig, default_storage

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from nas_mnist.networks.architecture import Architecture

_OBJECTS = ("dataset", "sampler", "pruner", "space")


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A network of a study, with the weights that it was trained to."""

    study: Study
    candidate: Candidate

    @property
    def architecture(self) -> Architecture:
        return self.candidate.trial.architecture

    def load(self) -> nn.Module:
        """The trained network, in evaluation mode.

        Returns:
            A module from images (batch, 1, 28, 28) float32, normalized with the study's
            `normalization` (mean and standard deviation of pixels from 0 to 1), to logits
            (batch, classes).

        Raises:
            StorageError: if its weights are missing.
        """
        from nas_mnist.report.export import trained_network

        return trained_network(self.study, self.candidate)[0]

    def export(self, file: str | Path) -> Path:
        """Write it as a Python module that needs nothing but torch, its weights beside it.

        Args:
            file: the module, ending in `.py`; the weights get the same name ending in `.pt`.

        Returns:
            The weights' file.

        Raises:
            RequestError: if the file's name does not end in `.py`.
            StorageError: if its weights are missing, or if a file cannot be written.
        """
        from nas_mnist.report.export import export_network

        file = Path(file)
        if file.suffix != ".py":
            raise RequestError(f"{file} must end in .py")
        return export_network(self.study, self.candidate, file)


class Study(StudyRecord):
    """A study, as its storage has it now."""

    def to_pandas(self) -> pd.DataFrame:
        """The finished trials, one row each, by number.

        Returns:
            Columns `trial`, `state`, `notation`, `parameters`, `macs`, `receptive_field`,
            `epochs` (that were trained), `val_accuracy` (percent, after the last of them),
            `test_accuracy` (percent; of completed trials), `on_front`, then the choices that the
            trial drew.
        """
        import pandas as pd

        on_front = {trial.number for trial in self.front()}
        rows = []
        for trial in self.trials():
            if not trial.state.is_finished():
                continue
            attrs = trial.user_attrs
            curve = attrs.get("curve") or []
            rows.append(
                {
                    "trial": trial.number,
                    "state": trial.state.name.lower(),
                    **{name: attrs.get(name) for name in _SIZES},
                    "epochs": len(curve),
                    "val_accuracy": curve[-1]["val_accuracy"] if curve else None,
                    "test_accuracy": attrs.get("test_accuracy"),
                    "on_front": trial.number in on_front,
                    **trial.params,
                }
            )
        return pd.DataFrame(rows)

    def winner(self, trial: int | None = None, at_least: float | None = None) -> TrainedNetwork:
        """The network most accurate on the validation images, unless another is asked for.

        Args:
            trial: the number of a completed trial.
            at_least: percent; the smallest network of that accuracy, as `export --at-least`.

        Raises:
            StudyError: if there is no such network.
        """
        return TrainedNetwork(self, chosen(self, trial, at_least))


_SIZES = ("notation", "parameters", "macs", "receptive_field")


def load_study(name: str, storage: str | None = None, artifact_dir: str = "") -> Study:
    """An existing study.

    Args:
        name: the study's name.
        storage: URL of its database; that of `search` if none is given.
        artifact_dir: folder of the weights, if they are not where `search` keeps them.

    Raises:
        StudyError: if there is none.
        StorageError: if the database does not answer.
    """
    return Study.load(name, storage or default_storage(name), artifact_dir)


def search(
    dataset: Any = None,
    budget: int | None = None,
    trials: int | None = None,
    *,
    sampler: Any = None,
    pruner: Any = None,
    space: Any = None,
    config: str | Path | None = None,
    progress: bool = True,
    **settings: Any,
) -> Study:
    """Search networks, or go on with a search: the same call resumes it, and so does one with
    nothing but `study` and more `trials`.

    Args:
        dataset: a name, `module:attribute`, or a `Dataset`; MNIST if nothing is said.
        budget: most trainable parameters of a network, inclusive; 8,000 if nothing is said.
        trials: finished trials that the study ends with; 200 if nothing is said.
        sampler: a name, `module:attribute`, or an Optuna sampler.
        pruner: a name, `module:attribute`, or an object with `rungs` and `stop`.
        space: a name, `module:attribute`, or a `Space`.
        config: a TOML preset, which the other arguments override.
        progress: show how far it is, on standard error.
        **settings: the other settings of `SearchConfig`, such as `epochs=5`, `workers=2`,
            `study="mine"` or `recipe={"batch_size": 64}`.

    Returns:
        The study, confirmed unless `confirm=False`.

    Raises:
        NasMnistError: in one line, for a wrong request or failed work. Ctrl-C stops the workers
            and is raised as KeyboardInterrupt; finished trials are kept.
    """
    named = {"dataset": dataset, "sampler": sampler, "pruner": pruner, "space": space}
    for option, value in named.items():
        settings[option] = value if isinstance(value, str | None) else _given(value)
    settings |= {"budget": budget, "trials": trials}
    path = None if config is None else Path(config)
    return run(resolve_request(path, settings), progress)


def _given(value: Any) -> str:
    """A label for an object of the caller's, under which workers find it too."""
    kind = value if isinstance(value, type) or callable(value) else type(value)
    name = str(getattr(value, "name", None) or getattr(kind, "__qualname__", "object"))
    label = lookup.label_of(name)
    lookup.give(label, value)
    return label


def run(config: SearchConfig, progress: bool = True) -> Study:
    """The search of a resolved request, and its confirmation unless that is left out."""
    import optuna

    from nas_mnist.execution.run import (
        prepare_confirmation,
        prepare_search,
        run_confirmation,
        run_search,
    )
    from nas_mnist.report.progress import show_progress

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of each study that it makes
    record = prepare_search(config)
    show_progress(run_search(record, config), quiet=not progress)
    if not record.front():
        raise NasMnistError("no trial completed: every network diverged; lower the learning rate")
    if config.confirm:
        prepare_confirmation(record, config)
        show_progress(run_confirmation(record, config), quiet=not progress)
    return load_study(config.study, config.storage, config.artifact_dir)

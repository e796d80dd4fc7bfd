"""The search from Python: a script or a notebook, in two lines."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nas_mnist import lookup
from nas_mnist.errors import NasMnistError, RequestError
from nas_mnist.execution.confirmation import Candidate, chosen
from nas_mnist.execution.creation import resolve_request
from nas_mnist.execution.estimates import Estimated, estimates, front
from nas_mnist.execution.records import StudyRecord, TrialRecord
from nas_mnist.execution.spec import default_storage

if TYPE_CHECKING:
    import pandas as pd
    from optuna.trial import FrozenTrial
    from torch import nn

    from nas_mnist.execution.run import Callback
    from nas_mnist.networks.architecture import Architecture


class TrainedNetwork(NamedTuple):
    """A network of a study, with the weights that it was trained to."""

    study: Study
    candidate: Candidate

    def __repr__(self) -> str:
        number, network = self.candidate.trial.number, self.architecture
        return f"<trial {number} of {self.study.name}, {network.parameters:,} parameters>"

    @property
    def architecture(self) -> Architecture:
        return self.candidate.trial.architecture

    def load(self) -> nn.Module:
        """The trained network, in evaluation mode: from images (batch, 1, 28, 28) float32, by the
        study's `normalization` (mean and standard deviation of pixels from 0 to 1), to logits
        (batch, classes). StorageError if its weights are missing."""
        from nas_mnist.report.export import trained_network

        return trained_network(self.study, self.candidate)[0]

    def export(self, file: str | Path, *, onnx: bool = False) -> Path:
        """Write it as a Python module that needs nothing but torch, `file` ending in `.py`, its
        weights beside it, in a file ending in `.pt`, which is returned, and its model card, in one
        ending in `.md`; with `onnx` as an ONNX file too, ending in `.onnx`. StorageError if the
        weights are missing, RequestError if files of another kind are there, none can be written,
        or the packages that `onnx` needs are missing."""
        from nas_mnist.report.export import export_network

        return export_network(self.study, self.candidate, Path(file), onnx=onnx)


class Study(StudyRecord):
    """A study, as its storage has it now."""

    def front(self) -> list[TrialRecord]:
        """The networks that no other beats in size and estimated validation accuracy, from the
        fewest parameters up; `estimates` has the accuracies."""
        return front(self)

    def estimates(self) -> dict[int, Estimated]:
        """By the numbers of the completed trials, the validation accuracy that each network has on
        average over seeds, estimated from all runs: `mean` and `sd`, in percent, and `runs`."""
        return estimates(self)

    def to_pandas(self) -> pd.DataFrame:
        """The finished trials, one row each, by number: `trial`, `state`, `notation`,
        `parameters`, `macs`, `receptive_field`, `epochs` (that were trained), `val_accuracy`
        (percent, after the last of them), `estimate` and `estimate_sd` (as `estimates` has them),
        `test_accuracy` (percent; of completed trials), `on_front`, then the choices that the
        trial drew."""
        import pandas as pd

        on_front, known = {trial.number for trial in self.front()}, self.estimates()

        def row(trial: FrozenTrial) -> dict[str, Any]:
            attrs, sizes = trial.user_attrs, ("notation", "parameters", "macs", "receptive_field")
            curve = attrs.get("curve") or []
            return {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                **{name: attrs.get(name) for name in sizes},
                "epochs": len(curve),
                "val_accuracy": curve[-1]["val_accuracy"] if curve else None,
                "estimate": known[trial.number].mean if trial.number in known else None,
                "estimate_sd": known[trial.number].sd if trial.number in known else None,
                "test_accuracy": attrs.get("test_accuracy"),
                "on_front": trial.number in on_front,
                **trial.params,
            }

        return pd.DataFrame([row(trial) for trial in self.trials() if trial.state.is_finished()])

    def winner(self, trial: int | None = None, at_least: float | None = None) -> TrainedNetwork:
        """The network of the highest estimated validation accuracy, unless a completed trial is
        asked for by its number, or the smallest network of `at_least` so many percent on the
        validation images, as `export --at-least` does. StudyError if there is none."""
        return TrainedNetwork(self, chosen(self, trial, at_least))


def load_study(name: str, storage: str | None = None, artifact_dir: str = "") -> Study:
    """An existing study, by its name and, if they are not where `search` keeps them, the URL of
    its database and the folder of its weights. StudyError if there is none."""
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
    callback: Callback | None = None,
    progress: bool = True,
    **settings: Any,
) -> Study:
    """Search networks, or go on with a search: the same call resumes it, and so does one with
    nothing but `study` and more `trials`.

    Args:
        dataset, sampler, pruner, space: a name, `module:attribute`, or an object: a `Dataset`, an
            Optuna sampler, what has `rungs` and `stop`, and a `Space`; MNIST if nothing is said.
        budget: most trainable parameters of a network, inclusive; 8,000 if nothing is said.
        trials: finished trials that the study ends with; 200 if nothing is said.
        config: a TOML preset, which the other arguments override.
        callback: called in this process with the Optuna study and each trial that has ended, as
            Optuna calls its own; it can log the curve in `trial.user_attrs["curve"]` elsewhere.
        progress: show how far it is, on standard error.
        **settings: others of `SearchConfig`, such as `epochs=5` or `recipe={"batch_size": 64}`.

    Returns the study, confirmed unless `confirm=False`, or as far as it came within a `timeout`
    ("2h", or a number of seconds); NasMnistError for a wrong request or failed work. Ctrl-C stops
    the workers and is raised as KeyboardInterrupt; finished trials are kept.
    """
    import optuna

    from nas_mnist.execution import run
    from nas_mnist.report import note
    from nas_mnist.report.progress import show_progress, time_is_up

    began = time.monotonic()
    if not isinstance(config, str | Path | None):
        raise RequestError(f"--config must be a file, not {config!r}")
    settings |= {"budget": budget, "trials": trials}
    named = {"dataset": dataset, "sampler": sampler, "pruner": pruner, "space": space}
    for option, value in named.items():
        settings[option] = value if isinstance(value, str | None) else _given(value)
    request = resolve_request(None if config is None else Path(config), settings)
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of each study that it makes
    record = run.prepare_search(request)
    until = request.deadline(began)
    running = run.run_search(record, request, None, until, callback)
    stages = [show_progress(running, quiet=not progress)]
    if not record.points() and stages[0].done:
        raise NasMnistError(run.NOTHING_COMPLETED)
    if request.total_reruns() and record.points() and stages[0].done:
        reruns = run.run_reruns(record, request, None, until)
        stages.append(show_progress(reruns, quiet=not progress))
    if request.confirm and record.points():
        run.prepare_confirmation(record, request)
        runs = run.run_confirmation(record, request, None, until)
        stages.append(show_progress(runs, quiet=not progress))
    if progress and (said := time_is_up(*stages)):
        note(said)
    return load_study(request.study, request.storage, request.artifact_dir)


def _given(value: Any) -> str:
    """A label for an object of the caller's, under which workers find it too."""
    kind = value if callable(value) else type(value)
    name = getattr(value, "name", None)
    name = name if name and isinstance(name, str) else getattr(kind, "__qualname__", "object")
    lookup.GIVEN[label := f"{lookup.OBJECT}:{name}"] = value
    return label

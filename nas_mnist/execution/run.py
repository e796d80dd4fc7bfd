"""A search, its reruns and its confirmation, each from its start to its end."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas_mnist.errors import NasMnistError, StudyError
from nas_mnist.execution.confirmation import (
    RunKey,
    confirmation_rows,
    confirmation_seconds,
    networks_to_confirm,
    wanted_runs,
)
from nas_mnist.execution.creation import check_images, fill_queue, make_study, queue_confirmation
from nas_mnist.execution.estimates import next_rung
from nas_mnist.execution.launcher import Launcher
from nas_mnist.execution.optuna_internals import study_id
from nas_mnist.execution.records import StudyRecord, counts_of
from nas_mnist.execution.reruns import (
    RerunKey,
    queue_reruns,
    rerun_rows,
    settle_rung,
)
from nas_mnist.execution.spec import RERUNS, SearchConfig
from nas_mnist.execution.supervision import Progress, Workers, supervise
from nas_mnist.search.front import front_indices

Callback: TypeAlias = Callable[[Study, FrozenTrial], object]
"""called as Optuna calls its own: with the study and a trial that has ended"""

# Each trial draws its learning rate, so that there is none to lower.
NOTHING_COMPLETED = "no trial completed: every network diverged; ask for more --trials, or make a "
NOTHING_COMPLETED += "new --study with a gentler recipe, such as --recipe momentum=0.8"


def prepare_search(
    config: SearchConfig,
    first: Sequence[dict[str, Any]] | None = None,
    launcher: Launcher | None = None,
) -> StudyRecord:
    """Check all that the workers will need, then make or continue the study: what is wrong with
    data or device is said before anything is made. `first`: see `make_study`."""
    device = (launcher or Launcher()).check(config)
    from nas_mnist.training.datasets import first_train_samples, load_dataset, split_dataset
    from nas_mnist.training.device import best_precision

    dataset = load_dataset(config.dataset, config.data_dir)
    split_dataset(dataset, config.seed, config.train_samples)
    if config.confirm:
        first_train_samples(dataset, config.confirmation_images(), "--confirm-samples")
    config = config.changed(classes=dataset.classes)
    precision, names = best_precision(device), dataset.class_names
    return make_study(config, dataset.normalization, first, precision, names)


def run_search(
    record: StudyRecord,
    config: SearchConfig,
    launcher: Launcher | None = None,
    deadline: float | None = None,
    callback: Callback | None = None,
) -> Generator[Progress]:
    """Run the trials of what `prepare_search` gave to their total, with a Progress about twice a
    second; trials that another search of this study is running are waited for. It ends earlier,
    as if closed, in time for what follows before the `deadline`, `config.timeout` from now on
    unless it is given (of `time.monotonic`).

    `callback` is called here, not in a worker, for each trial of the study that ends meanwhile.

    Closing the iterator stops the workers; their trials go back to the queue. WorkerError is the
    first error of a worker, once all have ended and trials still wait; NasMnistError one of the
    callback.
    """
    told = {trial.number for trial in record.trials() if trial.state.is_finished()}
    before, until = record.counts().finished, config.deadline() if deadline is None else deadline

    def read_progress(seconds: float) -> Progress:
        trials = record.trials()
        if callback is not None:
            for trial in trials:
                if trial.state.is_finished() and trial.number not in told:
                    told.add(trial.number)
                    _call(callback, record.study, trial)
        complete = [trial.values for trial in trials if trial.state == TrialState.COMPLETE]
        points = [(int(parameters), accuracy) for parameters, accuracy in complete]
        best = [points[index] for index in front_indices(points)]
        left = until - time.monotonic()
        if left < math.inf:
            left -= confirmation_seconds(record, config)
        own = {"time_left": left, **_running(trials, config)}
        return Progress(counts_of(trials), config.trials, seconds, before, best, **own)

    config = config.changed(classes=record.spec.classes)  # which its images told
    workers = Workers(launcher or Launcher(), config, "search")
    fill = partial(fill_queue, record, config)
    return supervise(record, record.study_id, workers, read_progress, fill)


def _call(callback: Callback, study: Study, trial: FrozenTrial) -> None:
    try:
        callback(study, trial)
    except Exception as error:  # a user's own function may fail in any way
        said = " ".join(f"{type(error).__name__}: {error}".split())
        at = traceback.extract_tb(error.__traceback__)[-1]
        said = f"the callback failed at trial {trial.number}: {said}"
        said += f" ({Path(at.filename).name}, line {at.lineno})"
        raise NasMnistError(f"{said}; what is finished is kept") from error


def prepare_confirmation(
    record: StudyRecord, config: SearchConfig, launcher: Launcher | None = None
) -> int:
    """Check all that the workers will need; how many images they will train on. StudyError if the
    study has no front, or was made on other images."""
    if not record.points():
        raise StudyError(f"study {record.name!r} has no completed trial yet; let search run on")
    (launcher or Launcher()).check(config)
    from nas_mnist.training.datasets import first_train_samples, load_dataset

    dataset = load_dataset(config.dataset, config.data_dir)
    check_images(record, dataset.normalization, dataset.class_names)
    images = config.confirmation_images()
    return len(first_train_samples(dataset, images, "--confirm-samples").train)


def run_confirmation(
    record: StudyRecord,
    config: SearchConfig,
    launcher: Launcher | None = None,
    deadline: float | None = None,
) -> Generator[Progress]:
    """Retrain `networks_to_confirm` with `config.seeds` seeds; otherwise as `run_search`. With
    more seeds, or a front that has grown, only what is missing is run."""
    networks = networks_to_confirm(record, config)
    wanted = wanted_runs(config, networks)
    beside = queue_confirmation(record, wanted)
    until = config.deadline() if deadline is None else deadline

    def wanted_rows() -> dict[RunKey, FrozenTrial]:
        rows = confirmation_rows(record)
        return {key: rows[key] for key in wanted if key in rows}

    def waiting() -> int:  # a worker takes all that wait of a network
        rows = wanted_rows()
        return len({key[0] for key, run in rows.items() if run.state == TrialState.WAITING})

    progress = _by_epochs(
        "confirmation", wanted_rows, config, lambda: len(wanted), lambda: until - time.monotonic()
    )
    chosen = tuple(trial.number for trial in networks)
    config = config.changed(classes=record.spec.classes, confirm_trials=chosen)
    workers = Workers(launcher or Launcher(), config, "confirm")
    return supervise(record, beside, workers, progress, waiting)


def run_reruns(
    record: StudyRecord,
    config: SearchConfig,
    launcher: Launcher | None = None,
    deadline: float | None = None,
) -> Generator[Progress]:
    """Train networks of a search again, as many times as `config.total_reruns()` says in all, where
    that tells most of the front; otherwise as `run_search`. Fewer if there is none to train."""
    total, beside = config.total_reruns(), study_id(record.study_beside(RERUNS))
    until = config.deadline() if deadline is None else deadline

    def time_left() -> float:
        left = until - time.monotonic()
        return left - confirmation_seconds(record, config) if left < math.inf else left

    def rows() -> dict[RerunKey, FrozenTrial]:
        return dict([*rerun_rows(record).items()][:total])

    def fill() -> int:
        nonlocal total
        found = rows()
        if all(row.state.is_finished() for row in found.values()) and len(found) < total:
            rung = next_rung(record, total)
            if rung and rung.runs:
                settle_rung(record, rung)
            elif rung:
                total = len(found)
        queue_reruns(record)
        return sum(row.state == TrialState.WAITING for row in rows().values())

    progress = _by_epochs("reruns", rows, config, lambda: total, time_left)
    config = config.changed(classes=record.spec.classes)
    workers = Workers(launcher or Launcher(), config, "rerun")
    return supervise(record, beside, workers, progress, fill)


def _by_epochs(
    job: str,
    rows: Callable[[], Mapping[Any, FrozenTrial]],
    config: SearchConfig,
    total: Callable[[], int],
    time_left: Callable[[], float],
) -> Callable[[float], Progress]:
    """What reads how far runs are that all go to their last epoch."""

    def epochs_of(run: FrozenTrial) -> int:
        known = {TrialState.WAITING: 0, TrialState.FAIL: config.epochs}  # no more to wait for
        return known.get(run.state, len(run.user_attrs.get("curve", ())))

    before = sum(map(epochs_of, rows().values()))

    def read(seconds: float) -> Progress:
        found = rows().values()
        epochs = sum(map(epochs_of, found)), total() * config.epochs
        own: dict[str, Any] = {"epochs": epochs, "job": job, "time_left": time_left()}
        own |= _running(found, config)
        return Progress(counts_of(found), total(), seconds, before, **own)

    return read


def _running(trials: Iterable[FrozenTrial], config: SearchConfig) -> dict[str, Any]:
    """How far those are that run now, as Progress has it."""
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    epochs = [len(trial.user_attrs.get("curve", ())) for trial in running]
    return {"running": epochs, "epochs_each": config.epochs}

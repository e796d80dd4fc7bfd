"""`search`, the main job, and `confirm`, its last part alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_mnist.cli.console import note, open_study, print_front, quiet_optuna, writing
from nas_mnist.cli.options import (
    ArtifactDir,
    DataDir,
    Device,
    Json,
    Plugins,
    Ray,
    ResultsDir,
    Storage,
    Study,
    WorkerGpus,
    Workers,
    launching,
    parse_limits,
    with_search_options,
)
from nas_mnist.errors import NasMnistError

if TYPE_CHECKING:
    from nas_mnist.execution.launcher import Launcher
    from nas_mnist.execution.records import StudyRecord
    from nas_mnist.execution.spec import SearchConfig


@with_search_options
def search(**options: Any) -> None:
    """Search, or go on with a search: the same command resumes it."""
    from nas_mnist.execution.run import prepare_search, run_search
    from nas_mnist.execution.spec import default_storage, resolve_config
    from nas_mnist.execution.store import shown
    from nas_mnist.report.progress import show_progress
    from nas_mnist.training.recipe import parse_settings

    ray, worker_gpus = options.pop("ray"), options.pop("worker_gpus")
    preset, as_json = options.pop("config"), options.pop("as_json")
    options["recipe"] = parse_settings(options["recipe"] or [])
    options["limits"] = parse_limits(options["limits"]) or None  # else the preset's
    settings = resolve_config(preset, options)
    quiet_optuna()
    with launching(ray, worker_gpus) as launcher:
        if ray is not None and options["workers"] is None:
            settings = settings.changed(workers=launcher.slots)
        record = prepare_search(settings, launcher=launcher)
        results = _results_folder(record, settings)
        known = (default_storage(record.name), os.environ.get("NAS_MNIST_STORAGE"))
        where = "" if settings.storage in known else f" --storage {shown(settings.storage)}"
        note(
            f"study {record.name}: {settings.trials} trials within {settings.budget:,} parameters, "
            f"{settings.workers} workers; watch it with `nas-mnist dashboard {record.name}{where}`"
        )
        try:
            show_progress(run_search(record, settings, launcher))
        except KeyboardInterrupt:
            if record.front():
                print_front(record, as_json)
            note(
                f"interrupted: {record.counts().finished} of {settings.trials} trials are "
                "finished; the same command goes on"
            )
            raise
        if not record.front():
            raise NasMnistError(
                "no trial completed: every network diverged; lower the learning rate"
            )
        if settings.confirm:
            _confirm_front(record, settings, launcher, as_json)
        _present(record, results, as_json)


def confirm(
    study: Study,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Fresh seeds of each network.")] = 5,
    most_accurate: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Confirm also the N networks most accurate on the validation images.",
            show_default="as the search was asked",
        ),
    ] = None,
    workers: Workers = None,
    ray: Ray = None,
    worker_gpus: WorkerGpus = 0,
    device: Device = "auto",
    storage: Storage = None,
    data_dir: DataDir = None,
    artifact_dir: ArtifactDir = None,
    results_dir: ResultsDir = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Retrain a study's front on all training images; the same command resumes it.

    More seeds, or a front that has grown, add what is missing.
    """
    record = open_study(study, storage, artifact_dir)
    with launching(ray, worker_gpus) as launcher:
        settings = record.request(
            seeds=seeds,
            most_accurate=record.spec.most_accurate if most_accurate is None else most_accurate,
            workers=workers or launcher.slots,
            device=device,
            data_dir=None if data_dir is None else str(data_dir),
            results_dir=results_dir or "results",
            plugins=tuple(plugins or ()),
        )
        results = _results_folder(record, settings)
        _confirm_front(record, settings, launcher, as_json)
        _present(record, results, as_json)


def _results_folder(record: StudyRecord, settings: SearchConfig) -> Path:
    """Made at once, not to learn after hours that it cannot be."""
    results = Path(settings.results_dir) / record.name
    with writing(results):
        results.mkdir(exist_ok=True)
    return results


def _confirm_front(
    record: StudyRecord, settings: SearchConfig, launcher: Launcher, as_json: bool
) -> None:
    """Confirm the front before the user's eyes."""
    from nas_mnist.execution.confirmation import networks_to_confirm
    from nas_mnist.execution.run import prepare_confirmation, run_confirmation
    from nas_mnist.report.progress import show_progress

    images = prepare_confirmation(record, settings, launcher)
    front = len(record.front())
    besides = len(networks_to_confirm(record, settings)) - front
    more = f" and {besides} beside it" if besides else ""
    note(
        f"confirming {front} networks of the front{more} with {settings.seeds} "
        f"{'seed' if settings.seeds == 1 else 'seeds'} each, on all {images:,} training images"
    )
    try:
        show_progress(run_confirmation(record, settings, launcher))
    except KeyboardInterrupt:
        print_front(record, as_json)
        note("interrupted: what is confirmed is kept; the same command goes on")
        raise


def _present(record: StudyRecord, results: Path, as_json: bool) -> None:
    """Print the study's front, and write its files."""
    from nas_mnist.execution.confirmation import chosen, confirmed
    from nas_mnist.report.dashboard_extras import update_dashboard
    from nas_mnist.report.export import export_network
    from nas_mnist.report.figures import front_figure
    from nas_mnist.report.front_table import UNCONFIRMED, write_front_csv
    from nas_mnist.report.page import write_figure

    print_front(record, as_json)
    if as_json and not confirmed(record):  # the table says it itself
        note(UNCONFIRMED)
    csv, html, winner = (results / name for name in ("front.csv", "front.html", "winner.py"))
    with writing(csv):
        write_front_csv(record, csv)
    with writing(html):
        write_figure(front_figure(record), html)
    weights = export_network(record, chosen(record), winner)
    update_dashboard(record)
    note(f"wrote {csv}, {html}, {winner}, {weights}")

"""`search`, the main job, and `confirm`, its last part alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_mnist.cli.console import note, open_study, print_front, quiet_optuna, writing
from nas_mnist.cli.options import launching, parse_limits
from nas_mnist.errors import NasMnistError

if TYPE_CHECKING:
    from nas_mnist.execution.launcher import Launcher
    from nas_mnist.execution.records import StudyRecord
    from nas_mnist.execution.spec import SearchConfig


def search(
    recipe: list[str] | None = None,
    plugins: list[str] | None = None,
    limits: list[str] | None = None,
    config: Path | None = None,
    ray: str | None = None,
    worker_gpus: float = 0,
    as_json: bool = False,
    **settings: Any,
) -> None:
    """Search, or go on with a search: the same command resumes it."""
    from nas_mnist.execution.creation import resolve_request
    from nas_mnist.execution.run import prepare_search, run_search
    from nas_mnist.execution.spec import default_storage
    from nas_mnist.execution.store import shown
    from nas_mnist.report.progress import show_progress
    from nas_mnist.training.recipe import parse_settings

    given = {"recipe": parse_settings(recipe or []) or None, "plugins": plugins}
    given["limits"] = parse_limits(limits) or None  # else the preset's, or the study's
    request = resolve_request(config, {**settings, **given})
    quiet_optuna()
    with launching(ray, worker_gpus) as launcher:
        if ray is not None and settings["workers"] is None:
            request = request.changed(workers=launcher.slots)
        record = prepare_search(request, launcher=launcher)
        results = _results_folder(record, request)
        known = (default_storage(record.name), os.environ.get("NAS_MNIST_STORAGE"))
        where = "" if request.storage in known else f" --storage {shown(request.storage)}"
        note(
            f"study {record.name}: {request.trials} trials within {request.budget:,} parameters, "
            f"{request.workers} workers; watch it with `nas-mnist dashboard {record.name}{where}`"
        )
        try:
            show_progress(run_search(record, request, launcher))
        except KeyboardInterrupt:
            if record.front():
                print_front(record, as_json)
            done = f"{record.counts().finished} of {request.trials} trials are finished"
            note(f"interrupted: {done}; the same command goes on")
            raise
        if not record.front():
            said = "no trial completed: every network diverged; lower the learning rate"
            raise NasMnistError(said)
        if request.confirm:
            _confirm_front(record, request, launcher, as_json)
        _present(record, results, as_json)


def confirm(
    study: str,
    seeds: int = 5,
    most_accurate: int | None = None,
    workers: int | None = None,
    ray: str | None = None,
    worker_gpus: float = 0,
    device: str = "auto",
    storage: str | None = None,
    data_dir: Path | None = None,
    artifact_dir: str | None = None,
    results_dir: str | None = None,
    plugins: list[str] | None = None,
    as_json: bool = False,
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
    seeds = "1 seed" if settings.seeds == 1 else f"{settings.seeds} seeds"
    networks = f"{front} networks of the front{more}"
    note(f"confirming {networks} with {seeds} each, on all {images:,} training images")
    try:
        show_progress(run_confirmation(record, settings, launcher))
    except KeyboardInterrupt:
        print_front(record, as_json)
        note("interrupted: what is confirmed is kept; the same command goes on")
        raise


def _present(record: StudyRecord, results: Path, as_json: bool) -> None:
    """Print the study's front, and write its files."""
    from nas_mnist.execution.confirmation import chosen, confirmed
    from nas_mnist.report import dashboard_extras, export, figures, front_table, page

    print_front(record, as_json)
    if as_json and not confirmed(record):  # the table says it itself
        note(front_table.UNCONFIRMED)
    csv, html, winner = (results / name for name in ("front.csv", "front.html", "winner.py"))
    with writing(csv):
        front_table.write_front_csv(record, csv)
    with writing(html):
        page.write_figure(figures.front_figure(record), html)
    weights = export.export_network(record, chosen(record), winner)
    dashboard_extras.update_dashboard(record)
    note(f"wrote {csv}, {html}, {winner}, {weights}")

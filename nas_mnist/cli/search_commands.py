"""`search`, the main job, and `confirm`, its last part alone."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_mnist.cli.console import note, open_study, print_front, quiet_optuna
from nas_mnist.errors import NasMnistError, RequestError
from nas_mnist.execution.spec import SearchConfig, seconds_of
from nas_mnist.lookup import find, import_plugin, module_of
from nas_mnist.report import check_export

if TYPE_CHECKING:
    from nas_mnist.execution.launcher import Launcher
    from nas_mnist.execution.records import StudyRecord
    from nas_mnist.execution.run import Callback
    from nas_mnist.execution.supervision import Progress


def search(
    recipe: list[str] | None = None,
    plugins: list[str] | None = None,
    limits: list[str] | None = None,
    config: Path | None = None,
    ray: str | None = None,
    worker_gpus: float = 0,
    timeout: str | None = None,
    callback: str | None = None,
    as_json: bool = False,
    **settings: Any,
) -> None:
    """Search, or go on with a search: the same command resumes it."""
    from nas_mnist.execution.creation import resolve_request
    from nas_mnist.execution.reruns import finished_reruns
    from nas_mnist.execution.run import NOTHING_COMPLETED, prepare_search, run_reruns, run_search
    from nas_mnist.execution.store import storage_option
    from nas_mnist.report.progress import show_progress, time_is_up
    from nas_mnist.report.tables import counted
    from nas_mnist.training.recipe import parse_settings

    began = time.monotonic()
    # What is not given is the preset's, or the study's.
    given = {"recipe": parse_settings(recipe or []) or None, "limits": _parsed(limits) or None}
    request = resolve_request(config, {**settings, **given, "plugins": plugins, "timeout": timeout})
    call, deadline = _callback(callback), request.deadline(began)
    quiet_optuna()
    with _launching(ray, worker_gpus) as launcher:
        if ray is not None and "workers" not in request.model_fields_set:
            request = request.changed(workers=launcher.slots)
        _results_folder(request)
        record = prepare_search(request, launcher=launcher)
        watched = f"{record.name}{storage_option(record.name, request.storage)}"
        trials, workers = counted(request.trials, "trial"), counted(request.workers, "worker")
        if ray is None:
            from nas_mnist.training.device import named, resolve_device, unused_gpu

            workers += f" on {named(resolve_device(request.device))}"
            if why := unused_gpu(request.device):
                note(why)
        note(
            f"study {record.name}: {trials} within {request.budget:,} parameters, {workers}; "
            f"watch it with `nas-mnist dashboard {watched}`"
        )
        reruns = 0
        try:
            stages = [show_progress(run_search(record, request, launcher, deadline, call))]
            reruns = request.total_reruns() if record.points() and stages[0].done else 0
            if reruns:
                note(f"{counted(reruns, 'rerun')} of networks that one run leaves in doubt")
                stages.append(show_progress(run_reruns(record, request, launcher, deadline)))
        except KeyboardInterrupt:
            if record.points():
                print_front(record, as_json)
            done = f"{record.counts().finished} of {trials} are finished"
            done += f", and {len(finished_reruns(record))} of {reruns} reruns" if reruns else ""
            note(f"interrupted: {done}; the same command goes on")
            raise
        if not record.points() and (said := time_is_up(*stages)):
            if as_json:
                print_front(record, as_json)
            return note(said)
        if not record.points():
            raise NasMnistError(NOTHING_COMPLETED)
        _finish(record, request, launcher, as_json, deadline, *stages)


def confirm(
    study: str,
    seeds: int = 5,
    most_accurate: int | None = None,
    confirm_trials: list[int] | None = None,
    goal: float | None = None,
    confirm_samples: int | None = None,
    workers: int | None = None,
    ray: str | None = None,
    worker_gpus: float = 0,
    timeout: str | None = None,
    device: str = "auto",
    storage: str | None = None,
    data_dir: Path | None = None,
    artifact_dir: str | None = None,
    results_dir: str | None = None,
    plugins: list[str] | None = None,
    as_json: bool = False,
) -> None:
    """Retrain a study's front with fresh seeds. The same command resumes it; with more seeds, or a
    front that has grown, it adds what is missing."""
    began, seconds = time.monotonic(), None if timeout is None else seconds_of(timeout)
    asked = {"most_accurate": most_accurate, "goal": goal}
    record = open_study(study, storage, artifact_dir)
    record = record.ask(**{name: value for name, value in asked.items() if value is not None})
    with _launching(ray, worker_gpus) as launcher:
        workers = launcher.slots if ray is not None and workers is None else workers
        given = {"results_dir": results_dir or "runs"} | ({"workers": workers} if workers else {})
        where = {"device": device, "data_dir": data_dir and str(data_dir)}
        what: dict[str, Any] = {"seeds": seeds, "confirm_samples": confirm_samples}
        what |= {"plugins": tuple(plugins or ()), "confirm_trials": tuple(confirm_trials or ())}
        settings = record.request(**what, **where, **given, timeout=seconds)
        _finish(record, settings, launcher, as_json, settings.deadline(began))


def _callback(named: str | None) -> Callback | None:
    """The function that --callback names."""
    if named is None:
        return None
    module = module_of(named)
    if module is None:
        raise RequestError(f"--callback {named!r} is not MODULE:FUNCTION")
    import_plugin(module)
    found: Callback = find("--callback", named, {})
    if not callable(found):
        raise RequestError(f"--callback {named!r} is no function")
    return found


def _parsed(limits: list[str] | None) -> dict[str, int]:
    parsed = {}
    for text in limits or []:
        name, equals, most = text.partition("=")
        if not equals or not most.replace("_", "").isdecimal():
            raise RequestError(f"--limit {text!r} is not COST=MOST, such as macs=500000")
        parsed[name] = int(most)
    return parsed


def _launching(ray: str | None, worker_gpus: float) -> AbstractContextManager[Launcher]:
    """What starts the workers: this machine, or the Ray cluster at that address."""
    if ray is None:
        from nas_mnist.execution.launcher import Launcher

        if worker_gpus:
            raise RequestError("--worker-gpus goes with --ray; here all workers share the GPU")
        return nullcontext(Launcher())
    try:
        from nas_mnist.execution.ray_launcher import ray_launcher
    except ModuleNotFoundError:
        raise RequestError("--ray needs Ray: pip install 'nas-mnist[ray]'") from None
    return ray_launcher(ray, worker_gpus)


def _results_folder(settings: SearchConfig) -> Path:
    results = Path(settings.results_dir) / settings.study
    check_export(results / "winner.py")
    return results


def _finish(
    record: StudyRecord,
    settings: SearchConfig,
    launcher: Launcher,
    as_json: bool,
    deadline: float,
    *stages: Progress,
) -> None:
    """Confirm the front unless that is left out, print it, and write the study's files. `stages`:
    what came before, and how far."""
    from nas_mnist.execution.confirmation import chosen, confirmed, networks_to_confirm
    from nas_mnist.execution.run import prepare_confirmation, run_confirmation
    from nas_mnist.report.progress import show_progress, time_is_up
    from nas_mnist.report.tables import counted

    results = _results_folder(settings)
    if settings.confirm:
        images = prepare_confirmation(record, settings, launcher)
        networks = counted(len(networks_to_confirm(record, settings)), "network")
        seeds = counted(settings.seeds, "seed")
        note(f"confirming {networks} with {seeds} each, on {images:,} training images")
        try:
            runs = run_confirmation(record, settings, launcher, deadline)
            stages = (*stages, show_progress(runs))
        except KeyboardInterrupt:
            print_front(record, as_json)
            note("interrupted: what is confirmed is kept; the same command goes on")
            raise

    from nas_mnist.report import dashboard_extras, export, figures, front_table, page
    from nas_mnist.training.datasets import load_dataset

    print_front(record, as_json)
    if as_json and not confirmed(record):  # the table says it itself
        note(front_table.UNCONFIRMED)
    names = "front.csv", "front.html", "report.html", "winner.py"
    csv, html, report, winner = (results / name for name in names)
    front_table.write_front_csv(record, csv)
    page.write_figure(figures.front_figure(record), html)
    page.write_report(record, load_dataset(record.spec.dataset, settings.data_dir), report)
    export.export_network(record, chosen(record), winner)
    dashboard_extras.update_dashboard(record)
    note(f"wrote {', '.join(map(str, [csv, html, report, *export.exported_files(winner)]))}")
    if said := time_is_up(*stages):
        note(said)

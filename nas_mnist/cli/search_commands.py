"""`search`, the main job, and `confirm`, its last part alone."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_mnist.cli.console import (
    note,
    open_study,
    print_front,
    quiet_optuna,
    writing,
)
from nas_mnist.cli.options import (
    DataDir,
    Device,
    Json,
    Ray,
    RecipeSettings,
    Storage,
    Study,
    WorkerGpus,
    Workers,
    placing,
)
from nas_mnist.errors import NasMnistError

if TYPE_CHECKING:
    from nas_mnist.execution.launcher import Engine
    from nas_mnist.execution.spec import SearchConfig
    from nas_mnist.execution.study import StudyRecord

ArtifactDir = Annotated[
    str | None,
    typer.Option(
        help="Folder of all weights.", show_default="STUDY/artifacts by an SQLite file; the server"
    ),
]
MostAccurate = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Confirm also the N networks most accurate on the validation images, of any size.",
        show_default="0",
    ),
]
ResultsDir = Annotated[
    str | None,
    typer.Option(help="Where STUDY/front.csv and the rest go.", show_default="results"),
]


def search(
    budget: Annotated[
        int | None, typer.Option(help="Most trainable parameters.", show_default="8000")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Finished trials in total.", show_default="200")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs a trial.", show_default="15")] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="mnist, fashion-mnist, kmnist or digits.", show_default="mnist"),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study.", show_default="DATASET-BUDGET")
    ] = None,
    storage: Storage = None,
    data_dir: DataDir = None,
    train_samples: Annotated[
        int | None,
        typer.Option(help="Training images a trial.", show_default="all that do not validate"),
    ] = None,
    workers: Workers = None,
    ray: Ray = None,
    worker_gpus: WorkerGpus = 0,
    pack: Annotated[
        int | None,
        typer.Option(help="Trials of one topology that a worker trains as one.", show_default="1"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu or cuda.", show_default="auto")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Fixes split, weights, order and sampler.", show_default="0")
    ] = None,
    pruner: Annotated[
        str | None,
        typer.Option(help="dominance, median, one-epoch or none.", show_default="dominance"),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Fresh seeds of the confirmation.", show_default="3")
    ] = None,
    confirm: Annotated[
        bool | None,
        typer.Option(
            "--confirm/--no-confirm",
            help="Retrain the front with fresh seeds at the end.",
            show_default="confirm",
        ),
    ] = None,
    most_accurate: MostAccurate = None,
    goal: Annotated[
        float | None, typer.Option(help="Accuracy to hold, in percent.", show_default="99.4")
    ] = None,
    recipe: RecipeSettings = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML preset; the command line overrides it.")
    ] = None,
    artifact_dir: ArtifactDir = None,
    results_dir: ResultsDir = None,
    as_json: Json = False,
) -> None:
    """Search, or go on with a search: the same command resumes it."""
    from nas_mnist.execution.spec import resolve_config
    from nas_mnist.training.recipe import parse_settings

    settings = resolve_config(
        config,
        {
            "budget": budget,
            "trials": trials,
            "epochs": epochs,
            "dataset": dataset,
            "study": study,
            "storage": storage,
            "data_dir": None if data_dir is None else str(data_dir),
            "train_samples": train_samples,
            "workers": workers,
            "pack": pack,
            "device": device,
            "seed": seed,
            "pruner": pruner,
            "seeds": seeds,
            "most_accurate": most_accurate,
            "confirm": confirm,
            "goal": goal,
            "recipe": parse_settings(recipe or []),
            "artifact_dir": artifact_dir,
            "results_dir": results_dir,
        },
    )
    quiet_optuna()
    with placing(ray, worker_gpus) as engine:
        if ray is not None and workers is None:
            settings = replace(settings, workers=engine.places)
        search_and_confirm(settings, engine, as_json)


def search_and_confirm(settings: SearchConfig, engine: Engine, as_json: bool) -> None:
    """The whole of `search`, once it is known what to do and where."""
    from nas_mnist.execution.run import prepare_search, run_search
    from nas_mnist.execution.spec import default_storage
    from nas_mnist.execution.store import shown
    from nas_mnist.report.progress import progress_line, progress_panel, show_progress

    record = prepare_search(settings, engine=engine)
    results = Path(settings.results_dir) / record.name
    with writing(results):  # not to learn of it after hours
        results.mkdir(exist_ok=True)
    known = (default_storage(record.name), os.environ.get("NAS_MNIST_STORAGE"))
    where = "" if settings.storage in known else f" --storage {shown(settings.storage)}"
    note(
        f"study {record.name}: {settings.trials} trials within {settings.budget:,} parameters, "
        f"{settings.workers} workers; watch it with `nas-mnist dashboard {record.name}{where}`"
    )
    try:
        with closing(run_search(record, settings, engine)) as updates:
            show_progress(updates, progress_line, progress_panel)
    except KeyboardInterrupt:
        if record.front():
            print_front(record, as_json)
        counts = record.counts()
        note(
            f"interrupted: {counts.finished} of {settings.trials} trials are finished; the same "
            "command goes on"
        )
        raise
    if not record.front():
        raise NasMnistError("no trial completed: every network diverged; lower the learning rate")
    if settings.confirm:
        confirm_front(record, settings, engine, as_json)
    present(record, results, as_json)


def confirm(
    study: Study,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Fresh seeds of each network.")] = 5,
    most_accurate: MostAccurate = None,
    workers: Workers = None,
    ray: Ray = None,
    worker_gpus: WorkerGpus = 0,
    device: Device = "auto",
    storage: Storage = None,
    data_dir: DataDir = None,
    artifact_dir: ArtifactDir = None,
    results_dir: ResultsDir = None,
    as_json: Json = False,
) -> None:
    """Retrain a study's front on all training images; the same command resumes it.

    More seeds, or a front that has grown, add what is missing.
    """
    record = open_study(study, storage)
    with placing(ray, worker_gpus) as engine:
        settings = replace(
            record.config,
            storage=record.url,
            seeds=seeds,
            most_accurate=record.config.most_accurate if most_accurate is None else most_accurate,
            workers=workers or engine.places,
            device=device,
            data_dir=record.config.data_dir if data_dir is None else str(data_dir),
            # Where to write is for who runs the command to say, not for a database.
            artifact_dir=artifact_dir or "",
            results_dir=results_dir or "results",
        )
        results = Path(settings.results_dir) / record.name
        with writing(results):
            results.mkdir(exist_ok=True)
        confirm_front(record, settings, engine, as_json)
        present(record, results, as_json)


def confirm_front(
    record: StudyRecord, settings: SearchConfig, engine: Engine, as_json: bool
) -> None:
    """Confirm the front before the user's eyes."""
    from nas_mnist.execution.confirmation import (
        networks_to_confirm,
        prepare_confirmation,
        run_confirmation,
    )
    from nas_mnist.report.progress import confirmation_line, confirmation_panel, show_progress

    images = prepare_confirmation(record, settings, engine)
    front = len(record.front())
    besides = len(networks_to_confirm(record, settings)) - front
    more = f" and {besides} beside it" if besides else ""
    note(
        f"confirming {front} networks of the front{more} with {settings.seeds} "
        f"{'seed' if settings.seeds == 1 else 'seeds'} each, on all {images:,} training images"
    )
    try:
        with closing(run_confirmation(record, settings, engine)) as updates:
            show_progress(updates, confirmation_line, confirmation_panel)
    except KeyboardInterrupt:
        print_front(record, as_json)
        note("interrupted: what is confirmed is kept; the same command goes on")
        raise


def present(record: StudyRecord, results: Path, as_json: bool) -> None:
    """Print the study's front, and write its files."""
    from nas_mnist.execution.confirmation import confirmed
    from nas_mnist.report.dashboard_extras import dress_study
    from nas_mnist.report.front_table import UNCONFIRMED
    from nas_mnist.report.result_files import write_results

    print_front(record, as_json)
    if as_json and not confirmed(record):  # the table says it itself
        note(UNCONFIRMED)
    files = write_results(record, results)
    dress_study(record)
    note("wrote " + ", ".join(map(str, files)))

"""`search`: the main job."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from nas_mnist.cli.console import note, print_front, quiet_optuna, show_progress, writing
from nas_mnist.cli.options import DataDir, Json, RecipeSettings, Storage, Workers
from nas_mnist.errors import NasMnistError, RequestError


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
        typer.Option("--confirm/--no-confirm", help="Confirm the front. (Not available yet.)"),
    ] = None,
    goal: Annotated[
        float | None, typer.Option(help="Accuracy to hold, in percent.", show_default="99.4")
    ] = None,
    recipe: RecipeSettings = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML preset; the command line overrides it.")
    ] = None,
    artifact_dir: Annotated[
        str | None,
        typer.Option(help="Folder of all weights.", show_default="STUDY/artifacts by the database"),
    ] = None,
    results_dir: Annotated[
        str | None,
        typer.Option(help="Where STUDY/front.csv and the rest go.", show_default="results"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Search, or go on with a search: the same command resumes it."""
    from nas_mnist.search.config import resolve_config
    from nas_mnist.training.recipe import parse_settings

    if confirm:
        raise RequestError("--confirm: confirmation is not available yet; take --no-confirm")
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
            "confirm": confirm,
            "goal": goal,
            "recipe": parse_settings(recipe or []),
            "artifact_dir": artifact_dir,
            "results_dir": results_dir,
        },
    )

    from nas_mnist.output.results import write_results
    from nas_mnist.output.tables import UNCONFIRMED
    from nas_mnist.search.run import prepare_search, run_search
    from nas_mnist.search.storage import shown

    quiet_optuna()
    record = prepare_search(settings)
    results = Path(settings.results_dir) / record.name
    with writing(results):  # not to learn of it after hours
        results.mkdir(exist_ok=True)
    note(
        f"study {record.name}: {settings.trials} trials within {settings.budget:,} parameters, "
        f"{settings.workers} workers; watch it with `optuna-dashboard {shown(settings.storage)}`"
    )
    try:
        with closing(run_search(record, settings)) as updates:
            show_progress(updates)
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
    files = write_results(record, results)
    print_front(record, as_json)
    if as_json:  # the table says it itself
        note(UNCONFIRMED)
    note("wrote " + ", ".join(map(str, files)))

"""Commands that measure how well the search itself works: `curves` and `simulate`."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from nas_mnist.cli.console import note, print_tables, quiet_optuna, writing
from nas_mnist.cli.options import DataDir, Dataset, Device, RecipeSettings, Storage, Workers
from nas_mnist.errors import RequestError


def curves(
    output: Annotated[Path, typer.Option("--output", "-o", help="The table, .csv.")],
    networks: Annotated[
        int, typer.Option(min=6, help="Random networks; one in five is trained twice.")
    ] = 300,
    budget: Annotated[int, typer.Option(help="Most trainable parameters.")] = 8000,
    epochs: Annotated[int, typer.Option(help="Epochs a run.")] = 6,
    dataset: Dataset = "mnist",
    train_samples: Annotated[int | None, typer.Option(help="Training images a run.")] = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study.", show_default="DATASET-BUDGET-curves")
    ] = None,
    storage: Storage = None,
    data_dir: DataDir = None,
    workers: Workers = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Fixes networks, split and weights.")] = 0,
    recipe: RecipeSettings = None,
) -> None:
    """Record learning curves of random networks: what `simulate` runs on. Resumes, as `search`."""
    from nas_mnist.execution.spec import resolve_config
    from nas_mnist.simulation.curves import drawn_points, runs_of, table_of, write_table
    from nas_mnist.training.recipe import parse_settings

    if output.suffix != ".csv" or output.is_dir():  # not to learn of it after hours
        raise RequestError(f"-o {output} is not a file name that ends in .csv")
    runs = runs_of(networks)
    settings = resolve_config(
        None,
        {
            "budget": budget,
            "trials": runs,
            "epochs": epochs,
            "dataset": dataset,
            "train_samples": train_samples,
            "study": study or f"{dataset}-{budget}-curves",
            "storage": storage,
            "data_dir": None if data_dir is None else str(data_dir),
            "workers": workers,
            "device": device,
            "seed": seed,
            "pruner": "none",
            "recipe": parse_settings(recipe or []),
        },
    )

    from nas_mnist.execution.run import prepare_search, run_search
    from nas_mnist.report.progress import progress_line, progress_panel, show_progress
    from nas_mnist.training.datasets import load_dataset, split_dataset

    quiet_optuna()
    points = drawn_points(runs, seed)
    with writing(output):
        record = prepare_search(settings, points)
    with closing(run_search(record, settings)) as updates:
        show_progress(updates, progress_line, progress_panel)
    data = load_dataset(dataset, data_dir)
    table = table_of(record, len(split_dataset(data, seed, train_samples)[1]))
    with writing(output):
        write_table(table, output)
    failed = f"; {record.counts().failed} diverged" if record.counts().failed else ""
    note(f"wrote {output}: {len(table.runs)} runs{failed}")


def simulate(
    table: Annotated[Path, typer.Argument(help="What `curves` wrote.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of tables and picture.")
    ] = Path("simulation"),
    trials: Annotated[int, typer.Option(min=2, help="Trials of a search.")] = 200,
    seeds: Annotated[int, typer.Option(min=2, help="Searches of each kind.")] = 20,
    figures: Annotated[str, typer.Option(help="Kind of the pictures: html, png or svg.")] = "html",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes.", show_default="one a core")
    ] = None,
) -> None:
    """Compare samplers and pruners on recorded curves, many searches in minutes."""
    from nas_mnist.execution.spec import available_cores
    from nas_mnist.report.figures import check_figure_name, write_figure
    from nas_mnist.report.simulation import (
        pruner_figure,
        pruners_table,
        search_figure,
        searches_table,
        surrogate_text,
        write_frame,
    )
    from nas_mnist.simulation import comparison
    from nas_mnist.simulation.curves import read_table
    from nas_mnist.simulation.surrogate import Surrogate

    quiet_optuna()
    pruners_picture = output / f"pruners.{figures}"
    check_figure_name(pruners_picture)
    if pruners_picture.parent != output:
        raise RequestError(f"--figures {figures} is not html, png or svg")
    recorded = read_table(table)
    with writing(output / "pruners.csv"):
        pruners = comparison.compare_pruners(recorded, seeds)
        write_frame(pruners, output / "pruners.csv")
        write_figure(pruner_figure(pruners), pruners_picture)
    print_tables(pruners_table(comparison.side_by_side(pruners)))

    note("fitting the surrogate: seconds to minutes")
    surrogate = Surrogate(recorded)
    held_out = surrogate.held_out()
    with writing(output / "surrogate.json"):
        (output / "surrogate.json").write_text(json.dumps(held_out._asdict(), indent=2), "utf-8")
    note(surrogate_text(held_out))

    settings = comparison.default_settings(trials, seeds)
    total = sum(setting.seeds for setting in settings)
    results = []
    with closing(
        comparison.compare_searches(surrogate, settings, workers or available_cores())
    ) as simulated:
        for result in simulated:
            results.append(result)
            if len(results) % 10 == 0 or len(results) == total:
                note(f"{len(results)}/{total} searches")
    searches = comparison.summary(results, recorded.epochs, trials)
    traces = comparison.traces(results)
    with writing(output / "searches.csv"):
        write_frame(searches, output / "searches.csv")
        write_frame(traces, output / "traces.csv")
        write_figure(search_figure(traces), output / f"searches.{figures}")
    print_tables(searches_table(searches, surrogate_text(held_out)))
    note(f"wrote {output}")

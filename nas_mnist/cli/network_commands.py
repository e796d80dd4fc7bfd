"""Commands about single networks: `inspect`, `references` and `train`."""

from __future__ import annotations

from typing import Annotated

import typer

from nas_mnist.cli.console import note, print_json, print_tables
from nas_mnist.cli.options import (
    DataDir,
    Dataset,
    Device,
    Json,
    Plugins,
    Precision,
    RecipeSettings,
    Storage,
    Target,
)
from nas_mnist.lookup import import_plugin, module_of


def inspect(
    target: Target, storage: Storage = None, plugins: Plugins = None, as_json: Json = False
) -> None:
    """Show a network's layers: shapes, parameters, MACs and receptive fields."""
    from nas_mnist.execution.target import resolve_target
    from nas_mnist.report.tables import architecture_table, architecture_values

    name, architecture = resolve_target(target, storage)
    if as_json:
        print_json(architecture_values(name, architecture))
    else:
        print_tables(architecture_table(name, architecture))


def references(as_json: Json = False) -> None:
    """List the hand-made networks and lifecycles, and what was published of each."""
    from nas_mnist.networks import references as known
    from nas_mnist.report.tables import lifecycles_table, reference_values, references_table

    networks = list(known.references().values())
    if as_json:
        print_json([reference_values(network) for network in networks])
    else:
        print_tables(references_table(networks), lifecycles_table(known.steps()))


def train(
    target: Target,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many seeds, side by side.")] = 1,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="The first seed.")] = 0,
    dataset: Dataset = "mnist",
    train_samples: Annotated[
        int | None, typer.Option(help="Training images.", show_default="all")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Epochs a run.")] = 15,
    recipe: RecipeSettings = None,
    storage: Storage = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    precision: Precision = "auto",
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Train one network on all training images and test it after every epoch."""
    from nas_mnist.execution.target import resolve_target
    from nas_mnist.training.recipe import Recipe, dataset_source, merged, parse_settings

    name, architecture = resolve_target(target, storage)
    given = parse_settings(recipe or [])
    if "epochs" in given:
        raise typer.BadParameter("--epochs sets the epochs", param_hint="--recipe")
    for text in (dataset, str(given.get("optimizer", ""))):
        if module_of(text):
            import_plugin(str(module_of(text)))
    settings = Recipe(epochs=epochs).changed(merged(dataset_source(dataset).recipe, given))

    from nas_mnist.report.tables import runs_table, runs_values
    from nas_mnist.training.datasets import first_train_samples, load_dataset
    from nas_mnist.training.device import keep_freed_memory, resolve_device, resolve_precision
    from nas_mnist.training.runs import Run, train_runs

    data = first_train_samples(load_dataset(dataset, data_dir), train_samples)
    where = resolve_device(device)
    kind = resolve_precision(precision, where)
    keep_freed_memory()
    runs: dict[int, Run] = {}
    wanted = range(seed, seed + seeds)
    for together in train_runs(architecture, settings, data, wanted, where, kind):
        for run in together:
            runs[run.seed] = run
            record = run.curve[-1]
            note(
                f"seed {run.seed} epoch {record.epoch}/{settings.epochs}: "
                f"loss {record.train_loss:.4f}, train {record.train_accuracy:.2f} %, "
                f"test {record.accuracy:.2f} %, {record.seconds:.1f} s"
            )
    values = runs_values(name, architecture, settings, dataset, list(runs.values()))
    values["precision"] = str(kind).removeprefix("torch.")
    if as_json:
        print_json(values)
    else:
        print_tables(runs_table(values))

"""`bench`, how fast training is here, and `reproduce`, a hand-made lifecycle retrained."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from nas_mnist.cli.console import note, print_json, print_tables, writing
from nas_mnist.cli.options import DataDir, Dataset, Device, Json, Plugins, Storage, Workers
from nas_mnist.errors import RequestError


def bench(
    target: Annotated[
        str, typer.Argument(help="A notation, a reference's name, or STUDY:TRIAL.")
    ] = "a7-no-dropout-7884",
    dataset: Dataset = "mnist",
    pack: Annotated[int, typer.Option(min=2, max=256, help="Networks trained as one.")] = 3,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=600, help="Training of a measurement.")
    ] = 6.0,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Measurements of each loop.")] = 5,
    workers: Workers = None,
    storage: Storage = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    plugins: Plugins = None,
    study_of: Annotated[
        list[int] | None,
        typer.Option(hidden=True),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure training here: the usual loop against batched training, in one run of minutes."""
    if study_of:
        raise RequestError(
            "--study-of is now a script: python studies/storage_benchmark/measure.py TRIALS ..."
        )
    from nas_mnist.execution.spec import available_cores
    from nas_mnist.execution.target import resolve_target

    name, architecture = resolve_target(target, storage)

    import torch

    from nas_mnist.report.tables import bench_table, bench_values
    from nas_mnist.training.datasets import load_dataset
    from nas_mnist.training.device import resolve_device, training_precision
    from nas_mnist.training.recipe import Recipe, dataset_source
    from nas_mnist.training.speed import Measured, Request, loops, measure

    where = resolve_device(device)
    load_dataset(dataset, data_dir)  # what is wrong with it is said once, and first
    recipe = Recipe().changed(dataset_source(dataset).recipe)
    request = Request(architecture, dataset, data_dir, str(where), seconds, recipe)
    wanted = loops(workers or available_cores(), pack, where.type)
    measured: list[Measured] = []
    for count, measured in enumerate(measure(request, wanted, rounds), start=1):
        latest = measured[(count - 1) % len(measured)]
        note(
            f"{count}/{rounds * len(wanted)} {latest.loop.name}: "
            f"{latest.images_per_second[-1]:,.0f} images/s"
        )
    precision = str(training_precision(where)).removeprefix("torch.")
    machine = {
        "network": name,
        "parameters": architecture.parameters,
        "dataset": dataset,
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu",
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "cores": available_cores(),
        "precision": precision,
        "batch_size": recipe.batch_size,
        "torch": torch.__version__,
    }
    values = {**machine, **bench_values(measured)}
    if as_json:
        print_json(values)
    else:
        title = (
            f"{name} ({architecture.parameters:,} parameters) on {machine['device']}, "
            f"{machine['cores']} cores, {machine['vectors']}, {precision}"
        )
        print_tables(bench_table(title, values))


def reproduce(
    lifecycle: Annotated[
        str, typer.Argument(help="As `references` lists them.", show_default=False)
    ],
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Seeds of each step.")] = 1,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="The first seed.")] = 0,
    most_parameters: Annotated[
        int | None,
        typer.Option(min=1, help="Leave out steps with larger networks.", show_default="none"),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Epochs a run.", show_default="as aimed at"),
    ] = None,
    dataset: Dataset = "mnist",
    train_samples: Annotated[
        int | None, typer.Option(help="Training images.", show_default="all")
    ] = None,
    data_dir: DataDir = None,
    workers: Workers = None,
    results_dir: Annotated[Path, typer.Option(help="Where LIFECYCLE/ goes.")] = Path("results"),
    as_json: Json = False,
) -> None:
    """Retrain a hand-made lifecycle: each step under its author's settings, published beside
    measured. The same command goes on where it was stopped."""
    from nas_mnist.execution.spec import available_cores
    from nas_mnist.report.lifecycle_table import Lifecycle
    from nas_mnist.training.datasets import first_train_samples, load_dataset
    from nas_mnist.training.runs import lifecycle_steps
    from nas_mnist.training.runs import reproduce as train_steps

    wanted = range(seed, seed + seeds)
    settings = {
        "dataset": dataset,
        "train_samples": train_samples,
        "epochs": epochs,
        "most_parameters": most_parameters,
        "seeds": list(wanted),
    }
    record = Lifecycle(lifecycle, lifecycle_steps(lifecycle), settings)
    folder = results_dir / lifecycle
    record.read(folder / "steps.json")
    missing = record.missing()
    if missing:
        first_train_samples(load_dataset(dataset, data_dir), train_samples)  # before any process
    with writing(folder):
        files = record.write(folder)
    for number, why in record.left_out.items():
        note(f"step {number}: {why}")
    note(f"{len(record.done)} steps are trained, {len(missing)} to go")
    with closing(
        train_steps(
            missing,
            wanted,
            workers or available_cores(),
            epochs=epochs,
            dataset=dataset,
            data_dir=data_dir,
            train_samples=train_samples,
        )
    ) as steps:
        for step in steps:
            record.done[step.step.number] = step
            with writing(folder):
                files = record.write(folder)
            note(record.step_line(step))
    if as_json:
        print_json(record.values())
    else:
        print_tables(record.table())
    note("wrote " + ", ".join(map(str, files)))

"""`reproduce`: a hand-made lifecycle, retrained step by step."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from nas_mnist.cli.console import note, print_json, print_tables, writing
from nas_mnist.cli.options import DataDir, Dataset, Json, Workers


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
    from nas_mnist.training.lifecycles import lifecycle_steps
    from nas_mnist.training.lifecycles import reproduce as train_steps

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

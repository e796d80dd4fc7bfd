"""Commands that read a study: `front`, `export` and `report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_mnist.cli.console import note, open_study, print_front, writing
from nas_mnist.cli.options import ArtifactDir, DataDir, Json, Plugins, Storage, Study

if TYPE_CHECKING:
    from nas_mnist.execution.records import StudyRecord
    from nas_mnist.training.runs import Reproduced

ReproducedFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--reproduced",
        metavar="FILE",
        help="Show the retrained networks of this steps.json beside the front; repeatable.",
    ),
]


def front(
    study: Study,
    storage: Storage = None,
    plugins: Plugins = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the front as CSV.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Also draw the front: .html, .png or .svg.")
    ] = None,
    reproduced: ReproducedFiles = None,
    as_json: Json = False,
) -> None:
    """Show a study's front: the networks that no other beats in size and accuracy."""
    from nas_mnist.report.front_table import write_front_csv

    record = open_study(study, storage)
    if figure is not None:
        from nas_mnist.report.figures import check_figure_name, front_figure, write_figure

        check_figure_name(figure)
        beside = _read_reproduced(reproduced, record)
    elif reproduced:
        raise typer.BadParameter("--reproduced goes with --figure")
    print_front(record, as_json)
    if csv is not None:
        with writing(csv):
            write_front_csv(record, csv)
    if figure is not None:
        with writing(figure):
            write_figure(front_figure(record, beside), figure)


def export(
    study: Study,
    output: Annotated[Path, typer.Option("--output", "-o", help="The module file, .py.")],
    trial: Annotated[
        int | None, typer.Option(help="This completed trial.", show_default="the most accurate")
    ] = None,
    at_least: Annotated[
        float | None,
        typer.Option(
            min=0, max=100, help="The smallest network confirmed at this test accuracy, %."
        ),
    ] = None,
    storage: Storage = None,
    artifact_dir: ArtifactDir = None,
    plugins: Plugins = None,
) -> None:
    """Write a study's network as a Python module that needs only torch, its weights beside it."""
    from nas_mnist.execution.confirmation import chosen

    if output.suffix != ".py":
        raise typer.BadParameter(f"{output} must end in .py", param_hint="--output")
    if trial is not None and at_least is not None:
        raise typer.BadParameter("--trial and --at-least exclude each other")
    record = open_study(study, storage, artifact_dir)
    network = chosen(record, trial, at_least)

    from nas_mnist.report.export import export_network
    from nas_mnist.report.source import confirmed_text

    weights = export_network(record, network, output)
    found = network.trial
    said = f"test {found.test_accuracy:.2f} % (one run, unconfirmed)"
    if network.confirmed is not None:
        said = f"confirmed {confirmed_text(network.confirmed)}"
    note(
        f"trial {found.number}: {found.architecture.parameters:,} parameters, validation "
        f"{found.val_accuracy:.2f} %, {said}"
    )
    note(f"wrote {output}, {weights}")


def report(
    study: Study,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page, .html.")],
    storage: Storage = None,
    data_dir: DataDir = None,
    artifact_dir: ArtifactDir = None,
    plugins: Plugins = None,
    reproduced: ReproducedFiles = None,
) -> None:
    """Write a study's report as one page that needs no network."""
    if output.suffix != ".html":
        raise typer.BadParameter(f"{output} must end in .html", param_hint="--output")
    record = open_study(study, storage, artifact_dir)
    beside = _read_reproduced(reproduced, record)

    from nas_mnist.report.study_page import write_report
    from nas_mnist.training.datasets import load_dataset

    dataset = load_dataset(record.spec.dataset, data_dir)
    with writing(output):
        write_report(record, dataset, output, beside)
    note(f"wrote {output}")


def _read_reproduced(files: list[Path] | None, record: StudyRecord) -> list[Reproduced]:
    from nas_mnist.report.lifecycle_table import read_reproduced

    return [step for file in files or [] for step in read_reproduced(file, record.spec.dataset)]

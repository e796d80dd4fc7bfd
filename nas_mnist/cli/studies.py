"""Commands that read a study: `front` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_mnist.cli.console import note, print_front, quiet_optuna, writing
from nas_mnist.cli.options import Json, Storage

if TYPE_CHECKING:
    from nas_mnist.search.study import StudyRecord


def front(
    study: str,
    storage: Storage = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the front as CSV.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Also draw the front: .html, .png or .svg.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a study's front: the networks that no other beats in size and accuracy."""
    from nas_mnist.output.tables import write_front_csv

    record = _open_study(study, storage)
    if figure is not None:
        from nas_mnist.output.figures import check_figure_name, front_figure, write_figure

        check_figure_name(figure)
    print_front(record, as_json)
    if csv is not None:
        with writing(csv):
            write_front_csv(record, csv)
    if figure is not None:
        with writing(figure):
            write_figure(front_figure(record), figure)


def export(
    study: str,
    output: Annotated[Path, typer.Option("--output", "-o", help="The module file, .py.")],
    trial: Annotated[
        int | None, typer.Option(help="This completed trial.", show_default="the most accurate")
    ] = None,
    at_least: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="The smallest network of this validation accuracy, %."),
    ] = None,
    storage: Storage = None,
) -> None:
    """Write a study's network as a Python module that needs only torch, its weights beside it."""
    from nas_mnist.output.export import export_trial
    from nas_mnist.search.study import best

    if output.suffix != ".py":
        raise typer.BadParameter(f"{output} must end in .py", param_hint="--output")
    if trial is not None and at_least is not None:
        raise typer.BadParameter("--trial and --at-least exclude each other")
    record = _open_study(study, storage)
    chosen = best(record.front(), at_least) if trial is None else record.trial(trial)
    weights = export_trial(record, chosen, output)
    note(
        f"trial {chosen.number}: {chosen.architecture.parameters:,} parameters, validation "
        f"{chosen.val_accuracy:.2f} %, test {chosen.test_accuracy:.2f} % (one run, unconfirmed)"
    )
    note(f"wrote {output}, {weights}")


def _open_study(name: str, storage: str | None) -> StudyRecord:
    from nas_mnist.search.config import default_storage
    from nas_mnist.search.study import load_study

    quiet_optuna()
    return load_study(name, storage or default_storage(name))

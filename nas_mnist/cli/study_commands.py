"""Commands that show a study: `front`, `export`, `report` and `dashboard`."""

import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import typer

from nas_mnist.cli.console import note, open_study, print_front, print_result, quiet_optuna
from nas_mnist.errors import NasMnistError, RequestError, StorageError, WorkerError, reason
from nas_mnist.report import check_export
from nas_mnist.report.tables import counted, spread_text

_REFRESH_SECONDS = 10.0


def front(
    study: str,
    storage: str | None = None,
    plugins: list[str] | None = None,
    csv: Path | None = None,
    figure: Path | None = None,
    reproduced: list[Path] | None = None,
    max_parameters: int | None = None,
    all_columns: bool = False,
    as_json: bool = False,
) -> None:
    """Show a study's front: the networks that no other beats in size and accuracy."""
    from nas_mnist.report.front_table import write_front_csv

    record = open_study(study, storage)
    if figure is not None:
        from nas_mnist.report import figures, lifecycle_table, page

        page.check_figure_name(figure)
        beside = lifecycle_table.read_reproduced(reproduced or [], record.spec.dataset)
    elif reproduced:
        raise typer.BadParameter("--reproduced goes with --figure")
    print_front(record, as_json, max_parameters, all_columns=all_columns)
    if csv is not None:
        write_front_csv(record, csv, max_parameters)
    if figure is not None:
        page.write_figure(figures.front_figure(record, beside), figure)


def compare(
    first: str,
    second: str,
    at: list[int] | None = None,
    figure: Path | None = None,
    storage: str | None = None,
    storage_b: str | None = None,
    plugins: list[str] | None = None,
    as_json: bool = False,
) -> None:
    """Compare two studies, A and B, of one dataset: the hypervolume of their fronts, and the
    confirmed networks that each would choose within a size, by Welch's test."""
    from nas_mnist.report.comparison import Comparison

    records = open_study(first, storage), open_study(second, storage_b or storage)
    if figure is not None:
        from nas_mnist.report import page

        page.check_figure_name(figure)
    found = Comparison(*records, at or ())
    print_result(found.values(), *found.tables(), as_json=as_json)
    if figure is not None:
        page.write_figure(found.figure(), figure)


def studies(
    storage: str | None = None, plugins: list[str] | None = None, as_json: bool = False
) -> None:
    """List the studies in --storage, or in every file of studies/."""
    from nas_mnist.execution.records import load_studies
    from nas_mnist.report import front_table

    quiet_optuna()
    files = sorted(Path("studies").glob("*.db"))
    if storage is None and not files:
        raise RequestError("there is no file in studies/; name a --storage")
    values = []
    for url in [storage] if storage else [f"sqlite:///{file}" for file in files]:
        try:
            values += [front_table.study_values(record) for record in load_studies(url)]
        except NasMnistError as error:
            if storage:
                raise
            note(str(error))
    print_result(values, front_table.studies_table(values), as_json=as_json)


def export(
    study: str,
    output: Path,
    trial: int | None = None,
    at_least: float | None = None,
    all_networks: bool = False,
    storage: str | None = None,
    artifact_dir: str | None = None,
    plugins: list[str] | None = None,
    onnx: bool = False,
    weights: bool = True,
) -> None:
    """Write a study's network as a Python module that needs only torch, with its weights and its
    model card beside it. The most accurate by validation, unless told otherwise."""
    from nas_mnist.execution.confirmation import Candidate, candidates, chosen, of_front

    if sum((trial is not None, at_least is not None, all_networks)) > 1:
        raise typer.BadParameter("--trial, --at-least and --all exclude each other")
    if all_networks and output.suffix == ".py":
        raise typer.BadParameter(f"{output}: --all writes into a folder", param_hint="--output")
    if onnx and not weights:
        raise typer.BadParameter("--onnx and --no-weights exclude each other")
    if not all_networks:
        check_export(output)
    record = open_study(study, storage, artifact_dir)
    networks = of_front(candidates(record)) if all_networks else [chosen(record, trial, at_least)]
    files = [output / f"trial_{entry.trial.number}.py" for entry in networks]
    for file in files if all_networks else ():  # before any is written
        check_export(file)

    from nas_mnist.report.export import export_network, export_untrained, exported_files

    def write(entry: Candidate, file: Path) -> list[Path]:
        if not weights:
            export_untrained(record, entry, file)
            return [file]
        export_network(record, entry, file, onnx=onnx)
        return exported_files(file, onnx=onnx)

    if all_networks:
        for entry, file in zip(networks, files, strict=True):
            write(entry, file)
        beside = ", .pt and .md" if weights else ", without weights"
        return note(f"wrote {counted(len(files), 'network')} to {output}/trial_*.py{beside}")

    from nas_mnist.report.front_table import confirmed_text

    (network,) = networks
    made = write(network, output)
    found, known, confirmed, diverged = network
    said = f"test {found.test_accuracy:.2f} % in one run, unconfirmed: "
    again = f"`nas-mnist confirm {study} --trial {found.number}` retrains it"
    said += f"it diverged with {counted(diverged, 'fresh seed')}" if diverged else again
    said = f"confirmed {confirmed_text(confirmed)}" if confirmed else said
    size, validation = f"{found.architecture.parameters:,} parameters", spread_text(*known[:2])
    note(f"trial {found.number}: {size}, validation {validation} %, {said}")
    if at_least is not None:
        sure = known.probability(at_least)
        note(f"on validation images it has {at_least:g} % with a probability of {sure:.0%}")
    note(f"wrote {', '.join(map(str, made))}{'' if weights else ', without weights'}")


def report(
    study: str,
    output: Path,
    storage: str | None = None,
    data_dir: Path | None = None,
    artifact_dir: str | None = None,
    plugins: list[str] | None = None,
    reproduced: list[Path] | None = None,
    explained: list[Path] | None = None,
) -> None:
    """Write a study's report as one page that needs no network."""
    if output.suffix != ".html":
        raise typer.BadParameter(f"{output} must end in .html", param_hint="--output")
    record = open_study(study, storage, artifact_dir)

    from nas_mnist.execution.creation import check_images
    from nas_mnist.report.explanation import Explanation
    from nas_mnist.report.lifecycle_table import read_reproduced
    from nas_mnist.report.page import write_report
    from nas_mnist.training.datasets import load_dataset

    beside = read_reproduced(reproduced or [], record.spec.dataset)
    told = [Explanation.kept(file) for file in explained or []]
    dataset = load_dataset(record.spec.dataset, data_dir)
    check_images(record, dataset.normalization, dataset.class_names)
    write_report(record, dataset, output, beside, told)
    note(f"wrote {output}")


def dashboard(
    study: str | None = None,
    storage: str | None = None,
    artifact_dir: str | None = None,
    plugins: list[str] | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
) -> None:
    """Serve Optuna's dashboard, with the study's front, learning curves and winner."""
    from nas_mnist.execution.confirmation import confirmed
    from nas_mnist.execution.records import load_studies
    from nas_mnist.execution.store import open_storage

    if study is not None:
        records = [open_study(study, storage, artifact_dir)]
    elif storage is not None:
        quiet_optuna()
        records = load_studies(storage, artifact_dir or "")
    else:
        names = ", ".join(file.stem for file in sorted(Path("studies").glob("*.db"))[:8])
        such = f"such as {names}" if names else "or a --storage"
        raise RequestError(f"which study? name one, {such}")

    import optuna_dashboard

    from nas_mnist.report.dashboard_extras import ShownStorage, StudyArtifacts, update_dashboard

    def update() -> None:
        for record in records:
            try:
                update_dashboard(record)
            except NasMnistError as error:  # what is in the storage can be looked at all the same
                note(f"study {record.name} is shown without all that should be added: {error}")

    def state() -> list[object]:
        return [[r.counts(), [len(found.runs) for found in confirmed(r)]] for r in records]

    def keep_updated() -> None:
        """Go on with a search that runs meanwhile, until its user deletes a study."""
        seen: list[object] = []
        with suppress(KeyError):
            while True:
                time.sleep(_REFRESH_SECONDS)
                with suppress(StorageError):  # the dashboard shows it
                    if (now := state()) != seen:
                        update()
                        seen = now

    update()
    # The dashboard keeps this warning back itself, but not from two of its threads at a time.
    warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")
    # A storage of its own: the dashboard's threads must not wait for the updates.
    its_own = open_storage(records[0].url, create=False, kind=ShownStorage)
    app = optuna_dashboard.wsgi(its_own, artifact_store=StudyArtifacts(records))
    try:
        server = make_server(host, port, app, _Server, _Handler)
    except (OSError, OverflowError) as error:
        said = reason(error) if isinstance(error, OSError) else str(error)
        raise WorkerError(f"--host {host} --port {port}: {said}; try another") from None
    with server:
        threading.Thread(target=keep_updated, daemon=True).start()
        page = f"/dashboard/studies/{records[0].study_id}" if len(records) == 1 else "/"
        note(f"listening on http://{host}:{server.server_port}{page} until Ctrl-C")
        server.serve_forever()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """A line for each request is nobody's to read."""

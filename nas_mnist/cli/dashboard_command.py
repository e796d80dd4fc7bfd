"""`dashboard`: Optuna's dashboard on a study's storage, with what the tool adds to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import typer

from nas_mnist.cli.console import note, quiet_optuna
from nas_mnist.cli.options import ArtifactDir, Plugins, Storage
from nas_mnist.errors import NasMnistError, RequestError, StorageError, WorkerError, reason

if TYPE_CHECKING:
    from nas_mnist.execution.records import StudyRecord

_REFRESH_SECONDS = 10.0


def dashboard(
    study: Annotated[
        str | None, typer.Argument(help="The study; all of --storage if there is none.")
    ] = None,
    storage: Storage = None,
    artifact_dir: ArtifactDir = None,
    plugins: Plugins = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than 127.0.0.1 let others in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8080,
) -> None:
    """Serve Optuna's dashboard, with the study's front, learning curves and winner."""
    from nas_mnist.execution.records import load_studies, load_study
    from nas_mnist.execution.spec import default_storage

    quiet_optuna()
    if study is None and storage is None:
        raise RequestError(f"which study? {_known_studies()}")
    url = storage or default_storage(str(study))
    folder = artifact_dir or ""
    records = load_studies(url, folder) if study is None else [load_study(study, url, folder)]

    import optuna_dashboard

    from nas_mnist.report.dashboard_extras import StudyArtifacts, update_dashboard

    def update() -> None:
        for record in records:
            try:
                update_dashboard(record)
            except NasMnistError as error:  # what is in the storage can be looked at all the same
                note(f"study {record.name} is shown without all that should be added: {error}")

    update()
    # A storage of its own: the dashboard's threads must not wait for the updates.
    app = optuna_dashboard.wsgi(_another(records[0]), artifact_store=StudyArtifacts(records))
    try:
        server = make_server(host, port, app, _Server, _Handler)
    except (OSError, OverflowError) as error:
        said = reason(error) if isinstance(error, OSError) else str(error)
        raise WorkerError(f"--host {host} --port {port}: {said}; try another") from None
    with server:
        refreshing = threading.Thread(target=_keep_updated, args=(records, update), daemon=True)
        refreshing.start()
        page = f"/dashboard/studies/{records[0].study_id}" if len(records) == 1 else "/"
        note(f"listening on http://{host}:{server.server_port}{page} until Ctrl-C")
        server.serve_forever()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """A line for each request is nobody's to read."""


def _keep_updated(records: list[StudyRecord], update: Callable[[], None]) -> None:
    """Go on with a search that runs meanwhile."""
    seen = [_state(record) for record in records]
    while True:
        threading.Event().wait(_REFRESH_SECONDS)
        try:
            now = [_state(record) for record in records]
        except KeyError:  # its user has deleted a study
            return
        except StorageError:  # the dashboard shows it
            continue
        if now != seen:
            update()
            seen = now


def _state(record: StudyRecord) -> tuple[object, ...]:
    from nas_mnist.execution.confirmation import confirmed

    return (*record.counts(), *(len(found.runs) for found in confirmed(record)))


def _another(record: StudyRecord) -> Any:
    from nas_mnist.execution.store import open_storage

    return open_storage(record.url, create=False)


def _known_studies() -> str:
    files = sorted(Path("studies").glob("*.db"))
    if not files:
        return "name one, or a --storage"
    return "name one, such as " + ", ".join(file.stem for file in files[:8])

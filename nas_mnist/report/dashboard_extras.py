"""What Optuna's dashboard shows of a study beside its own pages: a note, figures, the winner."""

import tempfile
from collections.abc import Container
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import optuna_dashboard
from optuna.artifacts import upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial, TrialState

from nas_mnist.errors import StorageError
from nas_mnist.execution.confirmation import candidates, chosen
from nas_mnist.execution.optuna_internals import Storage, forget_artifact, store_figure
from nas_mnist.execution.records import StudyRecord
from nas_mnist.execution.spec import BESIDE
from nas_mnist.execution.store import artifact_store, storage_errors
from nas_mnist.report.export import export_network, trained_run
from nas_mnist.report.figures import front_figure
from nas_mnist.report.front_table import confirmed_text, front_caption, front_rows, spending_text
from nas_mnist.report.study_figures import curves_figure
from nas_mnist.report.tables import counted, markdown_table

_FIGURE_PIXELS = 450  # the height of the dashboard's own boxes
_WINNER = "winner"  # user attribute: which winner's files are among the study's artifacts


class StudyArtifacts:
    """The artifacts of several studies as one store, for a dashboard that shows them all."""

    def __init__(self, records: list[StudyRecord]) -> None:
        self._stores: list[Any] = [
            artifact_store(record.artifact_dir, record.name, record.storage) for record in records
        ]

    def open_reader(self, artifact_id: str) -> BinaryIO:
        for store in self._stores:
            with suppress(ArtifactNotFound):
                return cast(BinaryIO, store.open_reader(artifact_id))
        raise ArtifactNotFound("not found")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self._stores[0].write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        for store in self._stores:
            with suppress(ArtifactNotFound):
                store.remove(artifact_id)


class ShownStorage(Storage):
    """A storage as a dashboard shows it: no studies of reruns or confirmations, whose runs belong
    to a study's, and the epochs of each trial as intermediate values. A search could not have them:
    Optuna's samplers fail on such values where there are two objectives."""

    def get_all_studies(self) -> list[Any]:
        return [s for s in super().get_all_studies() if not s.study_name.endswith(BESIDE)]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = super().get_all_trials(study_id, deepcopy, states)
        for trial in trials:
            with suppress(KeyError, TypeError):  # a damaged curve, or none yet
                curve = enumerate(trial.user_attrs["curve"], start=1)
                trial.intermediate_values = {epoch: own["val_accuracy"] for epoch, own in curve}
        return trials


def update_dashboard(record: StudyRecord) -> None:
    """Store the study's note, figures and winner for the dashboard, in place of earlier ones."""
    with storage_errors(record.url):
        optuna_dashboard.save_note(record.study, study_note(record))
        if not record.points():
            return
        curves = curves_figure(record).update_layout(title="Learning curves of the front")
        # The dashboard puts its own figures first: its API has no order.
        for name, figure in (("front", front_figure(record)), ("learning-curves", curves)):
            # Half a screen has no room for the names of hand-made networks.
            figure.layout.annotations = [a for a in figure.layout.annotations if not a.name]
            margin = {"t": 50, "b": 110, "r": 20}
            figure.update_layout(height=_FIGURE_PIXELS, margin=margin, title_subtitle_text="")
            store_figure(record.storage, record.study_id, name, str(figure.to_json()))
        _keep_winner(record)


def study_note(record: StudyRecord) -> str:
    """What the study is, and its front as a table, in Markdown."""
    spec, counts, shown = record.spec, record.counts(), candidates(record)
    about = (
        f"Networks of at most **{spec.budget:,} parameters** on {spec.dataset}, "
        f"{counted(spec.epochs, 'epoch')} each: fewest parameters and highest validation accuracy "
        "after the final epoch. No network over the budget is trained."
    )
    trials = (
        f"{counts.complete} trials completed, {counts.pruned} pruned, {counts.failed} diverged, "
        f"{counts.running} running, {spec.trials} asked for."
    )
    if not shown:
        return f"{about}\n\n{trials}\n\nNo trial has completed yet."
    headings, *rows = front_rows(record, shown)
    rows = [[*cells, f"`{notation}`"] for *cells, notation in rows]
    table = markdown_table([headings, *rows], ["--:"] * (len(headings) - 1) + [":--"])
    trial, _, found, _ = chosen(record)
    best = (
        f"Most accurate by validation: trial {trial.number}"
        f"{f', on test images {confirmed_text(found)}' if found else ''}. "
        "Its module and weights are among the study's artifacts."
    )
    said = [about, trials, table, front_caption(record, shown), spending_text(record), best]
    return "\n\n".join(said)


def _keep_winner(record: StudyRecord) -> None:
    """Put the winner's files among the study's artifacts, in place of an earlier winner's."""
    study, winner, store = record.study, chosen(record), StudyArtifacts([record])
    runs = len(winner.confirmed.runs) if winner.confirmed else 0
    which = [winner.trial.number, trained_run(winner).seed, runs]
    before = study.user_attrs.get(_WINNER)
    before = before if isinstance(before, dict) else {}
    if before.get("is") == which:
        return
    with tempfile.TemporaryDirectory() as scratch:
        module = Path(scratch) / "winner.py"
        try:
            weights = export_network(record, winner, module)
            keep = partial(upload_artifact, artifact_store=store, study_or_trial=study)
            kinds = {module: "text/x-python", weights: "application/octet-stream"}
            made = [keep(file_path=str(file), mimetype=kind) for file, kind in kinds.items()]
        except OSError as error:
            raise StorageError(f"artifacts: {error}") from None
    study.set_user_attr(_WINNER, {"is": which, "artifacts": made})
    for artifact in before.get("artifacts", []):
        forget_artifact(study, record.storage, str(artifact))
        with suppress(ValueError):  # its user has deleted it there
            store.remove(str(artifact))

"""Optuna, held to what this package uses of it beyond its public interface."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState
from optuna_dashboard import save_plotly_graph_object
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from plotly.graph_objects import Figure

from nas_mnist.execution.optuna_internals import (
    fix_point,
    forget_artifact,
    locked_trial,
    open_trial,
    stale_trials,
    store_figure,
    study_id,
    trial_id,
)
from nas_mnist.execution.queue import claim, finish, first_waiting
from nas_mnist.execution.records import StudyRecord
from nas_mnist.search.space import DEFAULT

PACKAGE = Path(__file__).parents[2] / "nas_mnist"
PRIVATE = re.compile(r"\b(_trial_id|_study_id|_rdb|_cached_storage|_protocol|fixed_params)\b")


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (_CachedStorage, "__init__", ["self", "backend"]),
        (RDBStorage, "_get_stale_trial_ids", ["self", "study_id"]),
        (_CachedStorage, "_get_stale_trial_ids", ["self", "study_id"]),
        (models.TrialModel, "find_or_raise_by_id", ["trial_id", "session", "for_update"]),
        (
            models.TrialUserAttributeModel,
            "find_by_trial_and_key",
            ["trial", "key", "session"],
        ),
        (models.TrialValueModel, "value_to_stored_repr", ["value"]),
        (optuna.trial.Trial, "__init__", ["self", "study", "trial_id"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_its_functions(owner: type, name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters


def test_its_columns() -> None:
    trial = set(models.TrialModel.__table__.columns.keys())
    value = set(models.TrialValueModel.__table__.columns.keys())
    assert {"trial_id", "number", "study_id", "state"} <= trial
    assert {"objective", "value", "value_type"} <= value


def test_the_dashboard_reads_a_figure_of_one_piece(record: StudyRecord) -> None:
    """No page sees half of it, and what earlier versions left in pieces is gone."""
    long = Figure().add_scatter(x=list(range(9000)), y=list(range(9000)))
    save_plotly_graph_object(record.study, long, graph_object_id="front")
    for points in (5000, 5):
        made = str(Figure().add_scatter(x=list(range(points))).to_json())
        store_figure(record.storage, record.study_id, "front", made)
        kept = record.storage.get_study_system_attrs(record.study_id)
        assert get_plotly_graph_objects(kept) == {"front": made}
        assert [key for key, piece in kept.items() if ":front:" in key and piece] == [
            "dashboard:plot_data:front:0"
        ]


def test_what_is_written_is_what_optuna_reads(record: StudyRecord) -> None:
    """A trial claimed, written and ended here, through Optuna's own public reading."""
    taken = claim(record.storage, record.study_id, first_waiting(1))
    assert taken is not None
    with locked_trial(record.storage, taken) as row:
        assert row.state == TrialState.RUNNING
        assert row.started is not None
        row.write(note={"a": [1, None]})
        assert row.read("note") == {"a": [1, None]}
        assert row.read("nothing") is None
    assert finish(record.storage, taken, TrialState.COMPLETE, [100.0, 97.5], {"last": True})
    plain = optuna.load_study(study_name="demo", storage=record.url)
    (trial,) = plain.get_trials(states=(TrialState.COMPLETE,))
    assert trial_id(trial) == taken
    assert trial.values == [100.0, 97.5]
    assert trial.user_attrs["note"] == {"a": [1, None]}
    assert trial.user_attrs["last"] is True
    assert trial.datetime_complete is not None
    assert plain.best_trials == [trial]
    assert study_id(plain) == record.study_id


def test_a_fixed_point_is_what_is_sampled(record: StudyRecord) -> None:
    taken = claim(record.storage, record.study_id, first_waiting(1))
    assert taken is not None
    point = DEFAULT.point({"pools": 3, "fill": 0.25})
    fix_point(record.storage, taken, point)
    fix_point(record.storage, taken, DEFAULT.point({}))  # the first counts
    assert DEFAULT.suggest(open_trial(record.study, taken)) == point


def test_no_trial_is_stale_at_first(record: StudyRecord) -> None:
    claim(record.storage, record.study_id, first_waiting(1))
    assert stale_trials(record.storage, record.study_id) == set()


def test_an_artifact_that_is_forgotten(record: StudyRecord, tmp_path: Path) -> None:
    store = optuna.artifacts.FileSystemArtifactStore(tmp_path)
    (tmp_path / "file").write_text("content")
    artifact = optuna.artifacts.upload_artifact(
        artifact_store=store, file_path=str(tmp_path / "file"), study_or_trial=record.study
    )
    found = optuna.artifacts.get_all_artifact_meta(record.study)
    assert [meta.artifact_id for meta in found] == [artifact]
    forget_artifact(record.study, record.storage, artifact)
    attributes = record.storage.get_study_system_attrs(record.study_id)
    assert attributes[f"artifacts:{artifact}"] == "null"  # as the dashboard writes it


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_no_other_module_knows_of_it(file: Path) -> None:
    if file.name == "optuna_internals.py":
        return
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("optuna"):
            names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value] if node.value in ("fixed_params", "artifacts:") else []
        assert not any(PRIVATE.fullmatch(name) or name == "artifacts:" for name in names), names

"""A small search on the digits, and what it must leave however it went."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import NullPool
from sqlalchemy.exc import SQLAlchemyError

from nas_mnist.arch.notation import parse_notation
from nas_mnist.search.artifacts import Weights, read_weights
from nas_mnist.search.storage import open_storage
from tests.conftest import command

DIGITS = (
    *("search", "--dataset", "digits", "--budget", "1500", "--epochs", "3", "--study", "demo"),
    *("--train-samples", "200", "--no-confirm"),
)


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/studies/demo.db"


def trials(url: str) -> list[FrozenTrial]:
    """The study as plain Optuna reads it; none before there is one."""
    with suppress(KeyError, SQLAlchemyError, optuna.exceptions.StorageInternalError):
        storage = optuna.storages.RDBStorage(
            url, engine_kwargs={"poolclass": NullPool}, skip_table_creation=True
        )
        return optuna.load_study(study_name="demo", storage=storage).trials
    return []


def wait_for(url: str, state: TrialState, count: int = 1, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while sum(trial.state == state for trial in trials(url)) < count:
        assert time.monotonic() < deadline, f"no {state} within {seconds} s"
        time.sleep(0.2)


def check_whole(url: str, total: int, epochs: int = 3) -> None:
    """Every trial of the study has ended, within its budget, with a curve of its own; what two
    searches made beyond the total was never run."""
    storage = open_storage(url, create=False)
    found = optuna.load_study(study_name="demo", storage=storage).trials
    assert [trial.number for trial in found] == list(range(len(found)))
    assert all(trial.state == TrialState.WAITING for trial in found[total:])
    assert len(found) >= total
    for trial in found[:total]:
        assert trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        attrs = trial.user_attrs
        done = [entry["epoch"] for entry in attrs["curve"]]
        assert done == list(range(1, len(done) + 1))
        assert attrs["parameters"] <= 1500
        assert parse_notation(attrs["notation"]).parameters == attrs["parameters"]
        if trial.state == TrialState.COMPLETE:
            assert len(done) == epochs
            assert trial.values == [attrs["parameters"], attrs["curve"][-1]["val_accuracy"]]
            assert read_weights(Weights.of(attrs["weights"]), "demo", storage, 10**6)
        else:
            assert attrs["pruned"]["epoch"] == len(done) < epochs


def started(folder: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Such a search, running."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        command(*DIGITS, *arguments), cwd=folder, text=True, **{**pipes, **options}
    )

"""A small search on the digits, and what it must leave however it went."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import NullPool
from sqlalchemy.exc import SQLAlchemyError

from nas_mnist.execution.records import StudyRecord, load_study
from nas_mnist.execution.store import open_storage, read_weights
from nas_mnist.networks.architecture import parse_notation
from tests.conftest import command

DIGITS = (
    *("search", "--dataset", "digits", "--budget", "1500", "--epochs", "3", "--study", "demo"),
    *("--train-samples", "200", "--reruns", "0", "--no-confirm"),
)


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/studies/demo.db"


def study_in(folder: Path) -> StudyRecord:
    return load_study("demo", url_of(folder))


def runs_beside(folder: Path, ending: str) -> list[FrozenTrial]:
    """The reruns or the confirmation of the search in that folder, as plain Optuna reads them."""
    return optuna.load_study(study_name="demo" + ending, storage=url_of(folder)).trials


def trials(url: str) -> list[FrozenTrial]:
    """The study as plain Optuna reads it; none before there is one."""
    with suppress(KeyError, SQLAlchemyError, optuna.exceptions.StorageInternalError):
        storage = optuna.storages.RDBStorage(
            url, engine_kwargs={"poolclass": NullPool}, skip_table_creation=True
        )
        return optuna.load_study(study_name="demo", storage=storage).trials
    return []


def wait_for_complete(search: subprocess.Popen[str], url: str, count: int = 1) -> None:
    """Until that many trials are complete, with the search still running."""
    for found in _looks(search, url):
        if sum(trial.state == TrialState.COMPLETE for trial in found) >= count:
            return


def running_workers(search: subprocess.Popen[str], url: str, count: int = 1) -> list[int]:
    """The process numbers of the workers that have a trial, once there are that many; a trial is
    taken first, and signed a moment later."""
    for found in _looks(search, url):
        owners = [
            trial.user_attrs["worker"]["pid"]
            for trial in found
            if trial.state == TrialState.RUNNING and "worker" in trial.user_attrs
        ]
        if len(owners) >= count:
            return owners
    raise AssertionError  # looks do not end by themselves


def _looks(
    search: subprocess.Popen[str], url: str, seconds: float = 240
) -> Iterator[list[FrozenTrial]]:
    """The trials, again and again while the search runs."""
    deadline = time.monotonic() + seconds
    while True:
        assert search.poll() is None, f"the search ended too early: {search.communicate()}"
        found = trials(url)
        yield found
        assert time.monotonic() < deadline, [trial.state.name for trial in found]
        time.sleep(0.1)


def check_finished(url: str, total: int, epochs: int = 3) -> None:
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
            assert read_weights(attrs["weights"]["artifact"], "", "demo", storage, 10**6)
        else:
            assert attrs["pruned"]["epoch"] == len(done) < epochs


@contextmanager
def started(folder: Path, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Such a search, running; it does not outlive the block."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        command(*DIGITS, *arguments), cwd=folder, text=True, **{**pipes, **options}
    ) as search:
        try:
            yield search
        finally:
            search.kill()

"""A study without a search: on a file, and on a server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from nas_mnist.execution.creation import make_study
from nas_mnist.execution.optuna_internals import Storage
from nas_mnist.execution.queue import claim, first_waiting
from nas_mnist.execution.records import StudyRecord
from nas_mnist.execution.spec import SearchConfig
from tests.postgres import server

NORMALIZATION = (0.1, 0.3)


def config(folder: Path, **settings: object) -> SearchConfig:
    own = {"study": "demo", "storage": f"sqlite:///{folder}/demo.db", "trials": 6}
    return SearchConfig(**{**own, **settings})  # type: ignore[arg-type]


def take(storage: Storage, study_id: int, total: int) -> int | None:
    return claim(storage, study_id, first_waiting(total))


@pytest.fixture
def record(tmp_path: Path) -> StudyRecord:
    return make_study(config(tmp_path), NORMALIZATION)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with server() as url:
        yield url


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """The URL of a new database on a server."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return postgres_server.replace("/postgres", f"/{name}")

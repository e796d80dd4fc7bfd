"""What all tests share: the real data, a command-line runner, and one finished search."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from nas_mnist.cli.main import main
from nas_mnist.search.study import StudyRecord, load_study
from nas_mnist.training.datasets import Dataset, load_dataset

settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")

if os.environ.get("NAS_MNIST_DATA"):  # commands run in folders of their own
    os.environ["NAS_MNIST_DATA"] = str(Path(os.environ["NAS_MNIST_DATA"]).resolve())
# One thread, as a worker has: two that spin beside a worker slow each other down many times.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


CommandLine = Callable[..., Finished]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "nas_mnist", *arguments]


@pytest.fixture
def nas_mnist(tmp_path: Path) -> CommandLine:
    """Runs `nas-mnist` in the test's own folder, as a shell would."""
    return runner(tmp_path)


def runner(folder: Path) -> CommandLine:
    def run(*arguments: str, **options: Any) -> Finished:
        done = subprocess.run(
            command(*arguments),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            **options,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> CommandLine:
    """Runs a request that is to be refused, in this process: no time to start another."""

    def run(*arguments: str) -> Finished:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["nas-mnist", *arguments])
        before = signal.getsignal(signal.SIGTERM)
        try:
            code = main()
        finally:
            signal.signal(signal.SIGTERM, before)
        out, err = capfd.readouterr()
        return Finished(code, out, err)

    return run


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    """The real images; where there are none they are downloaded, and without network the tests
    that need them fail and say what to do."""
    return load_dataset("mnist")


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits")


@dataclass(frozen=True)
class Search:
    """A finished search, run by the command line in a folder of its own."""

    folder: Path
    arguments: tuple[str, ...]
    finished: Finished

    def record(self) -> StudyRecord:
        return load_study("demo", f"sqlite:///{self.folder}/studies/demo.db")


@pytest.fixture(scope="session")
def digits_search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """A real search on scikit-learn's digits, with two workers."""
    folder = tmp_path_factory.mktemp("digits-search")
    arguments = (
        *("search", "--dataset", "digits", "--study", "demo", "--budget", "1500"),
        *("--trials", "12", "--epochs", "4", "--train-samples", "300", "--workers", "2"),
        *("--no-confirm", "--json"),
    )
    return Search(folder, arguments, runner(folder)(*arguments))

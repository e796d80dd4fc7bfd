"""What all tests share: the real data, a command-line runner, and one finished search."""

from __future__ import annotations

import io
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from hypothesis import settings

from nas_mnist.cli import main
from nas_mnist.errors import RequestError
from nas_mnist.execution.records import StudyRecord, load_study
from nas_mnist.lookup import import_plugin, module_of
from nas_mnist.training.datasets import Dataset, load_dataset

settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")

if os.environ.get("NAS_MNIST_DATA"):  # commands run in folders of their own
    os.environ["NAS_MNIST_DATA"] = str(Path(os.environ["NAS_MNIST_DATA"]).resolve())
# One thread, as a worker has: two that spin beside a worker slow each other down many times.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("COLUMNS", None)  # a terminal's own, which tables would fit
torch.set_num_threads(1)

# SQLite waits for the disk at each of a trial's fifty writes, though nothing here tests what a loss
# of power leaves: where there is room, the tests' folders lie in memory.
MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2**31:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# Started in the background of a shell, this process ignores Ctrl-C, and so would its commands.
signal.signal(signal.SIGINT, signal.default_int_handler)

SECONDS = 300

# The files whose tests take minutes, the longest first: one that comes last is waited for alone.
LONG = (
    *(
        "readme",
        "run",
        "reruns",
        "survival",
        "machines",
        "scripts",
        "first_user",
        "dashboard_extras",
    ),
    *("pack", "store", "confirmation", "explain", "api", "errors", "queue", "timeout", "extension"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each process takes whole files, in this order."""

    def rank(item: pytest.Item) -> int:
        name = item.path.stem.removeprefix("test_")
        return LONG.index(name) if name in LONG else len(LONG)

    items.sort(key=rank)


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


def named(text: str) -> str:
    """The name, with its module imported as where a user names it, if there is such a module."""
    module = module_of(text)
    if module is not None:
        with suppress(RequestError):
            import_plugin(module)
    return text


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "nas_mnist", *arguments]


@pytest.fixture
def nas_mnist(tmp_path: Path) -> CommandLine:
    """Runs `nas-mnist` in the test's own folder."""
    return runner(tmp_path)


def runner(folder: Path) -> CommandLine:
    """Runs `nas-mnist` in that folder, within this process: importing torch and the dashboard
    takes longer than most of what is run. Workers are processes, as ever."""

    def run(*arguments: str) -> Finished:
        out, err = io.StringIO(), io.StringIO()
        command = ("nas-mnist", *arguments)
        with _as_a_command(folder, command), redirect_stdout(out), redirect_stderr(err):
            code = main()
        return Finished(code, out.getvalue(), err.getvalue())

    return run


def run_script(folder: Path, script: Path, *arguments: object) -> Finished:
    """Runs a script of `studies` in that folder, within this process too."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    command = (str(script), *map(str, arguments))
    with _as_a_command(folder, command), redirect_stdout(out), redirect_stderr(err):
        sys.path.insert(0, str(script.parent))
        sys.warnoptions.append("error")  # for the processes that it starts
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            code = ended.code
        finally:
            sys.warnoptions.remove("error")
    return Finished(code, out.getvalue(), err.getvalue())


@contextmanager
def _as_a_command(folder: Path, command: tuple[str, ...]) -> Iterator[None]:
    """This process as that of a command, with as much time as one has."""

    def too_long(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"{command} takes more than {SECONDS} s")

    argv, sys.argv = sys.argv, [*command]
    path, sys.path = sys.path, [*sys.path]
    terminated = signal.getsignal(signal.SIGTERM)  # the command sets its own handler
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        with chdir(folder):
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGTERM, terminated)
        sys.argv, sys.path = argv, path


def run_process(folder: Path, *arguments: str, **options: Any) -> Finished:
    """Runs `nas-mnist` as a shell would."""
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        **options,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


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

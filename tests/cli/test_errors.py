"""Bad input of every kind: one clear line, the right exit code, nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from nas_mnist.execution.creation import make_study
from nas_mnist.execution.records import load_study
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.training.datasets import Dataset, data_folder
from tests.conftest import CommandLine, Finished, Search, command, run_process, runner

# Without this, a machine with a network would download what a test wants missing.
NO_NETWORK = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


def check_refused(done: Finished, code: int, message: str) -> None:
    assert done.code == code, done.err
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_a_refusal_as_a_shell_sees_it(tmp_path: Path) -> None:
    check_refused(run_process(tmp_path, "search", "--budget", "90"), 2, "raise --budget")
    assert run_process(tmp_path, "inspect", "c10rn-g").code == 0


REFUSED = [
    (["search", "--budgets", "1"], 2, "No such option"),
    (["search", "--budget", "many"], 2, "--budget must be a whole number, not 'many'"),
    (["search", "--budget", "90"], 2, "budget 90 is below the smallest network of this skeleton"),
    (["search", "--budget", "-5"], 2, "budget -5 is below the smallest network"),
    (["search", "--smallest", "0"], 2, "--smallest 0 is not within 1 to"),
    (["search", "--smallest", "143"], 2, "--smallest 143 is below the smallest network of this s"),
    (["search", "--smallest", "8001"], 2, "--smallest 8,001 is above the budget (8,000 parameters"),
    (["search", "--trials", "0"], 2, "--trials 0 is not within"),
    (["search", "--epochs", "0"], 2, "--epochs 0 is not within"),
    (["search", "--workers", "0"], 2, "--workers 0 is not within"),
    (["search", "--dataset", "minst"], 2, "dataset 'minst' is not one of mnist, fashion-mnist"),
    (["search", "--dataset", "digits", "--device", "tpu"], 2, "device 'tpu' is not usable here"),
    (["search", "--dataset", "digits", "--train-samples", "5000"], 2, "not within 2 to 1199"),
    (["search", "--study", "a/b"], 2, "study name 'a/b' must be"),
    (["search", "--config", "none.toml"], 2, "--config none.toml: No such file"),
    (["search", "--recipe", "batch_size"], 2, "is not KEY=VALUE"),
    (["search", "--recipe", "batch=3"], 2, "unknown setting 'batch'; did you mean batch_size?"),
    (["search", "--recipe", "learning_rate=1"], 2, "learning_rate cannot be set in a search"),
    (["search", "--dataset", "digits", "--storage", "x"], 2, "--storage must be a database URL"),
    (["search", "--dataset", "digits", "--storage", "oracle9://h/d"], 2, "no driver for"),
    (["front", "nosuch"], 2, "storage studies/nosuch.db: no such file"),
    (["front", "a/b"], 2, "study name 'a/b' must be"),
    (["front", "a" * 600], 2, "study name 'aaaaaaaaaaaa...aaaaaaaaaaaaa' must be 1 to 100 letters"),
    (["front", ""], 2, "study name '' must be"),
    (["front"], 2, "Missing argument"),
    (["inspect", "nosuch:3"], 2, "storage studies/nosuch.db: no such file"),
    (["inspect", "demo:x"], 2, "'demo:x' is not STUDY:TRIAL"),
    (["inspect", "a7-no-dropout-7885"], 2, "is no reference; `nas-mnist references` lists"),
    (["inspect", "a7"], 2, "'a7' is no reference; `nas-mnist references` lists them, such as a7-"),
    (["inspect", "g-c1k1"], 2, "ends in 1×1×1 values"),
    (["search", "--study", ""], 2, "--study is empty"),
    (["train", "c10k28", "--recipe", "epochs=3"], 2, "--epochs sets the epochs"),
    (["inspect", "c10rq"], 2, "no layer starts with 'q' at character 5"),
    (["inspect", "c9rn"], 2, "ends in 9×26×26 values, not in scores of 2 to 100 classes"),
    (["train", "c10rn-g", "--seeds", "0"], 2, "--seeds 0 is not within 1 to 100"),
    (["train", "c10rn-g", "--seeds", "101"], 2, "--seeds 101 is not within 1 to 100"),
    (["train", "c10rn-g", "--epochs", "1.5"], 2, "--epochs must be a whole number, not '1.5'"),
    (["confirm", "x", "--most-accurate", "-1"], 2, "--most-accurate -1 is below 0"),
    (["inspect", "c4-" * 257 + "g-c10k1"], 2, "notation 'c4-c4-c4-c4-c4-c4-c4-c4-c4-c4-c4-c4-c4-"),
    (["search", "--config", ""], 2, "--config names no file"),
    (["train", "c10rn-g", "--dataset", "../p/ds:ok"], 2, "module '../p/ds' is a path; name it as"),
    (["train", "c10rn-g", "--dataset", "digits", "--epochs", "0"], 2, "--epochs 0 is not within"),
    (["export", "nosuch", "-o", "w.py"], 2, "storage studies/nosuch.db: no such file"),
    (["export", "nosuch", "-o", "w.txt"], 2, "w.txt must end in .py"),
    (["export", "nosuch", "-o", "w.py", "--trial", "1", "--at-least", "9"], 2, "exclude each oth"),
    (["export", "nosuch", "-o", "w.py", "--onnx", "--no-weights"], 2, "exclude each other"),
    (["search", "--callback", "log"], 2, "--callback 'log' is not MODULE:FUNCTION"),
    (["search", "--callback", "nosuch:log"], 2, "module 'nosuch' cannot be imported"),
    (["search", "--callback", "math:nosuch"], 2, "--callback 'math:nosuch': math has no 'nosuch'"),
    (["search", "--callback", "math:pi"], 2, "--callback 'math:pi' is no function"),
    (["nosuch"], 2, "No such command 'nosuch'"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "message"), REFUSED, ids=[" ".join(row[0]) for row in REFUSED]
)
def test_requests_that_are_wrong(
    nas_mnist: CommandLine, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    done = nas_mnist(*arguments)
    check_refused(done, code, message)
    assert not list(tmp_path.rglob("*"))  # nothing was made


@pytest.mark.parametrize("given", ["--data-dir", "NAS_MNIST_DATA", "cache"])
def test_no_files_and_no_network(
    nas_mnist: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
) -> None:
    for name, value in NO_NETWORK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("NAS_MNIST_DATA", raising=False)
    options: list[str] = []
    folder = tmp_path / "nas-mnist"
    if given != "cache":
        folder = tmp_path / "data"
    if given == "--data-dir":
        options = ["--data-dir", str(folder)]
    elif given == "NAS_MNIST_DATA":
        monkeypatch.setenv("NAS_MNIST_DATA", str(folder))
    done = nas_mnist("search", "--trials", "1", *options)
    assert done.code == (1 if given == "cache" else 2)
    line = done.err.splitlines()[-1]
    if given == "cache":
        said = f"error: mnist: no files in {folder}/MNIST/raw and none could be downloaded"
        assert line.startswith(said) and "--data-dir" in line and "--dataset digits" in line
    else:  # perhaps mistyped: nothing is made
        assert line.startswith(f"error: mnist: cannot read {folder}: No such folder; name ")
        assert not list(tmp_path.iterdir())
    assert "Traceback" not in done.err
    assert not (tmp_path / "studies").exists()


def test_truncated_data_makes_no_study(
    nas_mnist: CommandLine, tmp_path: Path, mnist: Dataset
) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (data_folder(None) / "MNIST" / "raw").glob("*-ubyte"):
        shutil.copy(file, raw)
    images = raw / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:1_000_000])
    done = nas_mnist("search", "--trials", "1", "--data-dir", str(tmp_path / "data"))
    check_refused(done, 1, "are truncated or corrupt")
    assert not (tmp_path / "studies").exists()


@pytest.fixture
def copied_search(digits_search: Search, tmp_path: Path) -> Search:
    """The finished search in a folder of the test's own."""
    folder = tmp_path / "copy"
    shutil.copytree(digits_search.folder, folder)
    return Search(folder, digits_search.arguments, digits_search.finished)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--budget", "1600"], "made with budget 1500, not 1600; give the same --budget"),
        (["--dataset", "mnist"], "made with dataset digits, not mnist"),
        (["--epochs", "5"], "made with epochs 4, not 5"),
        (["--seed", "3"], "made with seed 0, not 3"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_study_of_another_request(copied_search: Search, change: list[str], message: str) -> None:
    database = copied_search.folder / "studies" / "demo.db"
    before = copied_search.record().trials()
    done = runner(copied_search.folder)(*copied_search.arguments, *change)
    check_refused(done, 2, message)
    assert copied_search.record().trials() == before
    assert database.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["front", "other", "--storage", "sqlite:///studies/demo.db"], 2, "it has 'demo'"),
        (["inspect", "demo:99"], 2, "has no network of a trial 99"),
        (
            ["inspect", "demos"],
            2,
            "'demos' is no study; `nas-mnist studies` lists them, such as de",
        ),
        (["export", "demo", "-o", "w.py", "--trial", "99"], 2, "has no completed trial 99"),
        (["export", "demo", "-o", "w.py", "--at-least", "100"], 2, "no network that has 100% on"),
        (["export", "demo", "-o", "studies/demo.db/w.py"], 2, "studies/demo.db"),
        (["front", "demo", "--figure", "x.gif"], 2, "must be .html, .png or .svg"),
        (["front", "demo", "--reproduced", "s.json"], 2, "--reproduced goes with --figure"),
        (["report", "demo", "-o", "r.html", "--reproduced", "s.json"], 1, "s.json: No such file"),
        (["front", "demo", "--csv", "studies/demo.db/f.csv"], 1, "studies/demo.db/f.csv: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_requests_to_a_study(
    copied_search: Search, arguments: list[str], code: int, message: str
) -> None:
    done = runner(copied_search.folder)(*arguments)
    assert done.code == code
    line = done.err.splitlines()[-1]
    assert line.startswith("error: ")
    assert message in line
    assert "Traceback" not in done.err


def test_a_corrupt_database_is_left_alone(copied_search: Search) -> None:
    database = copied_search.folder / "studies" / "demo.db"
    database.write_bytes(b"\0" * 100 + database.read_bytes()[100:])
    before = database.read_bytes()
    for arguments in (copied_search.arguments, ("front", "demo")):
        done = runner(copied_search.folder)(*arguments)
        check_refused(done, 1, "storage sqlite:///studies/demo.db: ")
    assert database.read_bytes() == before


def test_a_locked_database_is_named(copied_search: Search) -> None:
    database = copied_search.folder / "studies" / "demo.db"
    with sqlite3.connect(database) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        url = "sqlite:///studies/demo.db?timeout=1"
        done = runner(copied_search.folder)("front", "demo", "--storage", url)
        check_refused(done, 1, "database is locked")


def test_missing_weights_are_named(copied_search: Search) -> None:
    shutil.rmtree(copied_search.folder / "studies" / "demo")
    done = runner(copied_search.folder)("export", "demo", "-o", "w.py")
    check_refused(done, 1, "its weights are not in studies/demo/artifacts")
    assert not (copied_search.folder / "w.py").exists()
    done = runner(copied_search.folder)("export", "demo", "-o", "w.py", "--no-weights")
    assert done.code == 0 and done.err.endswith("wrote w.py, without weights\n")
    assert "class Network(nn.Module):" in (copied_search.folder / "w.py").read_text()
    assert not [*copied_search.folder.glob("w.pt"), *copied_search.folder.glob("w.md")]
    (copied_search.folder / "w.pt").write_bytes(b"another's")
    done = runner(copied_search.folder)("export", "demo", "-o", "w.py", "--no-weights")
    check_refused(done, 2, "w.pt is there, of another export; choose another name")


def test_a_full_disk_ends_the_search_and_loses_nothing(
    nas_mnist: CommandLine, tmp_path: Path
) -> None:
    arguments = (
        *("search", "--dataset", "digits", "--study", "demo", "--budget", "1500"),
        *("--trials", "14", "--epochs", "1", "--train-samples", "200", "--workers", "1"),
        "--no-confirm",
    )
    make_study(
        SearchConfig(
            dataset="digits",
            study="new",
            storage=f"sqlite:///{tmp_path}/new.db",
            budget=1500,
            trials=14,
            epochs=1,
            train_samples=200,
        ),
        (0.3, 0.3),
    )
    room = (tmp_path / "new.db").stat().st_size + 2000

    def limit_files() -> None:
        """No file of the search may grow beyond its new database: a full disk, as it meets it."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    full = run_process(tmp_path, *arguments, preexec_fn=limit_files)
    assert full.code == 1
    line = full.err.splitlines()[-1]
    assert line.startswith("error: ")
    assert "finished trials are kept" in line
    assert "Traceback" not in full.err
    record = load_study("demo", f"sqlite:///{tmp_path}/studies/demo.db")
    kept = [trial for trial in record.trials() if trial.state.is_finished()]
    assert 0 < len(kept) < 14

    assert nas_mnist(*arguments).code == 0
    assert record.counts().finished == 14
    assert [record.trials()[trial.number] for trial in kept] == kept


def test_no_right_to_write(nas_mnist: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("a file where the folder should be")
    done = nas_mnist("search", "--dataset", "digits", "--trials", "1")
    check_refused(done, 1, "storage studies/digits-8000.db: ")


def test_an_artifact_folder_that_cannot_be(nas_mnist: CommandLine, tmp_path: Path) -> None:
    """The weights cannot be kept: the search ends, and its trial waits for a better folder."""
    (tmp_path / "taken").write_text("a file")
    arguments = (
        *("search", "--dataset", "digits", "--study", "demo", "--trials", "1"),
        *("--epochs", "1", "--budget", "1500", "--train-samples", "200", "--no-confirm"),
    )
    done = nas_mnist(*arguments, "--artifact-dir", "taken/weights")
    assert done.code == 1
    assert "error: artifacts taken/weights: " in done.err.splitlines()[-1]
    assert nas_mnist(*arguments, "--artifact-dir", "free/weights").code == 0
    refused = nas_mnist("export", "demo", "-o", "made.py")  # no database says where they are
    check_refused(refused, 1, "say with --artifact-dir where they are")
    there = ("--artifact-dir", "free/weights")
    assert nas_mnist("export", "demo", "-o", "made.py", *there).code == 0


def test_a_pipe_that_closes_early_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{' '.join(command('references'))} | head -n 1",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Hand-made networks" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize(
    "arguments",
    [("references",), ("references", "--json"), ("--help",), ("search", "--help"), ("--version",)],
    ids=" ".join,
)
def test_output_that_cannot_be_written(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command(*arguments), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "error: standard output: No space left on device\n"


@pytest.mark.parametrize("stream", ["full", "closed"])
def test_standard_error_that_cannot_be_written(tmp_path: Path, stream: str) -> None:
    """It ends no search, and changes no exit code."""
    reading, writing = os.pipe()
    os.close(reading)
    where = "/dev/full" if stream == "full" else writing
    arguments = (
        *("search", "--dataset", "digits", "--study", "demo", "--trials", "2", "--epochs", "1"),
        *("--budget", "1500", "--train-samples", "200", "--no-confirm", "--json"),
    )
    with open(where, "w") as err:  # noqa: PTH123
        done = subprocess.run(command(*arguments), cwd=tmp_path, stdout=-1, stderr=err, check=False)
        wrong = subprocess.run(command("inspect", "xx"), stderr=err, check=False)
    assert (done.returncode, wrong.returncode) == (0, 2)
    assert json.loads(done.stdout)["front"]
    assert (tmp_path / "runs/demo/front.csv").exists()


def test_weights_that_are_gone_hide_nothing_else(copied_search: Search) -> None:
    results = copied_search.folder / "runs" / "demo"
    shutil.rmtree(copied_search.folder / "studies" / "demo")
    shutil.rmtree(results)
    done = runner(copied_search.folder)(*copied_search.arguments)
    assert done.code == 1
    assert done.json == copied_search.finished.json
    assert "its weights are not in studies/demo/artifacts" in done.err.splitlines()[-1]
    assert (results / "front.csv").exists() and (results / "report.html").exists()


def test_closed_streams_are_no_error(tmp_path: Path) -> None:
    """Else the study's file would be opened in the place of standard output."""
    arguments = (
        *("search", "--dataset", "digits", "--study", "demo", "--trials", "1"),
        *("--epochs", "1", "--budget", "1500", "--train-samples", "200", "--no-confirm"),
    )
    line = f"{shlex.join(command(*arguments))} <&- >&- 2>&-"
    subprocess.run(line, shell=True, cwd=tmp_path, check=True)
    assert (tmp_path / "runs/demo/front.csv").exists()

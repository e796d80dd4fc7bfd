"""What first users, and hostile ones, tried: each ends as it should, in one line where it fails."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import optuna
import pytest

from nas_mnist.execution.estimates import front
from nas_mnist.execution.records import load_study
from nas_mnist.training.datasets import data_folder
from tests.conftest import CommandLine, Search, command, run_process, runner


@pytest.fixture
def study(digits_search: Search, tmp_path: Path) -> Path:
    """A folder with a finished search of this test's own."""
    folder = tmp_path / "copy"
    shutil.copytree(digits_search.folder, folder)
    return folder


FILE = "sqlite:///{}/demo.db"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["front", "a", "--storage", "postgresql+psycopg://u:secret@host:PORT/db"], 2, "URL such"),
        (["front", "a", "--storage", "http://[::1"], 2, "must be a database URL such as"),
        (
            ["search", "--dataset", "digits", "--storage", "sqlite:///x.db?timeout=abc"],
            2,
            "URL such",
        ),
        (["search", "--budget", "1000000000"], 2, "above the largest network of this skeleton"),
        (["search", "--config", "bom.toml"], 2, "bom.toml: unknown setting 'budge'; did you mean"),
        (["search", "--config", "binary.toml"], 2, "binary.toml: not TOML: it is not text in UT"),
        (["search", "--config", "one.toml"], 2, "one.toml: plugins must be a list, not 'own'"),
        (["search", "--config", "nul.toml"], 2, "--results-dir has a NUL character in it"),
        (["search", "--dataset", "digits", "--results-dir", "file/x"], 2, "file/x"),
        (["search", "--dataset", "digits", "--results-dir", "/proc/x"], 2, "can be made in /proc"),
        (["train", "c4rn-g-c10k1", "--data-dir", "mistyped"], 2, "mistyped: No such folder"),
        (["train", "c4rn-g-c10k1", "-o", "net.txt"], 2, "net.txt must end in .py"),
        (["train", "c4rn-g-c10k1", "-o", "own.py"], 2, "own.py is there and was not exported by"),
        (["train", "c4rn-g-c10k1", "-o", "data.py"], 2, "data.pt is there and was not exported"),
        (["train", "c4rn-g-c10k1", "-o", "dd.py"], 2, "dd.py is there and is not a file"),
        (["train", "c4rn-g-c10k1", "-o", "ee.py"], 2, "ee.pt is there and is not a file"),
        (["train", "c4rn-g-c10k1", "-o", "file/x.py"], 2, "file/x.py: nothing can be made in"),
        (["train", "c4rn-g-c10k1", "-o", f"{'x' * 300}.py"], 2, "name too long"),
        (["export", "nosuch", "--all", "-o", "n.py"], 2, "n.py: --all writes into a folder"),
        (
            ["export", "nosuch", "--all", "--trial", "1", "-o", "n"],
            2,
            "--trial, --at-least and --all exclude each other",
        ),
        (["front", "nosuch", "--max-parameters", "0"], 2, "--max-parameters"),
        (["export", "nosuch", "-o", "own.py"], 2, "own.py is there and was not exported by"),
        (
            ["search", "--dataset", "digits", "--results-dir", ".", "--study", "own"],
            2,
            "own/winner.py is there and was not exported",
        ),
        (
            ["search", "--dataset", "digits", "--confirm-samples", "70000"],
            2,
            "--confirm-samples 70000 is not within 2 to 1438, the training images there are",
        ),
        (["explain", "c4rn-g-c3k1", "--dataset", "digits"], 2, "3 class scores, and digits has 10"),
        (["explain", "c4rn-g-c10k1", "--workers", "-1"], 2, "--workers"),
        (["reproduce", "a7-8k", "--workers", "0"], 2, "--workers"),
        (["inspect", "mnist-8k", "--storage", "sqlite:///none.db"], 2, "none.db: no such file"),
        (["inspect", "c9999-g-c10k1"], 2, "width 9999 is not within 1 to 1024"),
        (["studies"], 2, "there is no file in studies/"),
        (["studies", "--storage", "sqlite:///none.db"], 2, "none.db: no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_refused(
    nas_mnist: CommandLine, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    for name in ("file", "own.py", "data.pt", "own/winner.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("in the way")
    for name in ("dd.py", "ee.pt"):
        (tmp_path / name).mkdir()
    (tmp_path / "nul.toml").write_text('dataset = "digits"\nresults_dir = "a\\u0000b"\n')
    (tmp_path / "bom.toml").write_bytes(b"\xef\xbb\xbfbudge = 3")
    (tmp_path / "binary.toml").write_bytes(bytes(range(256)))
    (tmp_path / "one.toml").write_text('plugins = "own"')
    before = sorted(tmp_path.iterdir())
    done = nas_mnist(*arguments)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("error: ") and done.err.count("\n") == 1
    assert message in done.err
    assert "secret" not in done.err
    assert sorted(tmp_path.iterdir()) == before  # nothing was made


@pytest.mark.parametrize("shown", ["front", "report", "export", "confirm"])
def test_a_damaged_database(study: Path, shown: str) -> None:
    """Bytes of a text that are no text."""
    with sqlite3.connect(study / "studies" / "demo.db") as database:
        damaged = database.execute(
            "UPDATE trial_user_attributes SET value_json = CAST(x'22fffe22' AS TEXT)"
            " WHERE key = 'notation'"
        )
        assert damaged.rowcount >= 12
    output = {"report": ("-o", "r.html"), "export": ("-o", "w.py")}.get(shown, ())
    done = runner(study)(shown, "demo", *output)
    assert done.code in (1, 2)
    assert done.err.startswith("error: ") and done.err.count("\n") == 1
    assert "Traceback" not in done.err and "finished trials are kept" not in done.err


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        ("DELETE FROM trial_values WHERE {}", "pair of values"),
        ("UPDATE trial_values SET value = NULL, value_type = 'INF_POS' WHERE {}", "pair of values"),
        ("DELETE FROM trial_params WHERE {}", "peak_learning_rate"),
        ("DELETE FROM trial_user_attributes WHERE {} AND key = 'notation'", "notation"),
    ],
)
def test_a_damaged_trial(digits_search: Search, study: Path, damage: str, part: str) -> None:
    """It is named before anything is trained, and runs again by the way out that is said."""
    record = load_study("demo", FILE.format(study / "studies"))
    number = front(record)[0].number
    with sqlite3.connect(study / "studies" / "demo.db") as database:
        database.execute(damage.format(f"trial_id = {number + 1}"))
    run, more = runner(study), ("--trials", "13")
    output = ("-o", "w.py")
    shown = (("front", "demo"), ("export", "demo", *output), ("report", "demo", "-o", "r.html"))
    for arguments in (*shown, (*digits_search.arguments, *more)):
        done = run(*arguments)
        assert (done.code, done.out) == (1, "")
        (line,) = done.err.splitlines()
        said = f"error: study 'demo', trial {number}: its {part} is missing or damaged; "
        assert line.startswith(said)
    assert record.counts().finished == 12
    again = line.split("`")[1]
    with sqlite3.connect(study / "studies" / "demo.db") as database:
        database.execute(again)
    done = run(*digits_search.arguments)
    assert done.code == 0, done.err
    assert run("front", "demo").code == 0
    assert load_study("demo", record.url).counts().finished == 12


def test_damaged_weights(study: Path) -> None:
    for file in (study / "studies" / "demo" / "artifacts").iterdir():
        file.write_text("garbage")
    done = runner(study)("export", "demo", "-o", "w.py")
    assert done.code == 1
    assert "the stored weights are damaged, or not those of" in done.err
    assert "pickle" not in done.err and "torch.load" not in done.err


def test_every_network_of_the_front_is_exported(study: Path) -> None:
    """Into a folder, a module, its weights and its card each; nothing is overwritten there."""
    shown = front(load_study("demo", FILE.format(study / "studies")))
    run = runner(study)
    for _ in range(2):  # the second time over one's own
        done = run("export", "demo", "--all", "-o", "networks")
        assert done.code == 0, done.err
        assert f"wrote {len(shown)} network" in done.err
        names = {f"trial_{trial.number}{kind}" for trial in shown for kind in (".py", ".pt", ".md")}
        assert {file.name for file in (study / "networks").iterdir()} == names
    last = study / "networks" / f"trial_{shown[-1].number}.py"
    assert f"trial {shown[-1].number}" in last.read_text()
    last.write_text("my own")
    before = sorted(file.stat().st_mtime_ns for file in (study / "networks").iterdir())
    done = run("export", "demo", "--all", "-o", "networks")
    assert done.code == 2 and f"{last.name} is there and was not exported by" in done.err
    assert sorted(file.stat().st_mtime_ns for file in (study / "networks").iterdir()) == before


def test_ascii_terminals(study: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for arguments in (["front", "demo"], ["front", "demo", "--json"], ["inspect", "demo:0"]):
        done = run_process(study, *arguments, env=environment)
        assert done.code == 0, done.err


@pytest.mark.parametrize("arguments", [["--help"], ["references", "--json"]], ids=" ".join)
def test_a_reader_that_has_seen_enough(arguments: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        command(*arguments), cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    os.close(reading)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize("kind", ["in the folder", "gzipped"])
def test_images_that_lie_as_they_were_fetched(
    nas_mnist: CommandLine, tmp_path: Path, kind: str
) -> None:
    for file in sorted((data_folder(None) / "MNIST" / "raw").glob("*-ubyte")):
        if kind == "gzipped":
            (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 1))
        else:
            (tmp_path / file.name).symlink_to(file)
    quick = ("--epochs", "1", "--train-samples", "200", "--data-dir", ".")
    assert nas_mnist("train", "c4rn-m2-g-c10k1", *quick).code == 0


def test_totals_that_a_study_is_beyond(digits_search: Search, study: Path) -> None:
    done = runner(study)(*digits_search.arguments, "--trials", "2")
    assert done.code == 0
    assert "12/12 trials (2 asked for)" in done.err


@pytest.mark.parametrize("kind", ["renamed", "another tool's", "another program's"])
def test_a_file_of_other_studies(study: Path, kind: str) -> None:
    """Nothing is begun in it unless it is named."""
    file, url = study / "studies" / "renamed.db", "sqlite:///studies/renamed.db"
    said = f"no study 'renamed' in studies/renamed.db; it has 'demo': name a study of it with {url}"
    said = said.replace("with ", "with --storage ")
    if kind == "renamed":
        shutil.copy(study / "studies" / "demo.db", file)
    elif kind == "another tool's":
        optuna.create_study(study_name="theirs", storage=f"sqlite:///{file}")
        said = said.replace("demo", "theirs")
    else:
        with sqlite3.connect(file) as database:
            database.execute("CREATE TABLE notes (text TEXT)")
        said = f"storage {url}: there are no studies in it, but another program's; choose another"
    before, run = file.read_bytes(), runner(study)
    for arguments in (("front", "renamed"), ("search", "--study", "renamed")):
        done = run(*arguments)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"error: {said}") and done.err.count("\n") == 1
    assert file.read_bytes() == before
    tiny = ("--dataset", "digits", "--budget", "1000", "--epochs", "1", "--train-samples", "100")
    asked = ("search", "--study", "renamed", "--storage", url, "--trials", "1", "--workers", "1")
    done = run(*asked, *tiny, "--no-confirm")
    assert done.code == 0
    assert "study renamed: 1 trial within 1,000 parameters, 1 worker on " in done.err
    assert "parameters on digits, 1 epoch\n" in re.sub(" +\n", "\n", done.out)


def test_studies_are_listed(study: Path) -> None:
    (study / "studies" / "other.db").write_text("no database")
    done = runner(study)("studies", "--json")
    assert done.code == 0
    (found,) = done.json
    assert (found["study"], found["dataset"], found["budget"]) == ("demo", "digits", 1500)
    assert found["complete"] + found["pruned"] == 12
    assert "other.db" in done.err
    assert "demo" in runner(study)("studies", "--storage", FILE.format("studies")).out
    shutil.copy(study / "studies" / "demo.db", study / "studies" / "copy.db")
    copied = runner(study)("studies").out
    assert copied.count("demo") == 2 and copied.count("demo (sqlite:///studies/copy.db)") == 1


def test_a_trial_is_trained_as_its_study_does(study: Path) -> None:
    """On the study's split, and with the trial's seed, to the accuracy that was recorded."""
    record = load_study("demo", FILE.format(study / "studies"))
    trial = front(record)[0]
    run = runner(study)
    done = run("train", f"demo:{trial.number}", "--split", "--json", "-o", "net.py")
    assert done.code == 0, done.err
    assert f"recipe: that of demo:{trial.number}; peak learning rate" in done.err
    assert done.json["dataset"] == "digits"
    assert done.json["seeds"] == [trial.seed]
    assert done.json["recipe"]["epochs"] == record.spec.epochs
    assert done.json["val_accuracy_mean"] == pytest.approx(trial.val_accuracy, abs=1e-4)
    assert (study / "net.pt").exists()
    text = (study / "net.py").read_text()
    assert f"demo:{trial.number}, seed {trial.seed}" in text
    assert run("export", "demo", "-o", "net.py").code == 0  # over one of ours

    done = run("train", f"demo:{trial.number}", "--epochs", "1", "--json")
    assert done.json["recipe"]["epochs"] == 1
    assert done.json["seeds"] == [0]
    done = run("train", "gap-6070", "--dataset", "digits", "--epochs", "1")
    assert "recipe: the default, not its author's" in done.err
    assert ", 1 epoch on 1,4" in done.err
    assert "over the last epoch" in " ".join(done.out.split())

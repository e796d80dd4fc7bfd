"""The study's database: made, continued, and refused."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import cloudpickle
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from nas_mnist.errors import RequestError, StorageError, StudyError
from nas_mnist.execution.creation import make_study
from nas_mnist.execution.launcher import work
from nas_mnist.execution.records import StudyRecord, load_study
from nas_mnist.execution.store import open_storage, shown
from nas_mnist.search.space import DEFAULT
from tests.execution.conftest import NORMALIZATION, config, take


def test_resuming_adds_only_what_is_missing(record: StudyRecord, tmp_path: Path) -> None:
    make_study(config(tmp_path), NORMALIZATION)
    assert record.counts().waiting == 6
    make_study(config(tmp_path, trials=9, workers=1, goal=99.0), NORMALIZATION)
    assert record.counts().waiting == 9
    make_study(config(tmp_path, trials=3), NORMALIZATION)
    assert record.counts().waiting == 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 9000}, "made with budget 8000, not 9000; give the same --budget"),
        ({"dataset": "digits"}, "made with dataset mnist, not digits"),
        ({"epochs": 3}, "made with epochs 15, not 3"),
        ({"seed": 1}, "made with seed 0, not 1; give the same --seed"),
        ({"pruner": "none"}, "made with pruner prediction, not none"),
        ({"train_samples": 100}, "all, not 100; leave out --train-samples to continue it, or"),
        ({"limits": {"macs": 900_000}}, "limits none, not macs=900000; leave out --limit to con"),
        ({"classes": 9}, "classes 10, not 9; give the same --dataset and --data-dir to continue"),
        ({"recipe": {"batch_size": 64}}, "made with recipe batch_size=128, not batch_size=64"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_a_study_of_another_request(
    record: StudyRecord, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    before = record.counts()
    with pytest.raises(StudyError) as caught:
        make_study(config(tmp_path, **settings), NORMALIZATION)
    assert message in str(caught.value)
    assert record.counts() == before


def test_limits_that_are_others(tmp_path: Path) -> None:
    make_study(config(tmp_path, limits={"macs": 900_000}), NORMALIZATION)
    with pytest.raises(StudyError, match="=900000, not macs=800000; give the same --limit "):
        make_study(config(tmp_path, limits={"macs": 800_000}), NORMALIZATION)


def test_a_study_of_another_tool(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/demo.db"
    study = optuna.create_study(study_name="demo", storage=url, directions=["minimize", "maximize"])
    study.ask()
    with pytest.raises(StudyError, match="was not made by nas-mnist search"):
        make_study(config(tmp_path), NORMALIZATION)
    with pytest.raises(StudyError, match="was not made by nas-mnist search"):
        load_study("demo", url)


def test_what_a_study_records(record: StudyRecord) -> None:
    assert record.spec.budget == 8000
    assert record.versions.keys() == {"python", "nas-mnist", "torch", "torchvision", "optuna"}
    assert record.normalization == NORMALIZATION
    assert record.study.user_attrs["split_seed"] == 0
    assert record.study.metric_names == ["parameters", "val_accuracy"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config", {}),
        ("config", "hello"),
        ("config", {"budget": "8000"}),
        ("config", {"budget": 8000, "study": "\x1b[31m"}),
        ("config", {"dataset": "[/bold]"}),
        ("config", {"train_samples": "many"}),
        ("normalization", [0.1, float("nan")]),
        ("normalization", 3),
        ("versions", "1"),
    ],
)
def test_a_study_that_says_nonsense(record: StudyRecord, name: str, value: object) -> None:
    record.study.set_user_attr(name, value)
    with pytest.raises(StudyError, match="was not made by nas-mnist search, or by another ver"):
        load_study("demo", record.url)


def test_a_study_made_before_a_setting_existed(record: StudyRecord) -> None:
    """It has the setting's default, unless a result depends on it."""
    stored = record.study.user_attrs["config"]

    def without(name: str) -> dict[str, object]:
        return {key: value for key, value in stored.items() if key != name}

    record.study.set_user_attr("config", without("most_accurate"))
    assert load_study("demo", record.url).spec == record.spec
    record.study.set_user_attr("config", without("pruner"))
    with pytest.raises(StudyError, match="or by another version"):
        load_study("demo", record.url)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("notation", "import os"),
        ("notation", None),
        ("test_accuracy", float("nan")),
        ("test_accuracy", 101),
        ("seed", float("inf")),
        ("weights", "x"),
        ("weights", {"folder": "/"}),
    ],
)
def test_a_trial_that_says_nonsense(record: StudyRecord, name: str, value: object) -> None:
    rate = FloatDistribution(0.01, 1)
    good = {
        "notation": "c4rn-g-c10k1",
        "test_accuracy": 90.0,
        "seed": 1,
        "curve": [],
        "weights": {"artifact": "a", "artifact_dir": ""},
    }
    for said in (good, {**good, name: value}):
        assert len(record.complete()) == len(record.trials(TrialState.COMPLETE))
        trial_id = take(record.storage, record.study_id, 6)
        assert trial_id is not None
        record.storage.set_trial_param(trial_id, "peak_learning_rate", 0.1, rate)
        for key, text in said.items():
            record.storage.set_trial_user_attr(trial_id, key, text)
        record.storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [84.0, 90.0])
    said = rf"^study 'demo', trial \d: its {name} is missing or damaged; .* WHERE trial_id = \d`$"
    with pytest.raises(StorageError, match=said):
        record.complete()


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
    before = file.read_bytes()
    with pytest.raises(StudyError, match="there are no studies in it"):
        load_study("demo", f"sqlite:///{file}")
    assert file.read_bytes() == before


def test_a_study_that_is_not_there(record: StudyRecord, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"no study 'other' in .*demo\.db; it has 'demo'"):
        load_study("other", record.url)
    with pytest.raises(StudyError, match="no such file"):
        load_study("demo", f"sqlite:///{tmp_path}/none.db")
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("nonsense", RequestError, "--storage must be a database URL"),
        ("sqlite://", RequestError, "SQLite needs a file"),
        ("sqlite:///:memory:", RequestError, "SQLite needs a file"),
        ("nosuch://host/db", RequestError, "no driver for 'nosuch'"),
        ("sqlite:////proc/none/demo.db", StorageError, "/proc/none"),
    ],
)
def test_storages_that_are_refused(url: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        open_storage(url, create=True)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    "make",
    [Path.mkdir, os.mkfifo, lambda file: file.symlink_to(file), lambda file: file.symlink_to("no")],
    ids=["folder", "pipe", "loop", "to nothing"],
)
def test_what_is_not_a_file(make: Callable[[Path], None], create: bool, tmp_path: Path) -> None:
    make(tmp_path / "demo.db")
    with pytest.raises(StorageError, match=r"demo\.db: it is not a file; name another with --sto"):
        open_storage(f"sqlite:///{tmp_path}/demo.db", create=create)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "demo.db"
    file.write_text("not a database, but someone's notes\n" * 100)
    before = file.read_bytes()
    with pytest.raises(StorageError, match=r"\.db: it is damaged, or no database of studies; "):
        make_study(config(tmp_path), NORMALIZATION)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE study_user_attributes SET value_json = '{bad' WHERE key = 'config'",
        "UPDATE trials SET state = 'DONE'",
        "INSERT INTO trial_values VALUES (1, 1, 1, 5, 'FINITE')",
    ],
    ids=["json", "state", "half of the values"],
)
def test_a_damaged_database(record: StudyRecord, tmp_path: Path, damage: str) -> None:
    with sqlite3.connect(tmp_path / "demo.db") as database:
        database.execute(damage)
    with pytest.raises(StorageError) as caught:
        load_study("demo", record.url).trials()
    way_out = "restore a copy of it, or name another with --storage"
    said = f"storage {record.url}: it is damaged, or no database of studies; {way_out}"
    assert str(caught.value) == said


def test_a_database_of_another_optuna(record: StudyRecord, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "demo.db") as database:
        database.execute("UPDATE version_info SET schema_version = 1")
        database.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    with pytest.raises(StorageError) as caught:
        load_study("demo", record.url)
    said = f"storage {record.url}: made by another version of Optuna than {optuna.__version__}; "
    assert str(caught.value).startswith(said)
    assert f"`optuna storage upgrade --storage {record.url}`" in str(caught.value)


def test_passwords_are_not_shown() -> None:
    assert shown("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"


@pytest.mark.parametrize("server", [False, True], ids=["sqlite", "postgresql"])
def test_searches_that_make_the_same_tables(
    server: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Two machines begin at the same instant."""
    url = f"sqlite:///{tmp_path}/demo.db"
    if server:
        url = request.getfixturevalue("postgres")
    barrier = Barrier(6)

    def make(_: int) -> StudyRecord:
        barrier.wait()
        return make_study(config(tmp_path, storage=url), NORMALIZATION)

    with ThreadPoolExecutor(6) as threads:
        records = list(threads.map(make, range(6)))
    assert {record.study_id for record in records} == {1}
    assert records[0].counts().waiting >= 6


@pytest.mark.parametrize("server", [False, True], ids=["sqlite", "postgresql"])
def test_searches_that_make_one_study_with_two_budgets(
    server: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """One makes it, and the other is refused by the difference, ten times out of ten."""
    url = request.getfixturevalue("postgres") if server else f"sqlite:///{tmp_path}/demo.db"
    open_storage(url, create=True)
    barrier = Barrier(2)

    def make(round_: int, budget: int) -> int | str:
        asked = config(tmp_path, storage=url, study=f"r{round_}", budget=budget)
        barrier.wait()
        try:
            return make_study(asked, NORMALIZATION).spec.budget
        except StudyError as error:
            return str(error)

    for round_ in range(10):
        with ThreadPoolExecutor(2) as threads:
            results = list(threads.map(make, (round_, round_), (1000, 3000)))
        (made,) = (result for result in results if isinstance(result, int))
        (refused,) = (result for result in results if isinstance(result, str))
        other = 4000 - made
        assert f"was made with budget {made}, not {other}" in refused
        study = load_study(f"r{round_}", url)
        assert study.spec.budget == made
        first = DEFAULT.first_points(study.spec.limit())
        assert study.study.user_attrs["first"] == first
        assert study.study.user_attrs["config"]["budget"] == made


def test_a_worker_of_another_request_takes_nothing(record: StudyRecord, tmp_path: Path) -> None:
    other = config(tmp_path, budget=3000)
    code, said = work((other, "search", cloudpickle.dumps({})), lambda: None)
    assert code == 2
    assert "made with budget 8000, not 3000" in said
    assert record.counts().waiting == 6


def test_what_was_asked_last_is_remembered(record: StudyRecord, tmp_path: Path) -> None:
    assert record.spec.goal == 99.4
    make_study(config(tmp_path, goal=98.0, trials=9), NORMALIZATION)
    again = load_study("demo", record.url)
    assert (again.spec.goal, again.spec.trials) == (98.0, 9)
    assert again.ask(goal=97.5).spec.goal == 97.5
    assert load_study("demo", record.url).spec.goal == 97.5

"""The queue of trials, on a file and on a server: handed out once each, and taken back when their
process is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Event

import pytest
from optuna.storages._rdb.models import TrialHeartbeatModel
from optuna.trial import TrialState
from sqlalchemy import text
from sqlalchemy.orm import Session

from nas_mnist.errors import StudyError
from nas_mnist.execution.creation import fill_queue, make_study
from nas_mnist.execution.estimates import front
from nas_mnist.execution.optuna_internals import Storage
from nas_mnist.execution.queue import (
    claim,
    finish,
    first_waiting,
    give_back,
    give_back_abandoned,
    heartbeat,
    write_held,
)
from nas_mnist.execution.records import StudyRecord, load_study
from nas_mnist.execution.store import open_storage
from tests.execution.conftest import NORMALIZATION, config, take


@pytest.fixture(params=["sqlite", "postgresql"])
def record(request: pytest.FixtureRequest, tmp_path: Path) -> StudyRecord:
    own = {}
    if request.param == "postgresql":
        own = {"storage": request.getfixturevalue("postgres")}
    return make_study(config(tmp_path, **own), NORMALIZATION)


def states(record: StudyRecord) -> list[TrialState]:
    return [trial.state for trial in record.trials()]


def test_all_trials_wait_from_the_start(record: StudyRecord) -> None:
    assert states(record) == [TrialState.WAITING] * 6
    assert record.study.user_attrs["first"][0]["pools"] == 2  # hand-made comes first


def test_only_a_few_of_many_trials_wait_at_a_time(tmp_path: Path) -> None:
    """Every process reads what has not ended again and again."""
    settings = config(tmp_path, trials=1000, workers=2)
    record = make_study(settings, NORMALIZATION)
    assert record.counts().waiting == 20
    while (trial_id := take(record.storage, record.study_id, 1000)) is not None:
        record.storage.set_trial_state_values(trial_id, TrialState.FAIL)
    assert fill_queue(record, settings) == 20
    assert record.counts() == (0, 0, 20, 0, 20)
    assert fill_queue(record, settings.changed(pack=64)) == 16 + 2 * 65  # enough for both packs


def test_each_trial_is_taken_once(record: StudyRecord) -> None:
    study_id = record.study_id
    storages = [open_storage(record.url, create=False) for _ in range(8)]
    barrier = Barrier(8)

    def take_all(storage: Storage) -> list[int]:
        barrier.wait()
        taken = []
        while (trial_id := take(storage, study_id, 6)) is not None:
            taken.append(trial_id)
        return taken

    with ThreadPoolExecutor(8) as threads:
        taken = [trial_id for each in threads.map(take_all, storages) for trial_id in each]
    assert len(taken) == len(set(taken)) == 6
    assert states(record) == [TrialState.RUNNING] * 6


def test_trials_beyond_the_total_are_left(record: StudyRecord) -> None:
    study_id = record.study_id
    taken = [take(record.storage, study_id, 4) for _ in range(6)]
    assert sum(trial is not None for trial in taken) == 4


def test_a_trial_given_back_keeps_its_number(record: StudyRecord) -> None:
    study_id = record.study_id
    trial_id = take(record.storage, study_id, 6)
    assert trial_id is not None
    give_back(record.storage, trial_id)
    assert states(record) == [TrialState.WAITING] * 6
    assert take(record.storage, study_id, 6) == trial_id


def test_a_finished_trial_stays_finished(record: StudyRecord) -> None:
    trial_id = take(record.storage, record.study_id, 6)
    assert trial_id is not None
    record.storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [100.0, 90.0])
    give_back(record.storage, trial_id)
    assert record.counts().complete == 1


@pytest.mark.parametrize("by_hand", ["WAITING", "RUNNING"])
def test_a_finished_trial_that_is_put_back_by_hand_runs_again(
    record: StudyRecord, by_hand: str
) -> None:
    trial_id = take(record.storage, record.study_id, 6)
    assert trial_id is not None
    assert finish(record.storage, trial_id, TrialState.COMPLETE, [100.0, 90.0], {"worker": None})
    with record.storage.engine.begin() as connection:
        connection.execute(
            text(f"UPDATE trials SET state = '{by_hand}' WHERE trial_id = {trial_id}")
        )
        connection.execute(text("UPDATE trial_heartbeats SET heartbeat = '2001-01-01'"))
    storage = open_storage(record.url, create=False)  # with none of it in its cache
    assert give_back_abandoned(storage, record.study_id) == (by_hand == "RUNNING")
    assert take(storage, record.study_id, 6) == trial_id
    assert storage.get_trial(trial_id).datetime_complete is None
    assert finish(storage, trial_id, TrialState.COMPLETE, [99.0, 80.0])
    assert storage.get_trial(trial_id).values == [99.0, 80.0]


def test_a_dead_process_gives_its_trial_back(record: StudyRecord) -> None:
    """SIGKILL leaves no word: the next search finds the process gone."""
    code = (
        "import os, signal\n"
        "from nas_mnist.execution.queue import claim, first_waiting, heartbeat\n"
        "from nas_mnist.execution.store import open_storage\n"
        f"storage = open_storage({record.url!r}, create=False)\n"
        f"with heartbeat(storage, [claim(storage, {record.study_id}, first_waiting(6))]):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert record.counts().running == 1
    assert give_back_abandoned(record.storage, record.study_id) == 1
    assert record.counts().waiting == 6


def test_a_living_process_keeps_its_trial(record: StudyRecord) -> None:
    trial_id = take(record.storage, record.study_id, 6)
    assert trial_id is not None
    with heartbeat(record.storage, [trial_id]):
        assert give_back_abandoned(record.storage, record.study_id) == 0
    assert record.counts().running == 1


def test_a_trial_is_held_until_it_is_given_back(record: StudyRecord) -> None:
    trial_id = take(record.storage, record.study_id, 6)
    assert trial_id is not None
    assert write_held(record.storage, trial_id, {})
    give_back(record.storage, trial_id)
    assert not write_held(record.storage, trial_id, {})


def owned_by(record: StudyRecord, trial_id: int, **changed: object) -> None:
    """Sign the trial as another process would."""
    owner = record.storage.get_trial(trial_id).user_attrs["worker"]
    record.storage.set_trial_user_attr(trial_id, "worker", {**owner, **changed})


def test_a_process_number_used_again_does_not_keep_a_trial(record: StudyRecord) -> None:
    """After a crash of everything its number may be another program's."""
    trial_id = take(record.storage, record.study_id, 6)
    assert trial_id is not None
    owned_by(record, trial_id, pid=os.getppid(), started=1)
    assert give_back_abandoned(record.storage, record.study_id) == 1
    assert record.counts().waiting == 6


def test_a_dead_process_that_nobody_asks_for_does_not_keep_a_trial(record: StudyRecord) -> None:
    """In a container without an init, the dead stay in the process table."""
    trial_id = take(record.storage, record.study_id, 6)
    assert trial_id is not None
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        stat = Path(f"/proc/{process.pid}/stat")
        owned_by(record, trial_id, pid=process.pid, started=int(stat.read_text().split()[21]))
        assert give_back_abandoned(record.storage, record.study_id) == 0
        process.kill()
        while stat.read_text().split()[2] != "Z":
            pass
        assert give_back_abandoned(record.storage, record.study_id) == 1


def test_another_machines_trial_comes_back_when_its_heartbeat_stops(record: StudyRecord) -> None:
    study_id = record.study_id
    trial_id = take(record.storage, study_id, 6)
    assert trial_id is not None
    owned_by(record, trial_id, machine="another", pid=1)
    assert give_back_abandoned(record.storage, study_id) == 0
    with Session(record.storage.engine) as session, session.begin():
        for row in session.query(TrialHeartbeatModel):
            row.heartbeat -= timedelta(seconds=61)
    assert give_back_abandoned(record.storage, study_id) == 1
    assert record.counts().waiting == 6


def test_a_trial_that_changed_hands_is_not_given_back(record: StudyRecord) -> None:
    """Two searches find the same worker dead; the first gives its trial to the next one."""
    study_id = record.study_id
    trial_id = take(record.storage, study_id, 6)
    assert trial_id is not None
    owned_by(record, trial_id, started=0)
    barrier, urls = Barrier(8), [record.url] * 8

    def give_back_and_take(url: str) -> tuple[int, int | None]:
        storage = open_storage(url, create=False)
        barrier.wait()
        given = give_back_abandoned(storage, study_id)
        return given, claim(storage, study_id, first_waiting(1))

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(give_back_and_take, urls))
    assert sum(given for given, _ in outcomes) == 1
    assert [taken for _, taken in outcomes if taken is not None] == [trial_id]
    assert record.counts().running == 1


def test_who_lost_a_trial_writes_nothing_more(record: StudyRecord) -> None:
    """A machine that slept finds that its trial is another's."""
    trial_id = take(record.storage, record.study_id, 6)
    assert trial_id is not None
    assert write_held(record.storage, trial_id, {"curve": [1]})
    assert write_held(record.storage, trial_id, {"curve": [1, 2]})
    owned_by(record, trial_id, machine="another")
    assert not write_held(record.storage, trial_id, {})
    assert not write_held(record.storage, trial_id, {"curve": [1, 2, 3]})
    assert not finish(record.storage, trial_id, TrialState.COMPLETE, [100.0, 90.0])
    assert not give_back(record.storage, trial_id)
    trial = record.storage.get_trial(trial_id)
    assert (trial.state, trial.user_attrs["curve"]) == (TrialState.RUNNING, [1, 2])


def test_who_lost_a_trial_cannot_complete_it_without_its_weights(record: StudyRecord) -> None:
    """The last attributes, the values and the end are one: the trial is taken for dead between
    two of this process's writes, and another's run clears what was written."""
    trial_id = take(record.storage, record.study_id, 6)
    assert trial_id is not None
    last = {"weights": {"artifact": "mine"}, "test_accuracy": 90.0}
    owned_by(record, trial_id, started=0)  # found dead, given back, and taken again
    assert give_back_abandoned(record.storage, record.study_id) == 1
    assert take(record.storage, record.study_id, 6) == trial_id
    owned_by(record, trial_id, machine="another")
    record.storage.set_trial_user_attr(trial_id, "weights", None)
    assert not finish(record.storage, trial_id, TrialState.COMPLETE, [100.0, 90.0], last)
    found = record.storage.get_trial(trial_id)
    assert (found.state, found.user_attrs["weights"]) == (TrialState.RUNNING, None)


def test_a_trial_ends_with_all_that_belongs_to_it(record: StudyRecord) -> None:
    """Whoever sees it complete sees its weights."""
    study = record.study
    seen = []
    trial_id = take(record.storage, record.study_id, 6)
    assert trial_id is not None
    stop = Event()

    def watch() -> None:
        storage = open_storage(record.url, create=False)
        while not stop.is_set():
            for trial in storage.get_all_trials(record.study_id, deepcopy=False):
                if trial.state == TrialState.COMPLETE:
                    seen.append(trial)
                    return

    with ThreadPoolExecutor(1) as threads:
        watching = threads.submit(watch)
        finish(record.storage, trial_id, TrialState.COMPLETE, [100.0, 90.0], {"weights": "all"})
        watching.result(30)
        stop.set()
    assert seen[0].user_attrs["weights"] == "all"
    assert seen[0].values == [100.0, 90.0]
    assert study.best_trials[0].number == seen[0].number


def test_a_completed_trial_without_weights_is_left_out(record: StudyRecord) -> None:
    """Earlier versions could leave one: it must not keep the others from being shown."""
    trial_id = take(record.storage, record.study_id, 6)
    assert trial_id is not None
    lost = {"weights": None, "test_accuracy": None, "notation": "c4-g-c10k1"}
    finish(record.storage, trial_id, TrialState.COMPLETE, [76.0, 99.0], lost)
    assert front(record) == record.complete() == []
    with pytest.raises(StudyError, match="trial 0 of study 'demo' lost its weights"):
        record.trial(0)
    assert record.counts().complete == 1


def test_a_study_that_lost_a_trial_ends_at_its_total(record: StudyRecord) -> None:
    """Someone deletes rows in the database: others take their numbers' place."""
    asked = record.request(trials=6)
    trial_id = take(record.storage, record.study_id, 6)
    assert trial_id is not None
    with record.storage.engine.begin() as connection:
        for table in ("trial_heartbeats", "trial_user_attributes", "trials"):
            connection.execute(text(f"DELETE FROM {table} WHERE trial_id = {trial_id + 2}"))
    again = load_study(record.name, record.url)
    assert [trial.number for trial in again.trials()] == [0, 1, 3, 4, 5]
    assert fill_queue(again, asked) == 5
    assert [trial.number for trial in again.trials()] == [0, 1, 3, 4, 5, 6]
    while take(again.storage, again.study_id, 6) is not None:
        pass
    assert again.counts().running == 6


def test_searches_that_fill_a_queue_at_once(record: StudyRecord) -> None:
    """Together they make as many trials as were asked for."""
    asked = record.request(trials=60, workers=200)
    barrier = Barrier(4)

    def fill(_: int) -> int:
        own = load_study(record.name, record.url)
        barrier.wait()
        return fill_queue(own, asked)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(fill, range(4)))
    assert [trial.number for trial in record.trials()] == list(range(60))

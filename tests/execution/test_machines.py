"""One study searched by several machines: on PostgreSQL, and over a Ray cluster."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from nas_mnist.execution.records import load_study
from tests.conftest import CommandLine, runner
from tests.execution.finished import (
    DIGITS,
    check_finished,
    running_workers,
    started,
    url_of,
    wait_for_complete,
)
from tests.execution.test_survival import kill, workers_of
from tests.postgres import PASSWORD
from tests.ray_cluster import Cluster, cluster


def text_of(folder: Path) -> str:
    """All that lies in the files of a folder."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return "".join(file.read_bytes().decode("latin-1") for file in files)


def test_three_groups_of_workers_on_a_server(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in a folder of its own, as on machines of their own; one is killed. All present the
    same front, and any of them has the winner's weights. Nobody ever sees the password."""
    monkeypatch.setenv("NAS_MNIST_STORAGE", postgres)
    machines = [tmp_path / name for name in ("one", "two", "three")]
    more = ("--trials", "12", "--workers", "1", "--json")
    with ExitStack() as stack:
        searches = []
        for folder in machines:
            folder.mkdir()
            searches.append(stack.enter_context(started(folder, *more)))
        wait_for_complete(searches[2], postgres, 2)
        while not workers_of(machines[2]):
            assert searches[2].poll() is None, "done before it could be killed"
            time.sleep(0.1)
        for process in (searches[2].pid, *workers_of(machines[2])):
            kill(process)
        assert searches[2].communicate()[0] == ""
        said = [search.communicate(timeout=200) for search in searches[:2]]
    for search, (_, err) in zip(searches, said, strict=False):
        assert search.returncode == 0, err
    check_finished(postgres, 12)
    fronts = [json.loads(out) for out, _ in said]
    assert fronts[0] == fronts[1]

    again = runner(machines[2])(*DIGITS, *more)
    assert again.json == fronts[0]
    module = (machines[2] / "runs" / "demo" / "winner.py").read_bytes()
    assert module == (machines[0] / "runs" / "demo" / "winner.py").read_bytes()

    assert "watch it with `nas-mnist dashboard demo`" in said[0][1]
    shown = "".join((*said[0], *said[1], again.out, again.err))
    assert PASSWORD not in shown + text_of(tmp_path) + dumped(postgres)


def dumped(url: str) -> str:
    """Every text that the database has of studies and trials."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        tables = ("study_user_attributes", "study_system_attributes", "trial_user_attributes")
        return "".join(
            str(connection.execute(f"select value_json from {table}").fetchall())
            for table in tables
        )


def test_a_server_that_is_not_there(nas_mnist: CommandLine) -> None:
    url = f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:9/none"
    for arguments in ((*DIGITS, "--trials", "1"), ("front", "demo"), ("dashboard", "demo")):
        done = nas_mnist(*arguments, "--storage", url)
        assert done.code == 1
        line = done.err.splitlines()[-1]
        assert line.startswith("error: storage postgresql+psycopg://me:***@127.0.0.1:9/none: ")
        assert "refused" in line
        assert PASSWORD not in done.out + done.err


def is_alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Cluster]:
    with cluster(nodes=3) as made:
        yield made


def test_ctrl_c_stops_the_workers_of_a_cluster(tmp_path: Path, ray_cluster: Cluster) -> None:
    (tmp_path / "studies").mkdir()
    address, _ = ray_cluster
    with started(tmp_path, "--trials", "30", "--ray", address) as search:
        wait_for_complete(search, url_of(tmp_path))
        search.send_signal(signal.SIGINT)
        _, err = search.communicate(timeout=120)
    assert search.returncode == 130
    assert "trials are finished; the same command goes on" in err
    counts = load_study("demo", url_of(tmp_path)).counts()
    assert counts.running == 0
    assert 0 < counts.finished < 30


def test_a_node_of_a_ray_cluster_is_killed(tmp_path: Path, ray_cluster: Cluster) -> None:
    """Ray replaces its worker where there is room, and the total is exact. The last test of the
    cluster: one node of three is left."""
    (tmp_path / "studies").mkdir()
    address, kill_node = ray_cluster
    more = ("--trials", "12", "--ray", address, "--worker-gpus", "0.5")
    with started(tmp_path, *more) as search:
        owners = running_workers(search, url_of(tmp_path), 2)
        kill_node()
        kill_node()
        deadline = time.monotonic() + 180
        while all(map(is_alive, owners)):  # of two workers on three nodes one is dead now
            assert time.monotonic() < deadline
            time.sleep(0.1)
        out, err = search.communicate(timeout=200)
    assert search.returncode == 0, err
    check_finished(url_of(tmp_path), 12)
    assert "demo: front within 1,500 parameters" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--ray", "127.0.0.1:9"], 1, "--ray 127.0.0.1:9: no cluster answers (Connection refused)"),
        (["--ray", "nonsense"], 1, "--ray nonsense: no cluster answers; start one with `ray start"),
        (["--worker-gpus", "1"], 2, "--worker-gpus goes with --ray"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_clusters_that_are_not_there(
    nas_mnist: CommandLine, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    done = nas_mnist(*DIGITS, "--trials", "1", *arguments)
    assert done.code == code
    assert done.err.splitlines()[-1].startswith(f"error: {message}")
    assert not (tmp_path / "studies").exists()

"""Searches that are killed, again and again, and end whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from optuna.trial import FrozenTrial

from tests.conftest import CommandLine, runner
from tests.execution.finished import DIGITS, check_finished, started, trials, url_of

KILLS = 20
TOTAL = 50  # more than it does between the kills, or it starts anew more often


def workers_of(folder: Path) -> list[int]:
    """The worker processes of the search in that folder, whoever their parent is now."""
    workers = []
    for number in _forked(folder):
        with suppress(ProcessLookupError):
            if os.getsid(number) == number:
                workers.append(number)
    return workers


def _forked(folder: Path) -> list[int]:
    """Those workers and the template that they are forked from, which all have its command line;
    workers have sessions of their own."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may end meanwhile
            command = (process / "cmdline").read_bytes()
            if b"nas_mnist.execution.jobs" in command and (process / "cwd").readlink() == folder:
                found.append(int(process.name))
    return found


def kill(number: int) -> int:
    """SIGKILL; 1 if there was such a process."""
    try:
        os.kill(number, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def finished(folder: Path) -> dict[int, FrozenTrial]:
    """The finished trials by their numbers."""
    found = trials(url_of(folder))
    return {trial.number: trial for trial in found if trial.state.is_finished()}


def wait_a_while(search: subprocess.Popen[str], folder: Path, chance: random.Random) -> None:
    """Until perhaps one more trial has finished, and a moment more."""
    wanted = len(finished(folder)) + chance.choice([0, 0, 1])
    deadline = time.monotonic() + 120
    while search.poll() is None and len(finished(folder)) < wanted:
        assert time.monotonic() < deadline, [trial.state.name for trial in trials(url_of(folder))]
        time.sleep(0.2)
    time.sleep(chance.uniform(0, 2))


def kill_some(search: subprocess.Popen[str], folder: Path, chance: random.Random) -> int:
    """A worker, the template, the search itself, or everything; how many there were to kill."""
    forked, workers = _forked(folder), workers_of(folder)
    match chance.choice([*["a worker"] * 6, "the template", "the search", "all"]):
        case "a worker":
            return kill(chance.choice(workers)) if workers else 0
        case "the template":
            return sum(kill(process) for process in set(forked) - set(workers))
        case "the search":
            return kill(search.pid)
        case _:
            return sum(kill(process) for process in (search.pid, *forked))


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Nothing finished is lost or run twice, and the total is exact."""
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    (tmp_path / "studies").mkdir()
    kept: dict[int, FrozenTrial] = {}
    killed = moments = runs = 0
    total = TOTAL
    while moments < KILLS:
        errors = tmp_path / f"errors-{runs}"
        more = ("--trials", str(total), "--workers", "4")
        with (
            errors.open("w") as file,
            started(tmp_path, *more, stdout=file, stderr=file) as search,
        ):
            while search.poll() is None and moments < KILLS:
                wait_a_while(search, tmp_path, chance)
                some = 0 if search.poll() is not None else kill_some(search, tmp_path, chance)
                killed, moments = killed + some, moments + bool(some)
            if moments == KILLS:
                kill(search.pid)
            code = search.wait()
        runs += 1
        said = errors.read_text()
        if code == 0:
            total += 10
        elif code != -signal.SIGKILL:  # out of patience with workers that die before a trial ends
            assert "error: a worker was killed" in said, said
        now = finished(tmp_path)
        assert {number: now.get(number) for number in kept} == kept
        kept = now
    assert kept
    done = runner(tmp_path)(*DIGITS, "--trials", str(total))
    assert done.code == 0, done.err
    check_finished(url_of(tmp_path), total)
    assert {number: found for number, found in finished(tmp_path).items() if number in kept} == kept
    print(
        f"seed {seed}: {killed} processes killed at {moments} moments in {runs} runs, "
        f"{len(kept)} of {total} trials done by then"
    )


def test_eight_workers_on_one_file(tmp_path: Path) -> None:
    done = runner(tmp_path)(*DIGITS, "--trials", "24", "--workers", "8", "--epochs", "1")
    assert done.code == 0, done.err
    check_finished(url_of(tmp_path), 24, epochs=1)
    owners = {trial.user_attrs["worker"]["pid"] for trial in trials(url_of(tmp_path))}
    assert len(owners) > 4


def test_searches_that_begin_together_share_one_study(tmp_path: Path) -> None:
    """Neither loses a trial to the other, and the total is that of one."""
    (tmp_path / "studies").mkdir()
    more = ("--trials", "8", "--workers", "1")
    with started(tmp_path, *more) as one, started(tmp_path, *more) as other:
        for search in (one, other):
            _, err = search.communicate(timeout=120)
            assert search.returncode == 0, err
    check_finished(url_of(tmp_path), 8)


def test_a_read_only_database_is_left_alone(nas_mnist: CommandLine, tmp_path: Path) -> None:
    done = nas_mnist(*DIGITS, "--trials", "1")
    assert done.code == 0, done.err
    before = (tmp_path / "studies" / "demo.db").read_bytes()
    url = "sqlite:///file:studies/demo.db?mode=ro&uri=true"
    done = nas_mnist(*DIGITS, "--trials", "2", "--storage", url)
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("error: storage ")
    assert "readonly database" in done.err
    assert (tmp_path / "studies" / "demo.db").read_bytes() == before

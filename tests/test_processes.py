"""Processes that outlive the one they are forked from, and Ctrl-C where it must not strike at
once."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing import forkserver

import pytest

from nas_mnist import processes
from nas_mnist.errors import WorkerError
from nas_mnist.processes import in_processes, interrupts_noted, start_process


@pytest.mark.skipif(sys.platform != "linux", reason="only there processes are forked")
def test_a_process_starts_though_its_template_has_just_been_killed() -> None:
    """However little dead it is yet."""

    def kill_template() -> None:
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]

    for _ in range(20):
        processes.prepare(["time"])
        kill_template()
        process = start_process(["time"], time.sleep, 0)
        process.join(60)
        assert process.exitcode == 0
    kill_template()  # others want what they preload


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_a_good_moment(sent: signal.Signals) -> None:
    before = signal.getsignal(sent)
    with pytest.raises(KeyboardInterrupt), interrupts_noted() as raise_if_interrupted:
        raise_if_interrupted()
        os.kill(os.getpid(), sent)
        time.sleep(0.01)  # would be interrupted here
        finished = True
        raise_if_interrupted()
    assert finished
    assert signal.getsignal(sent) is before


def test_a_second_interrupt_comes_at_once() -> None:
    interrupted = None
    with interrupts_noted():
        os.kill(os.getpid(), signal.SIGINT)
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        except KeyboardInterrupt as error:
            interrupted = error
    assert interrupted


def test_who_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_noted() as raise_if_interrupted:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            raise_if_interrupted()
    finally:
        signal.signal(signal.SIGINT, before)


def test_only_its_own_processes_are_ended() -> None:
    """A host program's others go on."""
    bystander = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    bystander.start()
    try:
        results = in_processes(1, gc.collect, time.sleep, [(0,), (60,)])
        next(results)
        own = set(multiprocessing.active_children()) - {bystander}
        results.close()
        deadline = time.monotonic() + 30
        for process in own:
            # Not joined: the pool's own thread waits for it too, and one of the two learns first.
            while process.exitcode is None and time.monotonic() < deadline:
                time.sleep(0.01)
            assert process.exitcode is not None
        assert own
        assert bystander.is_alive()
    finally:
        bystander.kill()
        bystander.join()


def _end_suddenly() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_one_that_is_killed_is_told_in_a_line() -> None:
    with pytest.raises(WorkerError, match="a process was killed, perhaps for want of memory"):
        [*in_processes(1, gc.collect, _end_suddenly, [()])]


def test_the_environment_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes that others make meanwhile are kept."""
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    task = ("MKL_NUM_THREADS",)
    for found in in_processes(1, gc.collect, os.getenv, [task]):
        assert found == (task, "1")
        assert os.environ["OMP_NUM_THREADS"] == "1"
        os.environ["OF_ANOTHER"] = "kept"
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in os.environ
    assert os.environ.pop("OF_ANOTHER") == "kept"


def test_threads_start_processes_side_by_side() -> None:
    """And the program keeps its main module, and its environment."""
    before = sys.modules["__main__"], dict(os.environ)

    def start() -> None:
        for _ in range(10):
            start_process(["time"], time.sleep, 0).join(60)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sys.modules["__main__"], dict(os.environ)) == before


def _starts_one() -> None:
    process = start_process(["time"], time.sleep, 0)
    process.join(60)
    sys.exit(process.exitcode)


@pytest.mark.skipif(sys.platform != "linux", reason="only there processes are forked")
def test_a_fork_of_this_process_starts_processes_too() -> None:
    processes.prepare(["time"])
    fork = multiprocessing.get_context("fork").Process(target=_starts_one)
    fork.start()
    fork.join(60)
    assert fork.exitcode == 0


def test_a_daemon_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    with pytest.raises(WorkerError, match="search in threads, or in a Process that is no daemon"):
        start_process(["time"], time.sleep, 0)

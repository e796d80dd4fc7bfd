"""Processes that outlive the one they are forked from, and Ctrl-C where it must not strike at
once."""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing import forkserver

import pytest

from nas_mnist import processes
from nas_mnist.processes import interrupts_noted, start_process


@pytest.mark.skipif(sys.platform != "linux", reason="only there processes are forked")
def test_a_process_starts_though_its_template_has_just_been_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However little dead it is yet."""
    monkeypatch.setattr(processes, "_PRELOAD", [])  # to start again at once

    def kill_template() -> None:
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]

    for _ in range(20):
        processes.prepare()
        kill_template()
        process = start_process(time.sleep, 0)
        process.join(60)
        assert process.exitcode == 0
    kill_template()  # others want what they preload


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_a_good_moment(sent: signal.Signals) -> None:
    before = signal.getsignal(sent)
    with pytest.raises(KeyboardInterrupt), interrupts_noted() as strike:
        strike()
        os.kill(os.getpid(), sent)
        time.sleep(0.01)  # would be interrupted here
        finished = True
        strike()
    assert finished
    assert signal.getsignal(sent) is before


def test_a_second_interrupt_strikes_at_once() -> None:
    struck = None
    with interrupts_noted():
        os.kill(os.getpid(), signal.SIGINT)
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        except KeyboardInterrupt as error:
            struck = error
    assert struck


def test_who_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_noted() as strike:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            strike()
    finally:
        signal.signal(signal.SIGINT, before)

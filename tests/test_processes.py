"""Ctrl-C where it must not strike at once."""

from __future__ import annotations

import os
import signal
import time

import pytest

from nas_mnist.processes import interrupts_noted


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

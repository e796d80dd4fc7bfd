"""The supervision of a search's workers: prompt, and modest beside a large study."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import NamedTuple

import pytest

from nas_mnist.execution.creation import make_study
from nas_mnist.execution.launcher import Launcher
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.execution.supervision import Workers, supervise
from tests.execution.conftest import NORMALIZATION, config


class Round(NamedTuple):
    """A reading of the study, and when."""

    at: float
    steps: int = 0
    done: bool = False
    time_left: float = math.inf


def rounds(folder: Path, *work: float) -> Iterator[Round]:
    """Supervise nobody, with readings that take so many seconds of this thread."""
    record = make_study(config(folder), NORMALIZATION)
    left = list(work)

    def read_progress(seconds: float) -> Round:
        end = time.thread_time() + (left.pop(0) if len(left) > 1 else left[0])
        while time.thread_time() < end:
            pass
        return Round(time.monotonic())

    workers = Workers(Launcher(), SearchConfig(), "search")
    return supervise(record, record.study_id, workers, read_progress, lambda: 0)


def test_it_rests_as_a_large_study_is_slow_to_read(tmp_path: Path) -> None:
    progress = rounds(tmp_path, 0.09)
    first, second, third = (next(progress).at for _ in range(3))
    progress.close()
    assert second - first < 2  # one slow round alone may be an import
    assert third - second > 3


def test_an_interrupt_ends_its_rest(tmp_path: Path) -> None:
    progress = rounds(tmp_path, 0.3)
    next(progress), next(progress)
    timer = Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(progress)
    timer.join()
    assert time.monotonic() - began < 5  # of ten

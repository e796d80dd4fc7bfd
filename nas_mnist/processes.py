"""Processes that work for this one, and end with it."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def process_pool(workers: int, set_up: Callable[[], None]) -> Iterator[ProcessPoolExecutor]:
    """Up to `workers` new processes for what the block submits; each calls `set_up` first.

    Submit within `interrupts_held`. Left by an exception, the block ends them at once.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, set_up) as pool:
        try:
            yield pool
        except BaseException:  # Ctrl-C, or who asked wants no more: what runs is of no use
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back: processes started meanwhile never hear it, not even while they import;
    it is their parent's to hear, once the block ends."""
    resource_tracker.ensure_running()  # its own start would end the hold
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)

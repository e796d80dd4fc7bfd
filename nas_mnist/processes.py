"""Processes that work for this one, and end with it.

Importing torch and Optuna takes seconds. On Linux one process, the template, does it once, does
nothing else, and is forked into each worker. Elsewhere a fork is not safe once libraries are
loaded, or there is none, and each imports for itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver, parent_process, resource_tracker
from multiprocessing.context import BaseContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

# Two threads that spin on one core slow each other down many times; and only a process of one
# thread can safely be forked.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_FORKS = sys.platform == "linux"
# How a process ended, where the template was killed and nobody knows.
_UNKNOWN = 255
_TRIES_SECONDS = 10.0


def prepare(preload: str) -> None:
    """Let a module that processes will need be imported from now on, while this one goes on."""
    with interrupts_held():
        _context(preload)


def start_process(preload: str, target: Callable[..., object], *arguments: object) -> BaseProcess:
    """A new process of one thread that calls `target`, with this process's environment.

    It never hears Ctrl-C, and never imports the program's main module: a script needs no guard
    around what it does.

    Args:
        preload: the module that imports whatever such processes need.
        target: a function of a module.
        arguments: what it is called with.

    Raises:
        OSError: if there can be no process.
    """
    call = (target, arguments, dict(os.environ))
    deadline = time.monotonic() + _TRIES_SECONDS
    with interrupts_held():
        while True:
            context = _context(preload)
            process: BaseProcess = context.Process(target=_call, args=call, daemon=True)  # type: ignore[attr-defined]
            try:
                with _no_main_module():
                    process.start()
                return process
            except (EOFError, ConnectionError):  # the template was killed
                if time.monotonic() > deadline:
                    break
                time.sleep(0.02)  # it may not be quite dead yet, and only then there is another
    raise OSError("the process it is forked from is killed again and again")


def exit_code(process: BaseProcess) -> int | None:
    """What it exited with, or minus the signal that it died of; None while it runs."""
    code = process.exitcode
    if code != _UNKNOWN:
        return code
    assert process.pid is not None
    return -signal.SIGKILL if started(process.pid) is None else None


def started(pid: int) -> int | None:
    """When the process started, in ticks since boot; None if it is dead, though nobody has asked
    how it ended, and where the system does not say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # proc(5): fields 3 and 22; the name, field 2, is in brackets and may have any characters.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def make_orphaned() -> Callable[[], bool]:
    """What says whether the process that started this one, or the template, is gone."""
    parent, forked_from = parent_process(), os.getppid()
    assert parent is not None
    return lambda: os.getppid() != forked_from or not parent.is_alive()


@contextmanager
def process_pool(workers: int, set_up: Callable[[], None]) -> Iterator[ProcessPoolExecutor]:
    """Up to `workers` new processes of one thread for what the block submits; each calls `set_up`
    first.

    Submit within `interrupts_held`. Left by an exception, the block ends them at once.
    """
    context = _RecordingContext()
    with _one_thread_each(), ProcessPoolExecutor(workers, context, set_up) as pool:
        try:
            yield pool
        except BaseException:  # Ctrl-C, or who asked wants no more: what runs is of no use
            pool.shutdown(wait=False, cancel_futures=True)
            for process in context.made:
                process.terminate()
            raise


class _RecordingContext(SpawnContext):
    """Starts processes anew, and knows which: the host program may have others.

    They are not forked from the template: what that was asked for before Ctrl-C, it would still
    fork after it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: list[BaseProcess] = []

    def Process(self, *arguments: Any, **settings: Any) -> BaseProcess:  # type: ignore[override]
        process: BaseProcess = super().Process(*arguments, **settings)
        self.made.append(process)
        return process


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


@contextmanager
def interrupts_noted() -> Iterator[Callable[[], None]]:
    """Within the block Ctrl-C and SIGTERM only leave a note, and the call that the block is given
    raises KeyboardInterrupt if there is one: else they may come in a transaction, which then
    stays open and locks the database for whoever cleans up. A second one interrupts at once."""
    noted: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(signum)

    def raise_if_interrupted() -> None:
        if noted:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # nor do they come here
        yield raise_if_interrupted
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in ours:
        signal.signal(number, note)
    try:
        yield raise_if_interrupted
    finally:
        for number in ours:
            signal.signal(number, before[number])


def _context(preload: str) -> BaseContext:
    """What starts processes; the template runs, where there is one."""
    if not _FORKS:
        return multiprocessing.get_context("spawn")
    multiprocessing.set_forkserver_preload([preload])
    with _one_thread_each():
        forkserver.ensure_running()
    return multiprocessing.get_context("forkserver")


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """What is started meanwhile has one thread; libraries read it where they are loaded."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Processes started meanwhile are told of no main module that they would import."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _call(
    target: Callable[..., object], arguments: tuple[object, ...], environment: dict[str, str]
) -> None:
    """In the new process: its template may have been started with another environment."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update({**environment, **ONE_THREAD})
    target(*arguments)

"""Processes that work for this one, and end with it.

Importing torch and Optuna takes seconds. On Linux one process, the template, does it once, and is
forked into each worker. Elsewhere a fork is not safe, or there is none: each imports for itself.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import (
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from nas_mnist.errors import WorkerError

# Libraries read it where they are loaded. Two threads that spin on one core slow each other down
# many times; and only a process of one thread can safely be forked.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_FORKS = sys.platform == "linux"
_UNKNOWN = 255  # how a process ended, where the template was killed and nobody knows
_TRIES_SECONDS = 10.0
_STARTS = threading.Lock()  # what two threads replace at once, one would never put back
if _FORKS:  # a fork of this process needs a template of its own
    os.register_at_fork(after_in_child=lambda: forkserver._forkserver.__init__())  # type: ignore[misc]


def available_cores() -> int:
    """Cores that this process may use."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def prepare(preload: Sequence[str]) -> BaseContext:
    """What starts processes; their template, where there is one, imports modules meanwhile."""
    if multiprocessing.current_process().daemon:
        said = "this process may start no others, as those of a multiprocessing.Pool"
        raise WorkerError(f"{said}; search in threads, or in a Process that is no daemon")
    if not _FORKS:
        return multiprocessing.get_context("spawn")
    multiprocessing.set_forkserver_preload([*preload])
    with interrupts_held(), _STARTS, _replaced(os.environ, ONE_THREAD):
        forkserver.ensure_running()
    return multiprocessing.get_context("forkserver")


def start_process(
    preload: Sequence[str], target: Callable[..., object], *arguments: object
) -> BaseProcess:
    """A new process of one thread that calls a module's function, with this process's environment.
    It never hears Ctrl-C, and never imports the program's main module: a script needs no guard.
    `preload` names modules that such processes need. OSError if there can be no process."""
    call = (target, arguments, dict(os.environ))
    deadline = time.monotonic() + _TRIES_SECONDS
    with interrupts_held():
        while time.monotonic() < deadline:
            context = prepare(preload)
            process: BaseProcess = context.Process(target=_call, args=call, daemon=True)  # type: ignore[attr-defined]
            try:
                with _STARTS, _replaced(sys.modules, {"__main__": ModuleType("__main__")}):
                    process.start()
                return process
            except (EOFError, ConnectionError):  # the template was killed
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
    """When it started, in ticks since boot; None if it is dead, or the system does not say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # proc(5): fields 3 and 22; the name, field 2, is in brackets and may have any characters.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def in_processes(
    workers: int, set_up: Callable[[], None], call: Callable[..., Any], tasks: Iterable[Any]
) -> Generator[tuple[Any, Any]]:
    """Make the call with each of these tuples of arguments, in up to `workers` new processes that
    compute in one thread and call `set_up` first; each task and its result, as it is done. The
    processes end at once if this is closed or interrupted, or this process is killed."""
    # Not forked from the template: what that was asked for before Ctrl-C, it would fork after it.
    anew = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, anew, _begin, (set_up,))
    with _replaced(os.environ, ONE_THREAD), executor as pool:
        try:
            with interrupts_held():
                futures = {pool.submit(call, *task): task for task in tasks}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            said = "a process was killed, perhaps for want of memory; try fewer --workers"
            raise WorkerError(said) from None
        except BaseException:  # Ctrl-C, or who asked wants no more: what runs is of no use
            own = [*pool._processes.values()]  # as `terminate_workers` of Python 3.14 does
            pool.shutdown(wait=False, cancel_futures=True)
            for process in own:
                process.terminate()
            raise


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends: processes started within never hear it."""
    resource_tracker.ensure_running()  # its own start would end the hold
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


@contextmanager
def interrupts_noted() -> Iterator[Callable[[], None]]:
    """Ctrl-C and SIGTERM only leave a note, on which the call that the block is given raises
    KeyboardInterrupt: in a transaction they would leave it open, and the database locked for
    whoever cleans up. A second one interrupts at once."""
    noted: list[int] = []

    def raise_if_interrupted() -> None:
        if noted:
            raise KeyboardInterrupt

    def note(signum: int, frame: FrameType | None) -> None:
        raise_if_interrupted()
        noted.append(signum)

    here = threading.current_thread() is threading.main_thread()  # they come to no other
    sent = (signal.SIGINT, signal.SIGTERM) if here else ()
    ours = [number for number in sent if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in ours}
    try:
        yield raise_if_interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _replaced(mapping: MutableMapping[str, Any], values: Mapping[str, Any]) -> Iterator[None]:
    """These in place of the mapping's own meanwhile; what others change in it stays."""
    before = {name: mapping[name] for name in values if name in mapping}
    mapping.update(values)
    try:
        yield
    finally:
        mapping.update(before)
        for name in values.keys() - before:
            del mapping[name]


def _begin(set_up: Callable[[], None]) -> None:
    """In a process of a pool, which by itself waits for work for ever."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_up()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # an exception would end this thread alone


def _call(target: Callable[..., object], arguments: Any, environment: dict[str, str]) -> None:
    """In the new process: its template may have been started with another environment."""
    os.environ.clear()
    os.environ.update({**environment, **ONE_THREAD})
    target(*arguments)

"""How far a search or a confirmation is: a live panel on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import closing

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas_mnist.execution.run import ConfirmationProgress, Progress
from nas_mnist.report.tables import Rows, text_table

_SIZES = 8
_LINE_SECONDS = 5.0


def show_progress(
    updates: Generator[Progress] | Generator[ConfirmationProgress], *, quiet: bool = False
) -> None:
    """Follow a run to its end, and close it: on standard error as a live panel on a terminal,
    elsewhere in one line every few seconds when there was a step, and one at the end; `quiet`:
    nowhere."""
    shown, steps = -_LINE_SECONDS, -1
    with closing(updates):
        if sys.stderr.isatty() and not quiet:
            with Live(console=Console(stderr=True), refresh_per_second=4) as live:
                for progress in updates:
                    live.update(_panel(progress))
        for progress in updates:
            due = progress.done or progress.seconds - shown >= _LINE_SECONDS
            if due and progress.steps != steps and not quiet:
                sys.stderr.write(_line(progress) + "\n")
                sys.stderr.flush()
                shown, steps = progress.seconds, progress.steps


def _texts(progress: Progress | ConfirmationProgress) -> list[str]:
    """What is done of what, and more of it."""
    if isinstance(progress, ConfirmationProgress):
        diverged = f", {progress.diverged} diverged" if progress.diverged else ""
        runs = f"{progress.runs_done}/{progress.runs} runs{diverged}"
        return [runs, f"{progress.epochs_done}/{progress.epochs} epochs"]
    counts = progress.counts
    failed = [f"{counts.failed} failed"] if counts.failed else []
    ended = [f"{counts.finished}/{progress.total} trials", f"{counts.pruned} pruned", *failed]
    return [*ended, f"{counts.running} running"]


def _line(progress: Progress | ConfirmationProgress) -> str:
    text = "; ".join([*_texts(progress), _time_left(progress)])
    if isinstance(progress, ConfirmationProgress):
        return f"confirmation: {text}"
    best = ", ".join(f"{size:,}: {accuracy:.2f}%" for size, accuracy in _spread(progress.best))
    return f"{text}; best {best}" if best else text


def _panel(progress: Progress | ConfirmationProgress) -> Group:
    done, *more = _texts(progress)
    left, bar, shown = _time_left(progress), Table.grid(padding=(0, 1)), []
    if isinstance(progress, ConfirmationProgress):
        total, completed = progress.epochs, progress.epochs_done
    else:
        total, completed = progress.total, progress.counts.finished
        rows: Rows = [("parameters", "validation %"), *_spread(progress.best)]
        shown = [text_table("best so far", rows, box=None, padding=(0, 2))]
    drawn = ProgressBar(total=total, completed=completed, width=40, finished_style="green")
    bar.add_row(drawn, Text(done), Text(", ".join(more), "dim"), Text(left, "cyan"))
    return Group(bar, *shown)


def _time_left(progress: Progress | ConfirmationProgress) -> str:
    if progress.done:
        return "done"
    if progress.seconds_left is None:
        return "time left unknown"
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left"


def _spread(best: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most `_SIZES` networks of the front, spread over it, its ends among them."""
    if len(best) <= _SIZES:
        return best
    return [best[round(index * (len(best) - 1) / (_SIZES - 1))] for index in range(_SIZES)]

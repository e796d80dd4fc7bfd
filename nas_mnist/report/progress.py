"""How far a search or a confirmation is: a live panel on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas_mnist.execution.run import ConfirmationProgress, Progress

_SIZES = 8
_LINE_SECONDS = 5.0


class _Progress(Protocol):
    @property
    def seconds(self) -> float: ...
    @property
    def steps(self) -> int: ...
    @property
    def done(self) -> bool: ...


P = TypeVar("P", bound=_Progress)


def show_progress(
    updates: Iterator[P],
    line: Callable[[P], str],
    panel: Callable[[P], RenderableType],
    *,
    quiet: bool = False,
) -> None:
    """Follow a run to its end, on standard error.

    Args:
        updates: how far it is, about twice a second.
        line: a progress in one line, for files and notebooks: one every few seconds when there
            was a step, and one at the end.
        panel: a progress as a live panel, for terminals.
        quiet: show nothing.
    """
    if quiet:
        for _ in updates:
            pass
        return
    if sys.stderr.isatty():
        with Live(console=Console(stderr=True), refresh_per_second=4) as live:
            for progress in updates:
                live.update(panel(progress))
        return
    shown, steps = -_LINE_SECONDS, -1
    for progress in updates:
        due = progress.seconds - shown >= _LINE_SECONDS
        if progress.steps != steps and (due or progress.done):
            sys.stderr.write(line(progress) + "\n")
            sys.stderr.flush()
            shown, steps = progress.seconds, progress.steps


def progress_line(progress: Progress) -> str:
    counts = progress.counts
    parts = [
        f"{counts.finished}/{progress.total} trials",
        f"{counts.pruned} pruned",
        *([f"{counts.failed} failed"] if counts.failed else []),
        f"{counts.running} running",
        time_left(progress),
    ]
    sizes = _spread(progress.best)
    if sizes:
        parts.append("best " + ", ".join(f"{size:,}: {acc:.2f}%" for size, acc in sizes))
    return "; ".join(parts)


def progress_panel(progress: Progress) -> Group:
    counts = progress.counts
    bar = _bar(
        counts.finished,
        progress.total,
        f"{counts.finished}/{progress.total} trials",
        f"{counts.pruned} pruned, {counts.failed} failed, {counts.running} running",
        time_left(progress),
    )
    sizes = Table(title="best so far", title_justify="left", box=None, padding=(0, 2))
    sizes.add_column("parameters", justify="right")
    sizes.add_column("validation %", justify="right")
    for size, accuracy in _spread(progress.best):
        sizes.add_row(f"{size:,}", f"{accuracy:.2f}")
    return Group(bar, sizes)


def confirmation_line(progress: ConfirmationProgress) -> str:
    return f"confirmation: {_runs(progress)}; {_epochs(progress)}; {time_left(progress)}"


def confirmation_panel(progress: ConfirmationProgress) -> Table:
    return _bar(
        progress.epochs_done,
        progress.epochs,
        _runs(progress),
        _epochs(progress),
        time_left(progress),
    )


def _runs(progress: ConfirmationProgress) -> str:
    diverged = f", {progress.diverged} diverged" if progress.diverged else ""
    return f"{progress.runs_done}/{progress.runs} runs{diverged}"


def _epochs(progress: ConfirmationProgress) -> str:
    return f"{progress.epochs_done}/{progress.epochs} epochs"


def _bar(completed: int, total: int, done: str, more: str, left: str) -> Table:
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=total, completed=completed, width=40, finished_style="green"),
        Text(done),
        Text(more, style="dim"),
        Text(left, style="cyan"),
    )
    return bar


def time_left(progress: Progress | ConfirmationProgress) -> str:
    if progress.done:
        return "done"
    if progress.seconds_left is None:
        return "time left unknown"
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} left"


def _spread(best: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most `_SIZES` networks of the front, spread over it, its ends among them."""
    if len(best) <= _SIZES:
        return list(best)
    last = len(best) - 1
    return [best[round(index * last / (_SIZES - 1))] for index in range(_SIZES)]

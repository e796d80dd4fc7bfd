"""How far a search or a confirmation is: a live panel on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import closing

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas_mnist.execution.run import Progress

_SIZES = 8
_LINE_SECONDS = 5.0


def show_progress(updates: Generator[Progress], *, quiet: bool = False) -> None:
    """Follow a run to its end, on standard error, and close it: as a live panel on a terminal,
    elsewhere in one line every few seconds when there was a step, and one at the end.

    Args:
        updates: how far it is, about twice a second.
        quiet: show nothing.
    """
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


def _line(progress: Progress) -> str:
    text = "; ".join(_parts(progress))
    if progress.epochs:
        return f"confirmation: {text}"
    best = ", ".join(f"{size:,}: {accuracy:.2f}%" for size, accuracy in _spread(progress.best))
    return f"{text}; best {best}" if best else text


def _parts(progress: Progress) -> list[str]:
    """What is done, what else there is to say, and the time left."""
    counts = progress.counts
    if progress.epochs:
        done, epochs = progress.epochs
        diverged = f", {counts.failed} diverged" if counts.failed else ""
        said = [f"{counts.finished}/{progress.total} runs{diverged}", f"{done}/{epochs} epochs"]
    else:
        failed = f", {counts.failed} failed" if counts.failed else ""
        more = f"{counts.pruned} pruned{failed}, {counts.running} running"
        asked = f" ({progress.total} asked for)" if counts.finished > progress.total else ""
        total = max(progress.total, counts.finished)
        said = [f"{counts.finished}/{total} trials{asked}", more]
    return [*said, _time_left(progress)]


def _panel(progress: Progress) -> Group:
    done, more, left = _parts(progress)
    completed, total = progress.epochs or (progress.counts.finished, progress.total)
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=total, completed=completed, width=40, finished_style="green"),
        Text(done),
        Text(more, style="dim"),
        Text(left, style="cyan"),
    )
    if not progress.best:
        return Group(bar)
    sizes = Table(title="best so far", title_justify="left", box=None, padding=(0, 2))
    sizes.add_column("parameters", justify="right")
    sizes.add_column("validation %", justify="right")
    for size, accuracy in _spread(progress.best):
        sizes.add_row(f"{size:,}", f"{accuracy:.2f}")
    return Group(bar, sizes)


def _time_left(progress: Progress) -> str:
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

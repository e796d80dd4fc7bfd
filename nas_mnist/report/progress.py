"""How far a search or a confirmation is: a live panel on a terminal, lines elsewhere."""

import sys
from collections.abc import Generator
from contextlib import closing

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas_mnist.execution.supervision import Progress
from nas_mnist.report import note
from nas_mnist.report.tables import counted

_SIZES = 8
_LINE_SECONDS = 5.0


def show_progress(updates: Generator[Progress], *, quiet: bool = False) -> Progress:
    """Follow a run to its end, on standard error, and close it: as a live panel on a terminal,
    elsewhere in one line every few seconds when there was a step, and one at the end. How far it
    came: all the way, unless its time was up."""
    shown, steps = -_LINE_SECONDS, -1
    with closing(updates):
        if sys.stderr.isatty() and not quiet:
            with Live(console=Console(stderr=True), refresh_per_second=4) as live:
                for progress in updates:
                    live.update(_panel(progress))
        for progress in updates:
            over = progress.done or progress.time_left <= 0
            due = over or progress.seconds - shown >= _LINE_SECONDS
            if due and progress.steps != steps and not quiet:
                note(_line(progress))
                shown, steps = progress.seconds, progress.steps
    return progress  # there is one at least


def time_is_up(*stages: Progress) -> str | None:
    """What to say when a command's time was up, of how far each stage of it came; None if all are
    done."""
    if all(stage.done for stage in stages):
        return None
    done = ", ".join(map(_finished, stages))
    return f"time is up: {done}; the same command goes on"


def _finished(stage: Progress) -> str:
    if not (stage.epochs or stage.counts.complete):
        return "no trial is complete yet"
    runs = {"search": "trial", "reruns": "rerun", "confirmation": "confirmation run"}
    things = counted(stage.total, runs[stage.job])
    return f"{stage.counts.finished} of {things} are finished"


def _line(progress: Progress) -> str:
    best = ", ".join(f"{size:,}: {accuracy:.2f}%" for size, accuracy in _spread(progress))
    said = [*_parts(progress), *([f"best {best}"] if best else [])]
    return ("" if progress.job == "search" else f"{progress.job}: ") + "; ".join(said)


def _parts(progress: Progress) -> list[str]:
    """What is done, what else there is to say, and the time left."""
    counts, left = progress.counts, "done" if progress.done else "time left unknown"
    if progress.seconds_left is not None and not progress.done:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        left = f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left"
        left = left if progress.time_left > 0 else "time is up"
    if progress.epochs:
        done, epochs = progress.epochs
        diverged = f", {counts.failed} diverged" if counts.failed else ""
        return [
            f"{counts.finished}/{progress.total} runs{diverged}",
            f"{done}/{epochs} epochs",
            left,
        ]
    failed = f", {counts.failed} failed" if counts.failed else ""
    more = f"{counts.pruned} pruned{failed}, {counts.running} running"
    asked = f" ({progress.total} asked for)" if counts.finished > progress.total else ""
    return [f"{counts.finished}/{max(progress.total, counts.finished)} trials{asked}", more, left]


def _panel(progress: Progress) -> Group:
    done, more, left = _parts(progress)
    completed, total = progress.epochs or (progress.counts.finished, progress.total)
    bar = Table.grid(padding=(0, 1))
    drawn = ProgressBar(total=total, completed=completed, width=40, finished_style="green")
    bar.add_row(drawn, Text(done), Text(more, style="dim"), Text(left, style="cyan"))
    if not progress.best:
        return Group(bar)
    sizes = Table(title="best so far", title_justify="left", box=None, padding=(0, 2))
    for heading in ("parameters", "validation %"):
        sizes.add_column(heading, justify="right")
    for size, accuracy in _spread(progress):
        sizes.add_row(f"{size:,}", f"{accuracy:.2f}")
    return Group(bar, sizes)


def _spread(progress: Progress) -> list[tuple[int, float]]:
    """At most `_SIZES` networks of the front, spread over it, its ends among them."""
    last = len(progress.best) - 1
    places = {round(index * last / (_SIZES - 1)) for index in range(_SIZES)}
    return [progress.best[place] for place in sorted(places)] if progress.best else []

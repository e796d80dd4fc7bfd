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
_LINE_SECONDS, _EPOCH_SECONDS = 5.0, 60.0  # between lines: of trials, and of epochs alone


def show_progress(updates: Generator[Progress], *, quiet: bool = False) -> Progress:
    """Follow a run to its end, on standard error, and close it: as a live panel on a terminal,
    elsewhere in one line every few seconds when there was a step, every minute while only epochs
    end, and one at the end. How far it came: all the way, unless its time was up."""
    shown, steps, running = -_LINE_SECONDS, -1, list[int]()
    with closing(updates):
        if sys.stderr.isatty() and not quiet:
            with Live(console=Console(stderr=True), refresh_per_second=4) as live:
                for progress in updates:
                    live.update(panel(progress))
        for progress in updates:
            over = progress.done or progress.time_left <= 0
            due = _LINE_SECONDS if progress.steps != steps else _EPOCH_SECONDS
            new = progress.steps != steps or [*progress.running] != running
            if new and (over or progress.seconds - shown >= due) and not quiet:
                note(_line(progress))
                shown, steps, running = progress.seconds, progress.steps, [*progress.running]
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
    """What is done, what else there is to say, and the times."""
    counts, running = progress.counts, _running_text(progress)
    if progress.epochs:
        done, epochs = progress.epochs
        diverged = f", {counts.failed} diverged" if counts.failed else ""
        runs = f"{counts.finished}/{counted(progress.total, 'run')}{diverged}"
        return [runs, f"{done}/{counted(epochs, 'epoch')}{running}", _times(progress)]
    failed = f", {counts.failed} failed" if counts.failed else ""
    asked = f" ({progress.total} asked for)" if counts.finished > progress.total else ""
    trials = f"{counts.finished}/{counted(max(progress.total, counts.finished), 'trial')}{asked}"
    return [trials, f"{counts.pruned} pruned{failed}{running}", _times(progress)]


def _running_text(progress: Progress) -> str:
    if not progress.running:
        return "" if progress.done else ", waiting for workers"
    # The one after those that are done is at work.
    epochs = sorted(min(done + 1, progress.epochs_each) for done in progress.running)
    at = f"epoch {epochs[0]}" if epochs[0] == epochs[-1] else f"epochs {epochs[0]} to {epochs[-1]}"
    return f", {len(epochs)} running, at {at} of {progress.epochs_each}"


def _times(progress: Progress) -> str:
    """How long it has taken, and will."""
    if progress.done:
        return f"done in {_clock(progress.seconds)}"
    elapsed = f"{_clock(progress.seconds)} elapsed"
    if progress.time_left <= 0:
        return f"{elapsed}, time is up"
    left = progress.seconds_left
    return elapsed if left is None else f"{elapsed}, {_clock(left)} left"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def panel(progress: Progress) -> Group:
    """What a terminal shows, in lines of at most 80 characters."""
    done, more, times = _parts(progress)
    completed, total = progress.epochs or (progress.counts.finished, progress.total)
    drawn = ProgressBar(total=total, completed=completed, width=40, finished_style="green")
    first = Table.grid(padding=(0, 1))
    first.add_row(drawn, Text(done))
    bar = Group(first, Text(more, style="dim"), Text(times, style="cyan"))
    if not progress.best:
        return bar
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

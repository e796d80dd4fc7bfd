"""How far a search is, as people see it."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from typing import Any

import pytest
from rich.console import Console

from nas_mnist.execution.records import Counts
from nas_mnist.execution.supervision import Progress
from nas_mnist.report.progress import panel, show_progress


def search(finished: int, seconds: float, *running: int, **more: Any) -> Progress:
    counts = Counts(finished, 0, 0, len(running), 0)
    return Progress(counts, 200, seconds, 0, running=running, epochs_each=15, **more)


def run(finished: int, epochs: int, seconds: float, *running: int) -> Progress:
    own: dict[str, Any] = {"epochs": (epochs, 15), "running": running, "epochs_each": 15}
    return Progress(Counts(finished, 0, 0, 0, 0), 1, seconds, 0, job="reruns", **own)


@pytest.mark.parametrize(
    ("progress", "lines"),
    [
        (search(0, 4), ["0/200 trials", "0 pruned, waiting for workers", "0:00:04 elapsed"]),
        (
            search(0, 4, 0, 0),
            ["0/200 trials", "0 pruned, 2 running, at epoch 1 of 15", "0:00:04 elapsed"],
        ),
        (
            search(0, 60, 3, 5),
            [
                "0/200 trials",
                "0 pruned, 2 running, at epochs 4 to 6 of 15",
                "0:01:00 elapsed, 6:14:00 left",
            ],
        ),
        (
            search(200, 7261),
            ["200/200 trials", "0 pruned", "done in 2:01:01"],
        ),
        (
            search(100, 3600, 15, time_left=-1.0),
            [
                "100/200 trials",
                "0 pruned, 1 running, at epoch 15 of 15",
                "1:00:00 elapsed, time is up",
            ],
        ),
        (
            run(0, 5, 30, 5),
            [
                "0/1 run",
                "5/15 epochs, 1 running, at epoch 6 of 15",
                "0:00:30 elapsed, 0:01:00 left",
            ],
        ),
    ],
    ids=[
        "at-its-start",
        "in-the-first-epoch",
        "before-a-trial-ends",
        "done",
        "time-is-up",
        "a-rerun",
    ],
)
def test_on_a_terminal(progress: Progress, lines: list[str]) -> None:
    console = Console(width=80)
    with console.capture() as shown:
        console.print(panel(progress))
    first, *others = [line.rstrip() for line in shown.get().splitlines()]
    assert first.endswith(f" {lines[0]}")
    assert others == lines[1:]


def test_large_numbers_do_not_fold() -> None:
    counts = Counts(12_345, 6_789, 123, 32, 0)
    console = Console(width=80)
    with console.capture() as shown:
        own: dict[str, Any] = {"running": range(32), "epochs_each": 100, "time_left": math.inf}
        console.print(panel(Progress(counts, 20_000, 360_000, 0, **own)))
    assert len(shown.get().splitlines()) == 3


def test_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for trials every few seconds, for epochs alone every minute."""

    def updates(of: Iterable[Progress]) -> Generator[Progress]:
        yield from of

    seen = [search(0, 0), *(search(0, second, second // 10) for second in range(1, 130))]
    show_progress(updates([*seen, search(1, 130), search(1, 131), search(200, 132)]))
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(";")[0] for line in lines] == [
        *["0/200 trials"] * 3,
        *["1/200 trials", "200/200 trials"],
    ]
    assert lines[1].startswith("0/200 trials; 0 pruned, 1 running, at epoch 7 of 15; 0:01:00 elap")

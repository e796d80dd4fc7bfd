"""What `bench` found, as values and as tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from nas_mnist.training.speed import TRIAL_IMAGES, Measured


def bench_values(measured: Sequence[Measured]) -> dict[str, Any]:
    """The measurements, and the ratios of the fastest batched loop to the better of the
    usual loops and to the eager one: their medians over the rounds, lowest and highest."""
    usual, eager, own = (_fastest(measured, kind) for kind in ("usual", "eager", "pack"))
    return {
        "loops": [found.as_dict() for found in measured],
        "ratio_to_usual": _ratio(own, usual),
        "ratio_to_eager": _ratio(own, eager),
    }


def bench_table(title: str, values: dict[str, Any]) -> Table:
    """One row a loop; what it says of whole trials is computed from its images a second."""
    table = Table(title=title, title_justify="left")
    table.add_column("loop")
    for column in ("processes × threads", "images/s", "lowest to highest", "s a trial", "MiB"):
        table.add_column(column, justify="right")
    for loop in values["loops"]:
        rates = loop["images_per_second"]
        table.add_row(
            loop["name"],
            f"{loop['processes']} × {loop['threads']}",
            f"{loop['median']:,.0f}",
            f"{min(rates):,.0f} to {max(rates):,.0f}",
            f"{loop['trial_seconds']:,.0f}",
            f"{loop['peak_memory_mib']:,}",
        )
    usual, eager = values["ratio_to_usual"], values["ratio_to_eager"]
    table.caption = (
        f"Batched training is {_spread(usual)} times as fast as the usual loop and "
        f"{_spread(eager)} times as fast as eager training on resident images. "
        f"A trial is 15 epochs of 50,000 images ({TRIAL_IMAGES:,}); s a trial is the whole "
        "machine's time for one."
    )
    table.caption_justify = "left"
    return table


def _fastest(measured: Sequence[Measured], kind: str) -> list[float]:
    of_kind = [found for found in measured if found.loop.kind == kind]
    return max(of_kind, key=lambda found: found.median).images_per_second


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return {
        "median": round(statistics.median(ratios), 2),
        "lowest": round(min(ratios), 2),
        "highest": round(max(ratios), 2),
    }


def _spread(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.1f} ({ratio['lowest']:.1f} to {ratio['highest']:.1f})"

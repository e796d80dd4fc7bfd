"""The hand-made networks and lifecycles that the search is measured against.

The facts are data (`references.json`): 18 networks with every layer, and the 48 steps of five
lifecycles with what their authors published: the best epoch of one run, in percent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from nas_mnist.networks.architecture import Architecture
from nas_mnist.networks.layers import LAYERS, Layer

_FACTS = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
# The write-ups have numbers, not names; these say where each one arrived.
_LIFECYCLES = {
    "000_5fa1da352d002b1d.txt": "early-14k",
    "001_d262b8fe89519190.txt": "s7-8k",
    "002_20d0c98e0ac6bc5b.txt": "early-20k",
    "003_370aaf563ef6faa9.txt": "evai6-10k",
    "004_bceb74268da49b3e.txt": "a7-8k",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a hand-made lifecycle as published, with the accuracies of its best epoch."""

    lifecycle: str
    number: int
    title: str
    reference: str | None
    """name of the step's network; None where its layers were not published"""
    parameters: int
    """as published: some authors rounded"""
    train_accuracy: float
    test_accuracy: float
    note: str
    recipe: str
    """in its author's words"""
    settings: dict[str, Any] = field(hash=False)
    """what `recipe` says as settings of a `Recipe`; "OneCycle" or "tuned" and no more are that of
    the default recipe, and two rotations within 7 degrees each spread as one within 10"""


@dataclass(frozen=True, slots=True)
class Reference:
    """A hand-made network and every step that published a result for it."""

    name: str
    architecture: Architecture
    steps: tuple[Step, ...]

    @property
    def published_accuracy(self) -> float | None:
        """The best test accuracy published for it, in percent: one run, best epoch."""
        return max((step.test_accuracy for step in self.steps), default=None)


@cache
def references() -> dict[str, Reference]:
    """All hand-made networks by name, in the order of their lifecycles."""
    return {
        entry["name"]: Reference(
            entry["name"],
            Architecture(tuple(_layer(**layer) for layer in entry["layers"])),
            tuple(step for step in steps() if step.reference == entry["name"]),
        )
        for entry in _FACTS["architectures"]
    }


@cache
def steps() -> tuple[Step, ...]:
    """All 48 published steps, lifecycle by lifecycle."""
    return tuple(
        Step(
            lifecycle=_LIFECYCLES[entry["document"]],
            number=entry["step"],
            title=entry["title"],
            reference=entry.get("architecture"),
            parameters=entry["parameters"],
            train_accuracy=entry["best_train_accuracy"],
            test_accuracy=entry["best_test_accuracy"],
            note=entry.get("note", ""),
            recipe=entry.get("recipe", ""),
            settings=entry.get("settings", {}),
        )
        for entry in _FACTS["lifecycles"]
    )


def _layer(op: str, **facts: Any) -> Layer:
    return LAYERS[op](**facts)

"""What the search is measured against: `references.json` has 18 hand-made networks, and 48 steps of
five lifecycles, with what their authors published."""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from nas_mnist.networks.architecture import Architecture, parse_notation

_FACTS = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a hand-made lifecycle as published, with the accuracies of its best epoch."""

    lifecycle: str
    number: int
    title: str
    parameters: int  # as published: some authors rounded
    train_accuracy: float
    test_accuracy: float
    reference: str | None = None  # the step's network; None where its layers were not published
    note: str = ""
    recipe: str = ""  # in its author's words
    # That as settings of a `Recipe`; "OneCycle" or "tuned" and no more are that of the default
    # recipe, and two rotations within 7 degrees each spread as one within 10.
    settings: dict[str, Any] = field(default_factory=dict, hash=False)


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
    known = {entry["name"]: entry["notation"] for entry in _FACTS["architectures"]}
    own = {name: tuple(step for step in steps() if step.reference == name) for name in known}
    return {name: Reference(name, parse_notation(known[name]), own[name]) for name in known}


@cache
def steps() -> tuple[Step, ...]:
    """All 48 published steps, lifecycle by lifecycle."""
    return tuple(Step(**entry) for entry in _FACTS["lifecycles"])

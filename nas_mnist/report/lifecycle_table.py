"""A lifecycle retrained: kept step by step, and shown as the table that its author kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.table import Table

from nas_mnist.errors import DataError, RequestError, reason
from nas_mnist.networks.notation import format_notation
from nas_mnist.networks.references import Step, references
from nas_mnist.report.tables import spread_text
from nas_mnist.training.recipe import Recipe
from nas_mnist.training.runs import (
    Reproduced,
    Run,
    analysis,
    left_out,
    lifecycle_steps,
    step_recipe,
)
from nas_mnist.training.trainer import EpochRecord

_HEADINGS = (
    *("step", "target", "parameters", "train % published", "train % here", "test % published"),
    *("test % here, best epoch", "test % here, final epoch", "analysis"),
)


class Lifecycle:
    """The steps of a lifecycle, those retrained among them, and the files they are kept in."""

    def __init__(self, name: str, wanted: Sequence[Step], settings: Mapping[str, Any]) -> None:
        """`settings` are what all its runs share beside the recipe, such as dataset and seeds."""
        self.name = name
        self.steps = list(wanted)
        self.settings = dict(settings)
        self.left_out: dict[int, str] = {}
        self.done: dict[int, Reproduced] = {}
        for step in wanted:
            why = left_out(step, self.settings["most_parameters"])
            if why is not None:
                self.left_out[step.number] = why

    def missing(self) -> list[Step]:
        """The steps still to be trained."""
        return [step for step in self.steps if step.number not in self.left_out | self.done]

    def read(self, file: Path) -> None:
        """Take over the steps that `file` has.

        Raises DataError if it cannot be read, and RequestError if it has steps of other recipes,
        data or seeds: they are not written over.
        """
        if not file.exists():
            return
        with _reading(file):
            _, entries = _lifecycle_and_trained(file)
            by_number = {entry["step"]: entry for entry in entries}
            for step in self.missing():
                entry = by_number.get(step.number)
                if entry is None:
                    continue
                if entry["trained"] != self._trained(step):
                    raise RequestError(
                        f"{file} has step {step.number} under other settings; give the same ones "
                        "to go on, or another --results-dir"
                    )
                self.done[step.number] = _reproduced(step, entry)

    def values(self) -> dict[str, Any]:
        """What `reproduce --json` prints, and what is kept."""
        return {
            "lifecycle": self.name,
            **self.settings,
            "steps": [self._values(step) for step in self.steps],
        }

    def write(self, folder: Path) -> list[Path]:
        """Keep steps.json, from which the same command goes on, and table.md."""
        folder.mkdir(parents=True, exist_ok=True)
        steps, table = folder / "steps.json", folder / "table.md"
        part = steps.with_name(steps.name + ".part")
        part.write_text(json.dumps(self.values(), indent=1) + "\n", "utf-8")
        part.replace(steps)
        rows = [_HEADINGS, ["---"] * len(_HEADINGS), *map(self._row, self.steps)]
        table.write_text("".join(f"| {' | '.join(row)} |\n" for row in rows), "utf-8")
        return [steps, table]

    def table(self) -> Table:
        table = Table(
            title=f"{self.name}: published, and retrained here",
            title_justify="left",
            caption="Published: the best epochs of one run. Train accuracies are those of the "
            "network as it changed, over augmented images.",
            caption_justify="left",
        )
        for heading in _HEADINGS:
            left = heading in ("target", "analysis")
            table.add_column(heading, justify="left" if left else "right")
        for step in self.steps:
            table.add_row(*self._row(step))
        return table

    def step_line(self, step: Reproduced) -> str:
        """A step in a line, as it is done."""
        test = spread_text(step.test_mean, step.test_sd)
        return (
            f"step {step.step.number}, {step.step.title}: test {test} % at the final "
            f"epoch, best {step.test_best:.2f} %, published {step.step.test_accuracy:.2f} %"
        )

    def _before(self, step: Step) -> Reproduced | None:
        earlier = [number for number in self.done if number < step.number]
        return self.done[max(earlier)] if earlier else None

    def _row(self, step: Step) -> list[str]:
        done = self.done.get(step.number)
        row = [str(step.number), step.title]
        if done is None:
            why = self.left_out.get(step.number, "not yet trained")
            row += [f"{step.parameters:,}", f"{step.train_accuracy:.2f}", ""]
            return [*row, f"{step.test_accuracy:.2f}", "", "", why]
        return [
            *row,
            f"{done.architecture.parameters:,}",
            f"{step.train_accuracy:.2f}",
            f"{done.train_best:.2f}",
            f"{step.test_accuracy:.2f}",
            f"{done.test_best:.2f}",
            spread_text(done.test_mean, done.test_sd),
            analysis(done, self._before(step)),
        ]

    def _trained(self, step: Step) -> dict[str, Any]:
        """What a step's result depends on."""
        assert step.reference is not None
        recipe = step_recipe(step, self.settings["epochs"])
        shared = ("dataset", "train_samples", "seeds")
        return {
            "notation": format_notation(references()[step.reference].architecture),
            **{name: self.settings[name] for name in shared},
            "recipe": recipe.as_dict(),
        }

    def _values(self, step: Step) -> dict[str, Any]:
        values: dict[str, Any] = {
            "step": step.number,
            "title": step.title,
            "network": step.reference,
            "published": {
                "parameters": step.parameters,
                "train_accuracy": step.train_accuracy,
                "test_accuracy": step.test_accuracy,
                "recipe": step.recipe,
                "note": step.note,
            },
        }
        done = self.done.get(step.number)
        if done is None:
            why = self.left_out.get(step.number, "not yet trained")
            return {**values, "left_out": why}
        return {
            **values,
            "measured": {
                "parameters": done.architecture.parameters,
                "train_accuracy_best": done.train_best,
                "train_accuracy_mean": done.train_mean,
                "test_accuracy_best": done.test_best,
                "test_accuracy_mean": done.test_mean,
                "test_accuracy_sd": done.test_sd,
                "last4_min": min(run.last4_min for run in done.runs),
            },
            "analysis": analysis(done, self._before(step)),
            "trained": self._trained(step),
            "runs": [
                {"seed": run.seed, "curve": [entry.entry("test_accuracy") for entry in run.curve]}
                for run in done.runs
            ],
        }


def read_reproduced(file: Path, dataset: str) -> list[Reproduced]:
    """The steps that `reproduce` has trained and kept in `file`, its steps.json.

    Raises DataError if it cannot be read, and RequestError if they were trained on other images
    than those of `dataset`.
    """
    with _reading(file):
        lifecycle, entries = _lifecycle_and_trained(file)
        known = {step.number: step for step in lifecycle_steps(lifecycle)}
        for entry in entries:
            trained_on = entry["trained"]["dataset"]
            if trained_on != dataset:
                raise RequestError(f"{file} was trained on {trained_on}, not on {dataset}")
        return [_reproduced(known[entry["step"]], entry) for entry in entries]


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{file}: {reason(error)}") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        said = f" ({error})" if isinstance(error, ValueError) else ""
        raise DataError(
            f"{file}: not a steps.json that `reproduce` kept{said}; move it away or name another"
        ) from None


def _lifecycle_and_trained(file: Path) -> tuple[str, list[dict[str, Any]]]:
    values = json.loads(file.read_text("utf-8"))
    return values["lifecycle"], [entry for entry in values["steps"] if "runs" in entry]


def _reproduced(step: Step, entry: Mapping[str, Any]) -> Reproduced:
    assert step.reference is not None
    runs = [Run(run["seed"], [_record(**epoch) for epoch in run["curve"]]) for run in entry["runs"]]
    try:
        recipe = Recipe().changed(entry["trained"]["recipe"])
    except RequestError as error:
        raise ValueError(str(error)) from None
    return Reproduced(step, references()[step.reference].architecture, recipe, tuple(runs))


def _record(*, test_accuracy: float, epoch: int, **record: float) -> EpochRecord:
    return EpochRecord(epoch=int(epoch), accuracy=test_accuracy, **record)

"""A lifecycle retrained: kept step by step, and shown as the table that its author kept."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

from rich.table import Table

from nas_mnist.errors import DataError, RequestError, reason
from nas_mnist.networks.architecture import format_notation
from nas_mnist.networks.references import Step, references
from nas_mnist.report import replace_files, tables
from nas_mnist.training import runs
from nas_mnist.training.recipe import Recipe
from nas_mnist.training.runs import Reproduced, Run
from nas_mnist.training.trainer import EpochRecord

HEADINGS = (
    *("step", "target", "parameters", "train % published", "train % here", "test % published"),
    *("test % here, best epoch", "test % here, final epoch", "analysis"),
)


class Lifecycle:
    """The steps of a lifecycle, those retrained among them, and the files they are kept in."""

    def __init__(self, name: str, settings: Mapping[str, Any], folder: Path) -> None:
        """`settings` are what its runs share beside the recipe, such as dataset and seeds. The
        steps that `folder` has are taken over, and those of a lifecycle in a folder beside it that
        were trained alike. DataError if its own cannot be read; RequestError if they are of other
        recipes or data, or lack a seed: they are not written over."""
        self.name, self.settings, self.steps = name, settings, runs.lifecycle_steps(name)
        self.files = folder / "steps.json", folder / "table.md"
        self._mnist = settings["dataset"] == "mnist"  # what the authors' accuracies are of
        most = settings["most_parameters"]
        reasons = ((step.number, runs.left_out(step, most)) for step in self.steps)
        self.left_out = {number: why for number, why in reasons if why is not None}
        self.done: dict[int, Reproduced] = {}
        if self.files[0].exists():
            with _kept(self.files[0]) as (_, entries):
                for step in [step for step in self.steps if step.number in entries]:
                    seeds = () if step.number in self.left_out else settings["seeds"]
                    if not self._alike(step, entries[step.number], seeds):
                        raise RequestError(
                            f"{self.files[0]} has step {step.number} under other settings; give "
                            "the same ones to go on, or another --results-dir"
                        )
                    self.done[step.number] = _reproduced(step, entries[step.number])
        for file in sorted(folder.parent.glob("*/steps.json")):
            with suppress(DataError), _kept(file) as (_, entries):
                for step, entry in product(self.missing(), entries.values()):
                    begun = _begun(entry, runs.step_recipe(step, settings["epochs"]).epochs)
                    if self._alike(step, begun, settings["seeds"]):
                        self.done[step.number] = _reproduced(step, begun)
        self.left_out = {own: why for own, why in self.left_out.items() if own not in self.done}

    @classmethod
    def kept(cls, folder: Path) -> "Lifecycle":
        """As `reproduce` has kept it in `folder` so far. DataError if it has not."""
        with _kept(folder / "steps.json") as (values, _):
            settings = {own: values[own] for own in values.keys() - {"lifecycle", "steps"}}
            return cls(values["lifecycle"], settings, folder)

    def published(self, step: Step) -> dict[str, Any]:
        """What its author published of it; no accuracies where it is trained on other images."""
        accuracies = "train_accuracy", "test_accuracy"
        told = tables.picked(step, "parameters", *accuracies, "recipe", "note")
        return told if self._mnist else told | dict.fromkeys(accuracies)

    def missing(self) -> list[Step]:
        """The steps still to be trained."""
        return [step for step in self.steps if step.number not in self.left_out | self.done]

    def values(self) -> dict[str, Any]:
        """What `reproduce --json` prints, and what is kept."""
        steps = [self._values(step) for step in self.steps]
        return {"lifecycle": self.name, **self.settings, "steps": steps}

    def write(self) -> None:
        """Keep steps.json, from which the same command goes on, and table.md."""
        table = tables.markdown_table(self.rows(), ["---"] * len(HEADINGS))
        texts = f"{json.dumps(self.values(), indent=1)}\n", f"{table}\n"
        replace_files(dict(zip(self.files, map(str.encode, texts), strict=True)))

    def table(self) -> Table:
        train = "Train accuracies are those of the network as it changed, over augmented images."
        published = "the best epochs of one run" if self._mnist else "of MNIST alone"
        caption = f"Published: {published}. {train}"
        title = f"{self.name}: published, and retrained here"
        return tables.text_table(title, self.rows(), caption)

    def _said(self, step: Step) -> str:
        """What a step's measurements say, or why there are none."""
        if step.number not in self.done:
            return self.left_out.get(step.number, "not yet trained")
        earlier = [number for number in self.done if number < step.number]
        before = self.done[max(earlier)] if earlier else None
        return runs.analysis(self.done[step.number], before)

    def rows(self) -> list[list[str]]:
        """Of its table; the first has the `HEADINGS`."""
        rows: list[Any] = [HEADINGS]
        for step in self.steps:
            size, train, test, final = step.parameters, None, None, None
            if done := self.done.get(step.number):
                train, test, size = done.train_best, done.test_best, done.architecture.parameters
                final = tables.spread_text(done.test_mean, done.test_sd)
            told = self.published(step)
            shown = told["train_accuracy"], train, told["test_accuracy"], test
            rows.append([step.number, step.title, size, *shown, final, self._said(step)])
        return tables.as_text(rows)

    def _alike(self, step: Step, entry: Mapping[str, Any], seeds: Sequence[int]) -> bool:
        """Whether the kept step was trained as this one is to be, with these seeds among others."""
        kept = {**entry["trained"], "recipe": _recipe(entry).as_dict()}
        return kept == self._trained(step, kept["seeds"]) and {*seeds} <= {*kept["seeds"]}

    def _trained(self, step: Step, seeds: Sequence[int]) -> dict[str, Any]:
        """What a step's result depends on."""
        return {
            "notation": format_notation(references()[str(step.reference)].architecture),
            **{name: self.settings[name] for name in ("dataset", "train_samples")},
            "seeds": seeds,
            "recipe": runs.step_recipe(step, self.settings["epochs"]).as_dict(),
        }

    def _values(self, step: Step) -> dict[str, Any]:
        values = {"step": step.number, "title": step.title, "network": step.reference}
        values |= {"published": self.published(step)}
        if (done := self.done.get(step.number)) is None:
            return {**values, "left_out": self._said(step)}
        found = ("train_best", "train_mean", "test_best", "test_mean", "test_sd")
        measured: dict[str, Any] = {"parameters": done.architecture.parameters}
        measured |= {name.replace("_", "_accuracy_"): getattr(done, name) for name in found}
        measured["last4_min"] = min(run.last4_min for run in done.runs)
        measured["test_images"] = done.images
        values |= {"measured": measured, "analysis": self._said(step)}
        kept = [{"seed": run.seed, "curve": tables.curve_values(run)} for run in done.runs]
        trained = self._trained(step, [run.seed for run in done.runs])
        return {**values, "trained": trained, "runs": kept}


def read_reproduced(files: Sequence[Path], dataset: str) -> list[Reproduced]:
    """The steps that `reproduce` has trained and kept in these files, each a steps.json. DataError
    if one cannot be read; RequestError if it was trained on other images than the dataset's."""
    found = []
    for file in files:
        with _kept(file) as (values, entries):
            known = {step.number: step for step in runs.lifecycle_steps(values["lifecycle"])}
            for number, entry in entries.items():
                if (trained_on := entry["trained"]["dataset"]) != dataset:
                    raise RequestError(f"{file} was trained on {trained_on}, not on {dataset}")
                found.append(_reproduced(known[number], entry))
    return found


@contextmanager
def _kept(file: Path) -> Iterator[tuple[dict[str, Any], dict[int, dict[str, Any]]]]:
    """A steps.json, and its trained steps by number; DataError where what is done with them finds
    that they are none."""
    try:
        values = json.loads(file.read_text("utf-8"))
        yield values, {entry["step"]: entry for entry in values["steps"] if "runs" in entry}
    except OSError as error:
        raise DataError(f"{file}: {reason(error)}") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        said = f" ({error})" if isinstance(error, ValueError) else ""
        raise DataError(
            f"{file}: not a steps.json that `reproduce` kept{said}; move it away or name another"
        ) from None


def _recipe(entry: Mapping[str, Any]) -> Recipe:
    """Of a kept step; what recipes have gained since has its default."""
    try:
        return Recipe().changed(entry["trained"]["recipe"])
    except RequestError as error:
        raise ValueError(str(error)) from None


def _begun(entry: Mapping[str, Any], epochs: int) -> Mapping[str, Any]:
    """A kept step as it was after so many epochs, if shorter training is how longer begins."""
    if not (recipe := _recipe(entry)).open_ended:
        return entry
    shorter = recipe.changed({"epochs": min(epochs, recipe.epochs)})
    kept = [{**run, "curve": run["curve"][: shorter.epochs]} for run in entry["runs"]]
    return {**entry, "trained": {**entry["trained"], "recipe": shorter.as_dict()}, "runs": kept}


def _reproduced(step: Step, entry: Mapping[str, Any]) -> Reproduced:
    trained = []
    for run in entry["runs"]:
        curve = [EpochRecord.of(epoch, "test_accuracy") for epoch in run["curve"]]
        trained.append(Run(run["seed"], curve))
    network = references()[str(step.reference)].architecture
    own = {"images": int(count)} if (count := entry["measured"].get("test_images")) else {}
    return Reproduced(step, network, _recipe(entry), tuple(trained), **own)

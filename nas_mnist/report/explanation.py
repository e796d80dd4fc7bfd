"""What each decision buys: trained and kept variant by variant, and shown as a table."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from rich.table import Table

from nas_mnist.errors import DataError, RequestError, reason
from nas_mnist.networks.architecture import format_notation, parse_notation
from nas_mnist.report import replace_files, tables
from nas_mnist.training.decisions import Variant
from nas_mnist.training.paired import Difference, PairedRun, Task, differences
from nas_mnist.training.recipe import Recipe
from nas_mnist.training.trainer import EpochRecord

_HEADINGS = (
    *("step", "target", "parameters", "MACs", "receptive field", "train %", "validation %"),
    *("difference", "test %", "lowest of last 4 %", "analysis"),
)


class Explanation:
    """A network's variants, the runs of those that are trained, and the files that keep them."""

    def __init__(
        self, name: str, variants: Sequence[Variant], settings: Mapping[str, Any], file: Path
    ) -> None:
        """`settings`: what all runs share beside network, recipe and seed. The runs that `file`
        (.json) has are taken over: DataError if they cannot be read, RequestError if they are of
        other settings."""
        self.name, self.variants, self.settings = name, variants, dict(settings)
        self.file, self.table_file = file, file.with_suffix(".md")
        self.runs: dict[str, list[PairedRun]] = {own.name: [] for own in variants}
        if file.exists():
            self._read()

    @classmethod
    def kept(cls, file: Path) -> Self:
        """What `explain` kept in that file. DataError if it cannot be read."""
        with _reading(file):
            values = json.loads(file.read_text("utf-8"))
            variants = [
                Variant(
                    entry["name"],
                    entry["title"],
                    parse_notation(entry["notation"]),
                    Recipe().changed(entry["recipe"]),
                    entry["impossible"],
                )
                for entry in values["variants"]
            ]
            settings = {n: v for n, v in values.items() if n not in ("name", "variants")}
            name = str(values["name"])
        return cls(name, variants, settings, file)

    @property
    def chain(self) -> bool:
        """Whether each is compared with the one before, not with the first."""
        return self.variants[0].name == "skeleton"

    def tasks(
        self, seeds: Sequence[int], largest: int | None = None, only: Sequence[str] = ()
    ) -> list[Task]:
        """What is still to be trained: every variant with all seeds, or those named in `only`, or
        those with the `largest` differences so far; and what they are compared with. RequestError
        for a name that no variant has."""
        if unknown := [name for name in only if name not in self.runs]:
            said = f"{unknown[0]!r} is no decision of {self.name}, which has"
            raise RequestError(f"{said} {', '.join([*self.runs][1:])}")
        wanted = [own.name for own in self.variants if not own.impossible]
        wanted = [name for name in wanted if name in only or not only]
        if largest is not None:
            effects = {name: own for name, own in self.differences().items() if own}
            ranked = sorted(effects, key=lambda name: -abs(effects[name].mean))[:largest]
            wanted = [name for name in ranked if name in wanted]
        wanted += [self._base(name) for name in wanted]
        tasks: dict[Any, Task] = {}  # two variants may be the same network
        for own in self.variants:
            have = {run.seed for run in self.runs[own.name]}
            left = tuple(seed for seed in seeds if seed not in have)
            if left and own.name in wanted:
                tasks[_trained(own)] = Task(own.name, own.architecture, own.recipe, left)
        return [*tasks.values()]

    def add(self, name: str, runs: Sequence[PairedRun]) -> None:
        """Keep more runs of a variant, and of those that are the same network, to as many digits as
        the file has."""
        more = [_run(_run_values(run)) for run in runs]
        (trained,) = (_trained(own) for own in self.variants if own.name == name)
        self._take(trained, more)
        self.write()

    def write(self) -> None:
        table = tables.markdown_table(self.rows(), ["---"] * len(_HEADINGS))
        text = f"{json.dumps(self.values(), indent=1)}\n"
        replace_files({self.file: text.encode(), self.table_file: f"{table}\n".encode()})

    def differences(self) -> dict[str, Difference | None]:
        """Of each variant to what it is compared with; None before both are trained."""
        possible = [own.name for own in self.variants if not own.impossible]
        found = differences(self.runs, {name: self._base(name) for name in possible[1:]})
        return {own.name: found.get(own.name) for own in self.variants}

    def values(self) -> dict[str, Any]:
        """What `explain --json` prints, and what is kept."""
        effects, said = self.differences(), self.analyses()
        kept = []
        for own in self.variants:
            values: dict[str, Any] = tables.picked(own, "name", "title", "impossible")
            values |= {**tables.size_values(own.architecture), "recipe": own.recipe.as_dict()}
            effect = effects[own.name]
            values |= {"difference": effect and effect._asdict(), "analysis": said[own.name]}
            values["runs"] = [_run_values(run) for run in self.runs[own.name]]
            kept.append(values)
        return {"name": self.name, **self.settings, "variants": kept}

    def table(self) -> Table:
        title = f"{self.name}: {'one decision a step' if self.chain else 'what each decision buys'}"
        return tables.text_table(title, self.rows(), self.caption())

    def caption(self) -> str:
        """What the table's figures are."""
        compared = "the step before it" if self.chain else "the network as it is"
        return (
            f"Difference: of the mean validation accuracy to that of {compared}, with the same "
            "seeds, ± standard error. Train accuracies are those of the network as it changed, "
            "over augmented images. Test accuracies are there to be read, and decided nothing."
        )

    def rows(self) -> list[list[str]]:
        rows: list[Any] = [_HEADINGS]
        effects, said = self.differences(), self.analyses()
        for number, own in enumerate(self.variants):
            runs = [run for run in self.runs[own.name] if not run.diverged]
            train, held_out, test = (
                _spread([getattr(run, f"{kind}_accuracy") for run in runs])
                for kind in ("train", "val", "test")
            )
            _, *sizes = tables.size_values(own.architecture).values()
            shown = [None] * len(sizes) if own.impossible else sizes
            lowest = min((run.last4_min for run in runs), default=None)
            effect = effects[own.name]
            difference = effect and f"{effect.mean:+.2f} ± {effect.error:.2f}"
            cells = [train, held_out, difference, test, lowest]
            rows.append([number, own.title, *shown, *cells, said[own.name]])
        return tables.as_text(rows)

    def drawn(self) -> tuple[str, dict[str, Difference]]:
        """The title of a figure, and the differences by what they are called there."""
        effects = self.differences()
        drawn = {own.title: found for own in self.variants if (found := effects[own.name])}
        what = "one decision a step" if self.chain else "each decision undone"
        return f"{self.name}: {what}", drawn

    def analyses(self) -> dict[str, str]:
        """What the numbers say of each variant, in words."""
        effects = self.differences()
        sizes = sorted((abs(own.mean) for own in effects.values() if own), reverse=True)
        return {own.name: self._analysis(own, effects[own.name], sizes) for own in self.variants}

    def _analysis(self, own: Variant, effect: Difference | None, sizes: Sequence[float]) -> str:
        runs = self.runs[own.name]
        diverged = sum(run.diverged for run in runs)
        lost = f"{diverged} of {len(runs)} seeds diverged" if diverged else ""
        if own.impossible:
            return f"there is no such network: {own.impossible}"
        if effect is None:
            return lost or ("" if runs else "not yet trained")
        size, verb = abs(effect.mean), "loses" if effect.mean < 0 else "gains"
        ends = [run.val_accuracy for run in runs if not run.diverged]
        wide = f"seeds end at {min(ends):.2f} to {max(ends):.2f}" if effect.error > 1 else ""
        if not effect.beyond_chance:
            said = f"no more than chance ({effect.mean:+.2f} ± {effect.error:.2f})"
            return "; ".join(filter(None, [said, wide, lost]))
        rank = ": the largest of all" if size == sizes[0] and len(sizes) > 1 else ""
        said = f"{verb} {size:.2f} ± {effect.error:.2f}{rank}"
        seeds = {run.seed for run in runs if not run.diverged}
        same = [run for run in self.runs[self._base(own.name)] if run.seed in seeds]
        train = _mean_train(runs) - _mean_train(same)
        return "; ".join(filter(None, [said, _because(effect.mean, train, own.name), wide, lost]))

    def _base(self, name: str) -> str:
        """What a variant is compared with."""
        names = [own.name for own in self.variants if not own.impossible]
        return names[max(0, names.index(name) - 1)] if self.chain else names[0]

    def _take(self, trained: tuple[str, Recipe], runs: Sequence[PairedRun]) -> None:
        """Give these to every variant that they are runs of, each seed once."""
        for own in self.variants:
            if not own.impossible and _trained(own) == trained:
                known = {run.seed: run for run in (*self.runs[own.name], *runs)}
                self.runs[own.name] = [known[seed] for seed in sorted(known)]

    def _read(self) -> None:
        first, last = self.variants[0], self.variants[-1]
        with _reading(self.file):
            kept = json.loads(self.file.read_text("utf-8"))
            entries = [
                ((entry["notation"], Recipe().changed(entry["recipe"])), entry["runs"])
                for entry in kept["variants"]
            ]
            settings = {name: kept[name] for name in self.settings}
            if (entries[0][0], entries[-1][0]) != (_trained(first), _trained(last)):
                settings["network or recipe"] = None
            for trained, runs in entries:
                self._take(trained, [*map(_run, runs)])
        if other := [name for name in settings if settings[name] != self.settings.get(name, "")]:
            said = f"was made with another {other[0].replace('_', '-')}"
            raise RequestError(f"{self.file} {said}; give the same, or another --results-dir")


def _trained(variant: Variant) -> tuple[str, Recipe]:
    """What a run of it depends on."""
    return format_notation(variant.architecture), variant.recipe


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{file}: {reason(error)}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RequestError):
        said = "not a file that `explain` kept; move it away, or name another"
        raise DataError(f"{file}: {said}") from None


def _run_values(run: PairedRun) -> dict[str, Any]:
    curve = [record.entry("val_accuracy") for record in run.curve]
    return {**tables.picked(run, "seed", "test_accuracy", "diverged"), "curve": curve}


def _run(kept: Mapping[str, Any]) -> PairedRun:
    curve = [EpochRecord.of(epoch, "val_accuracy") for epoch in kept["curve"]]
    return PairedRun(kept["seed"], curve, kept["test_accuracy"], kept["diverged"])


def _spread(values: Sequence[float]) -> str | None:
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return tables.spread_text(statistics.fmean(values), deviation) if values else None


def _mean_train(runs: Sequence[PairedRun]) -> float:
    return statistics.fmean(run.train_accuracy for run in runs if not run.diverged)


def _because(held_out: float, train: float, name: str) -> str:
    """What a change of the train accuracy says of one of the validation accuracy, in points."""
    if name == "augmentation":
        return f"train {train:+.2f}, over other images"
    if held_out < 0 and train > 0:
        return f"train rises by {train:.2f}: it over-fits"
    if held_out < 0:
        return f"train falls by {-train:.2f} too: it lacks capacity or training, not regularization"
    if train > 0:
        return f"train rises by {train:.2f} too: it learns more"
    return f"train falls by {-train:.2f}: it is regularized better"

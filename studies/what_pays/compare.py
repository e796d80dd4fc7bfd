"""Try changes of layers or recipe at four sizes, paired by seed, on validation images.

python studies/what_pays/compare.py deskew batch-64 -o results/what-pays/runs.csv
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

sys.path.append(str(Path(__file__).parents[1] / "pruner_simulation"))

from figures import write_frame
from script import Parser, at_least, run

from nas_mnist.errors import DivergedError, RequestError
from nas_mnist.lookup import import_plugin, module_of
from nas_mnist.networks.architecture import Limit, format_notation
from nas_mnist.networks.layers import Layer, convolution as op
from nas_mnist.networks.layers.composite import Repeat, Residual
from nas_mnist.networks.layers.deskew import Deskew
from nas_mnist.networks.layers.smooth import AntiAliasedPool, SiLU
from nas_mnist.networks.layers.views import Views
from nas_mnist.networks.resizing import fit
from nas_mnist.networks.skeleton import Block, Template
from nas_mnist.processes import in_processes
from nas_mnist.report import writing
from nas_mnist.report.tables import markdown_table
from nas_mnist.search.space import DEFAULT
from nas_mnist.training.device import keep_freed_memory
from nas_mnist.training.recipe import Recipe, merged

SIZES = (1000, 2000, 4000, 8000)
# The shapes that a search begins with, but plain: no deskewing, views or anti-aliased pools.
BASES: dict[str, tuple[dict[str, Any], float]] = {
    "dense": (dict(width_ratio_2=1.5, width_ratio_3=1.17), 0.2),
    "separable": (
        dict(width_ratio_2=1.5, width_ratio_3=1.17, convolutions_3=2, convolution="separable"),
        0.3,
    ),
}
_COLUMNS = ["change", "base", "size", "seed", "parameters", "notation"]
_DIFFERENCES = ("error", "loss")


@dataclass(frozen=True)
class Change:
    """What is done to a network before its widths are found, and to how it is trained."""

    layers: Sequence[Callable[[Template], Template]] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    bases: Sequence[str] = tuple(BASES)

    def __add__(self, other: Change) -> Change:
        both = tuple(base for base in self.bases if base in other.bases)
        return Change((*self.layers, *other.layers), merged(self.recipe, other.recipe), both)


def _blocks(**settings: Any) -> Callable[[Template], Template]:
    def changed(template: Template) -> Template:
        return replace(template, blocks=tuple(replace(b, **settings) for b in template.blocks))

    return changed


def _depths(*depths: int) -> Callable[[Template], Template]:
    def changed(template: Template) -> Template:
        blocks = zip(template.blocks, depths, strict=False)
        return replace(template, blocks=tuple(replace(b, depth=depth) for b, depth in blocks))

    return changed


def _windows(*sides: int) -> Callable[[Template], Template]:
    def changed(template: Template) -> Template:
        blocks = zip(template.blocks, sides, strict=False)
        return replace(template, blocks=tuple(replace(b, kernel=side) for b, side in blocks))

    return changed


@dataclass(frozen=True, slots=True)
class _Repeating(Block):
    """Applies its last convolution twice, padded, if it has two or more."""

    def layers(self, *where: Any, first: bool) -> tuple[list[Layer], int]:
        made, side = Block.layers(replace(self, residual=self.depth > 1), *where, first=first)
        return [_twice(layer) if isinstance(layer, Residual) else layer for layer in made], side


def _twice(residual: Residual) -> Repeat:
    *_, last = (own for own in residual.layers if isinstance(own, op.Conv))
    return Repeat(2, (last, op.ReLU(), op.BatchNorm()))


def _repeating(template: Template) -> Template:
    blocks = (_Repeating(block.depth, block.ratio) for block in template.blocks)
    return replace(template, blocks=tuple(blocks))


def _smoothly_pooled(template: Template) -> Template:
    return replace(template, pool=AntiAliasedPool())


def _entered(layer: Layer) -> Callable[[Template], Template]:
    return lambda template: replace(template, entry=(*template.entry, layer))


_UNSCALED = (op.ReLU(), op.BatchNorm(scale=False))
_WEAKER = {"augmentation": {"rotation": 5.0, "shift": 0.7, "scale": 0.03}}
_HARDER = {"augmentation": {"rotation": 5.0, "shift": 1.5, "scale": 0.12, "shear": 8.0}}
CHANGES = {
    "none": Change(),
    "deskew": Change([_entered(Deskew())]),
    "deskew-sized": Change([_entered(Deskew(sized=True))]),
    "views": Change([_entered(Views())]),
    "unscaled": Change([_blocks(tail=_UNSCALED)]),
    "norm-first": Change([_blocks(tail=_UNSCALED[::-1])]),
    "kernel-5": Change([_windows(3, 5, 5)], bases=("separable",)),
    "kernel-7": Change([_windows(3, 7, 5)], bases=("separable",)),
    "residual": Change([_blocks(residual=True)]),
    "repeat": Change([_repeating], bases=("dense",)),
    "anti-aliased": Change([_smoothly_pooled]),
    "silu": Change([_blocks(tail=(SiLU(), op.BatchNorm()))]),
    # Convolutions of each block; the dense base has 2, 2 and 1, the separable one 2, 2 and 2.
    "depths-221": Change([_depths(2, 2, 1)], bases=("separable",)),
    "depths-121": Change([_depths(1, 2, 1)], bases=("separable",)),
    "depths-122": Change([_depths(1, 2, 2)], bases=("separable",)),
    "depths-12": Change([_depths(1, 2)], bases=("separable",)),
    "batch-64": Change(recipe={"batch_size": 64}),
    "batch-64-rate-0.15": Change(recipe={"batch_size": 64, "learning_rate": 0.15}),
    "harder": Change(recipe=_HARDER),
    "weaker": Change(recipe=_WEAKER),
    "plain-1": Change(recipe={"augmentation": {"plain_epochs": 1}}),
    "plain-3": Change(recipe={"augmentation": {"plain_epochs": 3}}),
    "average-1": Change(recipe={"average_epochs": 1.0}),
    "decay-0.001": Change(recipe={"weight_decay": 0.001}),
    "decay-0.0002": Change(recipe={"weight_decay": 0.0002}),
    "rate-0.1": Change(recipe={"learning_rate": 0.1}),
    "rate-0.4": Change(recipe={"learning_rate": 0.4}),
    "muon": Change(recipe={"optimizer": "muon:Muon"}),
}


def change_of(name: str) -> Change:
    """Changes joined by `+` are made one after another. RequestError for one that is not known."""
    made = Change()
    for part in name.split("+"):
        if part not in CHANGES:
            raise RequestError(f"change {part!r} is not one of {', '.join(CHANGES)}")
        made += CHANGES[part]
    return made


def main() -> None:
    parser = Parser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("changes", nargs="+", help=f"of {', '.join(CHANGES)}, or several with +")
    parser.add_argument("-o", "--output", type=Path, required=True, help="all runs so far, .csv")
    parser.add_argument("--against", default="none", help="what they are paired with")
    parser.add_argument("--seeds", type=at_least(1), default=3)
    parser.add_argument("--sizes", type=at_least(300), nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--bases", nargs="+", choices=BASES, default=[*BASES], metavar="BASE")
    parser.add_argument("--epochs", type=at_least(1), default=15)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--train-samples", type=at_least(2))
    # The same on every processor, so that a file may be of several.
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--workers", type=at_least(1), default=2)
    asked = parser.parse_args()
    if asked.output.suffix != ".csv":
        raise RequestError(f"-o {asked.output} is not a file name that ends in .csv")
    known = pd.read_csv(asked.output) if asked.output.exists() else pd.DataFrame(columns=_COLUMNS)
    names = dict.fromkeys([asked.against, *asked.changes])
    settings = {
        **{"epochs": asked.epochs, "dataset": asked.dataset},
        **{"samples": asked.train_samples, "precision": asked.precision},
    }
    done = {(row.change, row.base, row.size, row.seed) for row in known.itertuples()}
    # The largest last: what comes of an interrupted run is then of all changes.
    tasks = [
        (name, base, size, tuple(left))
        for size in sorted(asked.sizes)
        for name in names
        for base in asked.bases
        if base in change_of(name).bases
        and (left := [n for n in range(asked.seeds) if (name, base, size, n) not in done])
    ]
    work = partial(trained, **settings)
    results = in_processes(asked.workers, keep_freed_memory, work, tasks)
    for number, (_, found) in enumerate(results, start=1):
        rows = pd.DataFrame(found)
        known = rows if known.empty else pd.concat([known, rows])
        with writing(asked.output):
            write_frame(known, asked.output)
        print(f"{number} of {len(tasks)}: {rows.iloc[0].notation}", file=sys.stderr)
    print(table(known, [name for name in asked.changes if name != asked.against], asked.against))


def trained(
    name: str,
    base: str,
    size: int,
    seeds: Sequence[int],
    epochs: int,
    dataset: str,
    samples: int | None,
    precision: str,
) -> list[dict[str, Any]]:
    """A row a seed, of the final epoch; the test images are not looked at. All seeds hold the same
    images out."""
    from nas_mnist.training.datasets import load_dataset, split_dataset
    from nas_mnist.training.device import resolve_device, resolve_precision
    from nas_mnist.training.pack import Member, Pack

    change, (point, rate) = change_of(name), BASES[base]
    template = DEFAULT.template(DEFAULT.point(point))
    for own in change.layers:
        template = own(template)
    network = fit(template, Limit(size))
    data = load_dataset(dataset)
    train, held_out = split_dataset(data, 0, samples)
    recipe = Recipe(learning_rate=rate, epochs=epochs).changed(change.recipe)
    if module := module_of(recipe.optimizer):
        import_plugin(module)
    members = [Member(network, recipe, seed) for seed in seeds]
    device = resolve_device("cpu")
    kind = resolve_precision(precision, device)
    where: Any = {"normalization": data.normalization, "device": device, "precision": kind}
    *_, last = Pack(members, train, held_out, **where)
    rows = []
    for index, seed in enumerate(seeds):
        record = last.get(index)
        own = None if isinstance(record, DivergedError) else record
        ended = {"val_accuracy": own and own.accuracy, "val_loss": own and own.loss}
        ended |= {"train_loss": own and own.train_loss}
        row = dict(zip(_COLUMNS, (name, base, size, seed, network.parameters), strict=False))
        rows.append({**row, "notation": format_notation(network), **ended})
    return rows


def table(runs: pd.DataFrame, names: Sequence[str], against: str) -> str:
    """In markdown, a row a base and change: the mean validation accuracy at each size, and by how
    much validation error and loss differ over all sizes, as geometric means ± standard error; p is
    that of the error, by a paired t-test of logarithms."""
    sizes = sorted(runs["size"].unique())
    rows = [["change", "base", *(f"{size:,}" for size in sizes), "pairs", "error", "p", "loss"]]
    for base, own in runs.groupby("base"):
        for name in (against, *names):
            if len(both := paired(own, name, against)):
                means = both.groupby("size").val_accuracy_with.mean()
                cells = [f"{means[size]:.2f}" if size in means else "" for size in sizes]
                error, loss = (_percent(both[of]) for of in _DIFFERENCES)
                p = f"{ttest_1samp(both.error, 0).pvalue:.1g}" if len(both) > 1 else ""
                told = [str(len(both)), error, p, loss] if name != against else [""] * 4
                rows.append([name, str(base), *cells, *told])
    return markdown_table(rows, ["---"] * len(rows[0]))


def _percent(logarithms: pd.Series) -> str:
    """How much larger it is, of the logarithms of ratios."""
    ratio = 100 * np.exp(logarithms.mean())
    return f"{ratio - 100:+.1f} ± {ratio * logarithms.sem():.1f} %"


def paired(runs: pd.DataFrame, name: str, against: str) -> pd.DataFrame:
    """A row for each base, size and seed that both have: the logarithm of the ratio of their
    validation errors, and of their losses; below 0 is better."""
    key = ["base", "size", "seed"]
    columns = [*key, "val_accuracy", "val_loss"]
    without, with_it = (runs[runs.change == own][columns] for own in (against, name))
    both = without.merge(with_it, on=key, suffixes=("", "_with")).dropna()
    both["error"] = np.log((100 - both.val_accuracy_with) / (100 - both.val_accuracy))
    both["loss"] = np.log(both.val_loss_with / both.val_loss)
    return both


if __name__ == "__main__":
    run(main)

"""How tables are made, and what is said of single networks: plain values for `--json`, and
tables for people. Rows are lists of cells, the headings first, wherever they are shown."""

import statistics
from collections.abc import Sequence
from dataclasses import fields
from itertools import groupby
from typing import Any

from rich.table import Table

from nas_mnist.networks.architecture import Architecture, format_notation
from nas_mnist.networks.layers import Layer, format_layers
from nas_mnist.networks.references import Reference, Step
from nas_mnist.training.paired import Difference
from nas_mnist.training.runs import LAST_EPOCHS, Run, mean_and_sd
from nas_mnist.training.speed import TRIAL_IMAGES, Measured

_WORTH_SEEING = 0.05  # points
_SIZES = ("parameters", "macs", "receptive_field")
TEXT_COLUMNS = {
    *("analysis", "layer", "lifecycle", "loop", "name", "network", "notation", "steps"),
    *("dataset", "study", "target", "title", "settings", "note"),
}
"""headings of columns that stand on the left; all others are numbers"""

Rows = Sequence[Sequence[str | float | None]]


def as_text(rows: Rows) -> list[list[str]]:
    """The rows as people read them: counts as 7,884, percents as 99.40, what is missing empty."""

    def text(cell: str | float | None) -> str:
        if isinstance(cell, float):
            return f"{cell:.2f}"
        return f"{cell:,}" if isinstance(cell, int) else cell or ""

    return [[text(cell) for cell in row] for row in rows]


def text_table(title: str, rows: Rows, caption: str | None = None) -> Table:
    headings, *lines = as_text(rows)
    style: Any = {"title_justify": "left", "caption_justify": "left"}
    table = Table(title=title or None, caption=caption or None, **style)
    for heading in headings:
        side: Any = "left" if heading in TEXT_COLUMNS else "right"
        table.add_column(heading, justify=side, overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table


def fitted(table: Table, width: int) -> list[Table | str]:
    """The table on a terminal of `width` characters, no number, name or notation cut: headings and
    sentences wrap, columns that have no room stand in further tables below, and what is too long
    for any, as notations are, on lines of its own below those."""
    texts = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    numbers = [column.justify == "right" for column in table.columns]
    full = [max(map(len, own)) for own in texts]
    if 1 + sum(size + 3 for size in full) <= width:
        return [table]
    least = [
        max(map(len, [*head.split(), *(cells if whole else " ".join(cells).split())]), default=0)
        for (head, *cells), whole in zip(texts, numbers, strict=True)
    ]

    def room(columns: Sequence[int]) -> int:
        return width - 1 - sum(least[index] + 3 for index in columns)

    groups: list[list[int]] = [[0]]
    long = [index for index in range(1, len(texts)) if room([0, index]) < 0]
    for index in range(1, len(texts)):
        if index not in long:
            if room([*groups[-1], index]) < 0:
                groups.append([0])
            groups[-1].append(index)
    shown: list[Table | str] = []
    for group in groups:
        title = str(table.title or "") if group is groups[0] else ""
        caption = str(table.caption or "") if group is groups[-1] else ""
        part = text_table(title, [*zip(*(texts[index] for index in group), strict=True)], caption)
        left = room(group)
        for place, index in sorted(enumerate(group), key=lambda own: numbers[own[1]]):
            more = min(full[index] - least[index], left)
            part.columns[place].width, left = least[index] + more, left - more
        for row, own in zip(part.rows, table.rows, strict=True):
            row.end_section = own.end_section
        shown.append(part)
    for index in long:  # a line is copied whole where nothing else stands on it
        pairs = zip(texts[0], texts[index], strict=True)
        shown.append("\n".join(f"{name}:\n{cell}" for name, cell in pairs if cell))
    return shown


def markdown_table(rows: Sequence[Sequence[str]], rules: Sequence[str]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (rows[0], rules, *rows[1:]))


def picked(source: Any, *names: str) -> dict[str, Any]:
    """The attributes of those names, as JSON has them."""
    return {name: getattr(source, name) for name in names}


def spread_text(mean: float, sd: float | None) -> str:
    return f"{mean:.2f}" + ("" if sd is None else f" ± {sd:.2f}")


def size_values(architecture: Architecture) -> dict[str, Any]:
    """What every report says of a network's size."""
    return {"notation": format_notation(architecture), **picked(architecture, *_SIZES)}


def architecture_values(name: str, architecture: Architecture) -> dict[str, Any]:
    """What `inspect --json` prints; shapes are channels, height, width."""
    layers = [
        {"op": cost.layer.op, "output_shape": list(cost.output_shape), **picked(cost, *_SIZES)}
        for cost in architecture.costs
    ]
    return {"name": name, **size_values(architecture), "layers": layers}


def architecture_table(name: str, architecture: Architecture) -> Table:
    sizes = f"{architecture.parameters:,} parameters, {architecture.macs:,} MACs"
    caption = f"{sizes}, receptive field {architecture.receptive_field}"
    return text_table(name, layer_rows(architecture), caption)


def layer_rows(architecture: Architecture) -> list[list[str]]:
    sizes = "output shape", "parameters", "MACs", "receptive field"
    rows: list[Any] = [["layer", "settings", *sizes]]
    for cost in architecture.costs:
        shape = "×".join(map(str, cost.output_shape))
        rows.append([cost.layer.op, _settings(cost.layer), shape, *picked(cost, *_SIZES).values()])
    return as_text(rows)


def _settings(layer: Layer) -> str:
    """What a layer is set to, besides its width: kernel, padding, a dropout's rate."""
    said = []
    for field in fields(layer):
        value, name = getattr(layer, field.name), {"p": "rate"}.get(field.name, field.name)
        if isinstance(value, bool):
            said += [name if value else f"no {name}"] if value != field.default else []
        elif isinstance(value, int | float) and value and field.name not in layer.widths:
            said.append(f"{name} {value}")
        elif isinstance(value, tuple):  # the layers of a composite one
            said.append(format_layers(value))
    return ", ".join(said)


def reference_values(reference: Reference) -> dict[str, Any]:
    """One entry of `references --json`; the published accuracy is one run's best epoch."""
    kept = ("title", "parameters", "train_accuracy", "test_accuracy", "note", "recipe")
    steps = [
        {"lifecycle": step.lifecycle, "step": step.number, **picked(step, *kept)}
        for step in reference.steps
    ]
    published = {"published_test_accuracy": reference.published_accuracy, "lifecycles": steps}
    return {"name": reference.name, **size_values(reference.architecture), **published}


def references_table(references: Sequence[Reference]) -> Table:
    rows: list[Any] = [["name", "parameters", "MACs", "published %", "steps", "notation"]]
    for found in references:
        notation, parameters, macs, _ = size_values(found.architecture).values()
        together = groupby(found.steps, key=lambda step: step.lifecycle)
        named = ((name, ", ".join(str(step.number) for step in own)) for name, own in together)
        steps = "; ".join(f"{name} {numbers}" for name, numbers in named)
        rows.append([found.name, parameters, macs, found.published_accuracy, steps, notation])
    title = "Hand-made networks, and the best test accuracy published of each"
    return text_table(title, rows, "Published: the best epoch of one run, on the test images.")


def lifecycle_tables(steps: Sequence[Step]) -> list[Table]:
    """A table of each hand-made lifecycle, as its author published it."""
    tables = []
    for name, own in groupby(steps, key=lambda step: step.lifecycle):
        rows: list[Any] = [["step", "title", "network", "parameters", "train %", "test %"]]
        for step in own:
            named = step.number, step.title, step.reference or "not published"
            rows.append([*named, step.parameters, step.train_accuracy, step.test_accuracy])
        tables.append(text_table(f"{name}: a hand-made lifecycle, as published", rows))
    return tables


def counted(number: int, thing: str) -> str:
    """As "1 epoch" or "1,000 epochs"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def last_epochs_text(epochs: int) -> str:
    last = min(epochs, LAST_EPOCHS)
    return f"the last {last} epochs" if last > 1 else "the last epoch"


def curve_values(run: Run, held_out: str = "test_accuracy") -> list[dict[str, float]]:
    """A run's epochs, as they are kept; `held_out`: what its accuracies are called."""
    return [record.entry(held_out) for record in run.curve]


def runs_values(runs: Sequence[Run], held_out: str) -> dict[str, Any]:
    """What `train --json` prints of its runs: every seed's curve, and mean ± sd of the final
    epoch."""
    mean, sd = mean_and_sd([run.test_accuracy for run in runs])
    kept = [
        {"seed": run.seed, held_out: run.test_accuracy, "curve": curve_values(run, held_out)}
        for run in runs
    ]
    lowest = min(run.last4_min for run in runs)
    found = {f"{held_out}_mean": mean, f"{held_out}_sd": sd, "last4_min": lowest}
    return {"seeds": [run.seed for run in runs], **found, "runs": kept}


def runs_table(values: dict[str, Any], runs: Sequence[Run]) -> Table:
    """The runs of `train`, a line a seed."""
    kind, judged = ("test", "test") if "test_accuracy_mean" in values else ("val", "validation")
    rows: list[Any] = [["seed", "train %", f"{judged} %", "lowest of last 4 %", "seconds"]]
    for run in runs:
        seconds = f"{sum(record.seconds for record in run.curve):.0f}"
        accuracies = run.curve[-1].train_accuracy, run.test_accuracy, run.last4_min
        rows.append([str(run.seed), *accuracies, seconds])
    title = f"{values['name']}: {values['parameters']:,} parameters on {values['dataset']}"
    spread = spread_text(values[f"{kind}_accuracy_mean"], values[f"{kind}_accuracy_sd"])
    last = last_epochs_text(len(runs[0].curve))
    least = f"at least {values['last4_min']:.2f} % over {last}"
    return text_table(title, rows, f"{judged} {spread} % at the final epoch, {least}")


def difference_values(difference: Difference) -> dict[str, Any]:
    """What `train --compare --json` says of two networks."""
    low, high = difference.mean - difference.chance, difference.mean + difference.chance
    said = {"difference": difference.mean, "error": difference.error, "interval": [low, high]}
    seeds = difference.seeds_for(_WORTH_SEEING)
    return {**said, "beyond_chance": difference.beyond_chance, "seeds_for_0.05": seeds}


def difference_text(difference: Difference) -> str:
    found = difference_values(difference)
    low, high = found["interval"]
    beyond = "beyond chance" if difference.beyond_chance else "no more than chance"
    return (
        f"difference {difference.mean:+.3f} ± {difference.error:.3f} points over "
        f"{counted(difference.pairs, 'pair')} of seeds (95%: {low:+.3f} to {high:+.3f}): {beyond}; "
        f"a difference of {_WORTH_SEEING} takes {found['seeds_for_0.05']} seeds"
    )


def bench_values(measured: Sequence[Measured]) -> dict[str, Any]:
    """The measurements, and the ratios of the fastest batched loop to the better of the
    usual loops and to the eager one: their medians over the rounds, lowest and highest."""
    best = {found.loop.kind: found for found in sorted(measured, key=lambda found: found.median)}
    values: dict[str, Any] = {"loops": [found.as_dict() for found in measured]}
    for kind in ("usual", "eager"):
        rates = best["pack"].images_per_second, best[kind].images_per_second
        ratios = [own / other for own, other in zip(*rates, strict=True)]
        found = {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
        values[f"ratio_to_{kind}"] = {name: round(ratio, 2) for name, ratio in found.items()}
    return values


def bench_table(values: dict[str, Any]) -> Table:
    """One row a loop; what it says of whole trials is computed from its images a second."""
    network = "{network} ({parameters:,} parameters)".format(**values)
    machine = "{device}, {cores} cores, {vectors}, {precision} ({precision_reason})"
    machine = machine.format(**values)
    rows = [["loop", "processes × threads", "images/s", "lowest to highest", "s a trial", "MiB"]]
    for loop in values["loops"]:
        rates = loop["images_per_second"]
        spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
        times = f"{loop['trial_seconds']:,.0f}", f"{loop['peak_memory_mib']:,}"
        where = f"{loop['processes']} × {loop['threads']}"
        rows.append([loop["name"], where, f"{loop['median']:,.0f}", spread, *times])
    times_as_fast = "{median:.1f} ({lowest:.1f} to {highest:.1f}) times as fast as"
    caption = (
        f"Batched training is {times_as_fast.format(**values['ratio_to_usual'])} the usual loop "
        f"and {times_as_fast.format(**values['ratio_to_eager'])} eager training on resident "
        f"images. A trial is 15 epochs of 50,000 images ({TRIAL_IMAGES:,}); s a trial is the "
        "whole machine's time for one."
    )
    return text_table(f"{network} on {machine}", rows, caption)

"""What is said of single networks: as plain values for `--json`, and as tables for people."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from nas_mnist.networks.architecture import Architecture, format_notation
from nas_mnist.networks.references import Reference, Step
from nas_mnist.training.recipe import Recipe
from nas_mnist.training.runs import Run, mean_and_sd
from nas_mnist.training.speed import TRIAL_IMAGES, Measured

LAYER_HEADINGS = ("layer", "output shape", "parameters", "MACs", "receptive field")


def architecture_values(name: str, architecture: Architecture) -> dict[str, Any]:
    """What `inspect --json` prints; shapes are channels, height, width."""
    return {
        "name": name,
        **size_values(architecture),
        "layers": [
            {
                "op": cost.layer.op,
                "output_shape": list(cost.output_shape),
                "parameters": cost.parameters,
                "macs": cost.macs,
                "receptive_field": cost.receptive_field,
            }
            for cost in architecture.costs
        ],
    }


def architecture_table(name: str, architecture: Architecture) -> Table:
    table = Table(title=name, title_justify="left", caption_justify="left")
    table.caption = (
        f"{architecture.parameters:,} parameters, {architecture.macs:,} MACs, "
        f"receptive field {architecture.receptive_field}"
    )
    for heading in LAYER_HEADINGS:
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    for row in layer_rows(architecture):
        table.add_row(*row)
    return table


def layer_rows(architecture: Architecture) -> list[list[str]]:
    """A row a layer, with the cells of `LAYER_HEADINGS`."""
    return [
        [
            cost.layer.op,
            "×".join(map(str, cost.output_shape)),
            f"{cost.parameters:,}",
            f"{cost.macs:,}",
            str(cost.receptive_field),
        ]
        for cost in architecture.costs
    ]


def spread_text(mean: float, sd: float | None) -> str:
    """A mean and its standard deviation, in percent."""
    return f"{mean:.2f}" + ("" if sd is None else f" ± {sd:.2f}")


def size_values(architecture: Architecture) -> dict[str, Any]:
    """What every report says of a network's size."""
    return {
        "notation": format_notation(architecture),
        "parameters": architecture.parameters,
        "macs": architecture.macs,
        "receptive_field": architecture.receptive_field,
    }


def reference_values(reference: Reference) -> dict[str, Any]:
    """One entry of `references --json`; the published accuracy is one run's best epoch."""
    return {
        "name": reference.name,
        **size_values(reference.architecture),
        "published_test_accuracy": reference.published_accuracy,
        "lifecycles": [_step_values(step) for step in reference.steps],
    }


def references_table(references: Sequence[Reference]) -> Table:
    table = Table(
        title="Hand-made networks, and the best test accuracy published of each",
        title_justify="left",
        caption="Published: the best epoch of one run, on the test images.",
        caption_justify="left",
    )
    for heading in ("name", "parameters", "MACs", "published %", "steps", "notation"):
        right = heading in ("parameters", "MACs", "published %")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for reference in references:
        published = reference.published_accuracy
        table.add_row(
            reference.name,
            f"{reference.architecture.parameters:,}",
            f"{reference.architecture.macs:,}",
            "" if published is None else f"{published:.2f}",
            ", ".join(f"{step.lifecycle} {step.number}" for step in reference.steps),
            format_notation(reference.architecture),
        )
    return table


def lifecycles_table(steps: Sequence[Step]) -> Table:
    table = Table(title="Hand-made lifecycles, as published", title_justify="left")
    for heading in ("lifecycle", "step", "title", "network", "parameters", "train %", "test %"):
        right = heading in ("step", "parameters", "train %", "test %")
        table.add_column(heading, justify="right" if right else "left")
    previous = ""
    for step in steps:
        if previous and previous != step.lifecycle:
            table.add_section()
        previous = step.lifecycle
        table.add_row(
            step.lifecycle,
            str(step.number),
            step.title,
            step.reference or "not published",
            f"{step.parameters:,}",
            f"{step.train_accuracy:.2f}",
            f"{step.test_accuracy:.2f}",
        )
    return table


def runs_values(
    name: str, architecture: Architecture, recipe: Recipe, dataset: str, runs: Sequence[Run]
) -> dict[str, Any]:
    """What `train --json` prints: every seed's curve, and mean ± sd of the final epoch."""
    mean, sd = mean_and_sd([run.test_accuracy for run in runs])
    return {
        "name": name,
        **size_values(architecture),
        "dataset": dataset,
        "recipe": recipe.as_dict(),
        "seeds": [run.seed for run in runs],
        "test_accuracy_mean": mean,
        "test_accuracy_sd": sd,
        "last4_min": min(run.last4_min for run in runs),
        "runs": [
            {
                "seed": run.seed,
                "test_accuracy": run.test_accuracy,
                "curve": [record.entry("test_accuracy") for record in run.curve],
            }
            for run in runs
        ],
    }


def runs_table(values: dict[str, Any]) -> Table:
    """The runs of `runs_values`, a line a seed."""
    test = spread_text(values["test_accuracy_mean"], values["test_accuracy_sd"])
    table = Table(
        title=f"{values['name']}: {values['parameters']:,} parameters on {values['dataset']}",
        title_justify="left",
        caption=f"test {test} % at the final epoch, "
        f"at least {values['last4_min']:.2f} % over the last 4 epochs",
        caption_justify="left",
    )
    for heading in ("seed", "train %", "test %", "lowest of last 4 %", "seconds"):
        table.add_column(heading, justify="right")
    for run in values["runs"]:
        curve = run["curve"]
        table.add_row(
            str(run["seed"]),
            f"{curve[-1]['train_accuracy']:.2f}",
            f"{run['test_accuracy']:.2f}",
            f"{min(epoch['test_accuracy'] for epoch in curve[-4:]):.2f}",
            f"{sum(epoch['seconds'] for epoch in curve):.0f}",
        )
    return table


def _step_values(step: Step) -> dict[str, Any]:
    return {
        "lifecycle": step.lifecycle,
        "step": step.number,
        "title": step.title,
        "parameters": step.parameters,
        "train_accuracy": step.train_accuracy,
        "test_accuracy": step.test_accuracy,
        "note": step.note,
        "recipe": step.recipe,
    }


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

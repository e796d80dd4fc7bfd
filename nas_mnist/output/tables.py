"""What commands report: as plain values for `--json`, and as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from nas_mnist.arch.architecture import Architecture
from nas_mnist.arch.notation import format_notation
from nas_mnist.arch.references import Reference, Step
from nas_mnist.search.confirm import Confirmed, confirmed
from nas_mnist.search.spending import spending
from nas_mnist.search.study import StudyRecord, TrialRecord
from nas_mnist.training.recipe import Recipe
from nas_mnist.training.runs import Run, mean_and_sd

UNCONFIRMED = (
    "This front is unconfirmed: each accuracy is that of one run on the search's training images."
)


def architecture_values(name: str, architecture: Architecture) -> dict[str, Any]:
    """What `inspect --json` prints; shapes are channels, height, width."""
    return {
        "name": name,
        **_size_values(architecture),
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


def front_values(record: StudyRecord) -> dict[str, Any]:
    """What `front --json` prints; accuracies in percent."""
    counts = record.counts()
    return {
        "study": record.name,
        "dataset": record.config.dataset,
        "budget": record.config.budget,
        "epochs": record.config.epochs,
        "trials": {
            "complete": counts.complete,
            "pruned": counts.pruned,
            "failed": counts.failed,
        },
        "pruning": {"pruner": record.config.pruner, **spending(record)._asdict()},
        "front": [trial_values(trial) for trial in record.front()],
        "confirmed": [confirmed_values(found) for found in confirmed(record)],
    }


def trial_values(trial: TrialRecord) -> dict[str, Any]:
    return {
        "trial": trial.number,
        **_size_values(trial.architecture),
        "val_accuracy": trial.val_accuracy,
        "test_accuracy": trial.test_accuracy,
    }


def confirmed_values(found: Confirmed) -> dict[str, Any]:
    """One entry of `confirmed` of `front --json`: the trial, and what its fresh seeds found."""
    return {
        **trial_values(found.trial),
        "seeds": len(found.runs),
        "test_accuracy_mean": found.mean,
        "test_accuracy_sd": found.sd,
        "gap": found.gap,
        "last4_min": found.last4_min,
        "goal_met": found.goal_met,
        "diverged": found.diverged,
        "runs": [
            {"seed": run.seed, "test_accuracy": run.test_accuracy, "last4_min": run.last4_min}
            for run in found.runs
        ],
    }


def front_table(record: StudyRecord) -> Table:
    """The front; with what its confirmation found, once that has begun."""
    config = record.config
    known = {found.trial.number: found for found in confirmed(record)}
    caption = confirmed_caption(record) if known else UNCONFIRMED
    table = Table(
        title=f"{config.study}: front within {config.budget:,} parameters "
        f"on {config.dataset}, {config.epochs} epochs",
        title_justify="left",
        caption=f"{caption}\n{spending_text(record)}",
        caption_justify="left",
    )
    measured = measured_headings(known)
    for heading in ("trial", "parameters", "MACs", "receptive field", "validation %", *measured):
        table.add_column(heading, justify="right")
    table.add_column("notation", overflow="fold")
    for trial in record.front():
        table.add_row(
            str(trial.number),
            f"{trial.architecture.parameters:,}",
            f"{trial.architecture.macs:,}",
            str(trial.architecture.receptive_field),
            f"{trial.val_accuracy:.2f}",
            *measured_cells(trial, known),
            trial.notation,
        )
    return table


def measured_headings(known: Mapping[int, Confirmed]) -> list[str]:
    """What the front's table says of test accuracy, once some of its trials are confirmed."""
    if not known:
        return ["test %"]
    return ["confirmed test %", "seeds", "gap", "lowest of last 4 %", "goal"]


def measured_cells(trial: TrialRecord, known: Mapping[int, Confirmed]) -> list[str]:
    """The trial's cells under `measured_headings`."""
    if not known:
        return [f"{trial.test_accuracy:.2f}"]
    found = known.get(trial.number)
    if found is None:
        return ["not yet", "", "", "", ""]
    diverged = f" + {found.diverged} diverged" if found.diverged else ""
    return [
        spread_text(found.mean, found.sd),
        f"{len(found.runs)}{diverged}",
        f"{found.gap:+.2f}",
        f"{found.last4_min:.2f}",
        "met" if found.goal_met else "missed",
    ]


def front_rows(front: Sequence[TrialRecord], known: Mapping[int, Confirmed]) -> list[list[str]]:
    """The front for a page: the headings, then a row a network, its notation last."""
    rows = [["trial", "parameters", "validation %", *measured_headings(known), "notation"]]
    for trial in front:
        own = [f"{trial.number}", f"{trial.architecture.parameters:,}", f"{trial.val_accuracy:.2f}"]
        rows.append([*own, *measured_cells(trial, known), trial.notation])
    return rows


def spread_text(mean: float, sd: float | None) -> str:
    """A mean and its standard deviation, in percent."""
    return f"{mean:.2f}" + ("" if sd is None else f" ± {sd:.2f}")


def confirmed_caption(record: StudyRecord) -> str:
    """What the figures of a confirmed front are."""
    return (
        "Confirmed: retrained on all training images with fresh seeds, test accuracy after the "
        "final epoch, mean ± sd; gap: above the validation accuracy of the search; goal: "
        f"{record.config.goal:g} % over the last 4 epochs with every seed."
    )


def spending_text(record: StudyRecord) -> str:
    """Where the epochs went, and what is known of the pruner's mistakes."""
    spent = spending(record)
    text = f"{spent.epochs:,} of {spent.epochs_unpruned:,} epochs run"
    if spent.stopped:
        rungs = ", ".join(f"{count} after epoch {epoch}" for epoch, count in spent.stopped.items())
        text += f"; stopped: {rungs}"
    if record.config.pruner != "none":
        text += (
            f"; {spent.exempt} trials were exempt from stopping, it would have stopped "
            f"{spent.spared}, {spent.wrongful} of them wrongly"
        )
    return f"{text}."


def write_front_csv(record: StudyRecord, file: Path) -> None:
    """The front as CSV, a line a network, with the columns of `front --json`; those of the
    confirmation are empty for a network without one."""
    import pandas

    known = {found.trial.number: confirmed_values(found) for found in confirmed(record)}
    rows = [known.get(trial.number) or trial_values(trial) for trial in record.front()]
    frame = pandas.DataFrame(rows, columns=_FRONT_COLUMNS)
    counts = {"seeds": "Int64", "diverged": "Int64"}  # whole, where there is one
    file.write_text(frame.astype(counts).round(6).to_csv(index=False), "utf-8")


def reference_values(reference: Reference) -> dict[str, Any]:
    """One entry of `references --json`; the published accuracy is one run's best epoch."""
    return {
        "name": reference.name,
        **_size_values(reference.architecture),
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
        **_size_values(architecture),
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


LAYER_HEADINGS = ("layer", "output shape", "parameters", "MACs", "receptive field")
_FRONT_COLUMNS = [
    *("trial", "notation", "parameters", "macs", "receptive_field"),
    *("val_accuracy", "test_accuracy", "seeds", "test_accuracy_mean", "test_accuracy_sd"),
    *("gap", "last4_min", "goal_met", "diverged"),
]


def _size_values(architecture: Architecture) -> dict[str, Any]:
    return {
        "notation": format_notation(architecture),
        "parameters": architecture.parameters,
        "macs": architecture.macs,
        "receptive_field": architecture.receptive_field,
    }


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

"""What is said of a study's front: as plain values for `--json`, as tables, and as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from nas_mnist.output.tables import size_values, spread_text
from nas_mnist.search.confirm import Confirmed, confirmed
from nas_mnist.search.spending import spending
from nas_mnist.search.study import StudyRecord, TrialRecord

UNCONFIRMED = (
    "This front is unconfirmed: each accuracy is that of one run on the search's training images."
)
_FRONT_COLUMNS = [
    *("trial", "notation", "parameters", "macs", "receptive_field"),
    *("val_accuracy", "test_accuracy", "seeds", "test_accuracy_mean", "test_accuracy_sd"),
    *("gap", "last4_min", "goal_met", "diverged"),
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
        **size_values(trial.architecture),
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
            f"; {spent.exempt} {'trial was' if spent.exempt == 1 else 'trials were'} exempt from "
            "stopping, it would have stopped "
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

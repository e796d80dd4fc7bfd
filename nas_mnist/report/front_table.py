"""What is said of a study's front: as plain values for `--json`, as tables, and as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from nas_mnist.execution.confirmation import Candidate, Confirmed, candidates, confirmed
from nas_mnist.execution.records import StudyRecord, TrialRecord
from nas_mnist.report.analysis import epoch_usage
from nas_mnist.report.tables import size_values, spread_text

UNCONFIRMED = (
    "This front is unconfirmed: each accuracy is that of one run on the search's training images."
)
_LEFT_OUT_FIRST = ("MACs", "receptive field", "notation", "gap", "seeds")
_NOTATION_WIDTH = 24
_FRONT_COLUMNS = [
    *("trial", "notation", "parameters", "macs", "receptive_field"),
    *("val_accuracy", "test_accuracy", "seeds", "test_accuracy_mean", "test_accuracy_sd"),
    *("gap", "last4_min", "goal_met", "diverged", "on_front"),
]


def front_values(record: StudyRecord) -> dict[str, Any]:
    """What `front --json` prints; accuracies in percent."""
    counts = record.counts()
    return {
        "study": record.name,
        "dataset": record.spec.dataset,
        "budget": record.spec.budget,
        "epochs": record.spec.epochs,
        "trials": {
            "complete": counts.complete,
            "pruned": counts.pruned,
            "failed": counts.failed,
        },
        "pruning": {"pruner": record.spec.pruner, **epoch_usage(record)._asdict()},
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
        "on_front": found.on_front,
        "runs": [
            {"seed": run.seed, "test_accuracy": run.test_accuracy, "last4_min": run.last4_min}
            for run in found.runs
        ],
    }


def front_table(record: StudyRecord, width: int | None = None) -> Table:
    """The front; with what its confirmation found, once that has begun.

    Given a terminal's `width` in characters, with the columns that it has room for, their numbers
    full.
    """
    spec = record.spec
    shown = candidates(record)
    rows = front_rows(shown)
    widths = [_least_width(column) for column in zip(*rows, strict=True)]
    left_out = set() if width is None else _left_out(rows[0], widths, width)
    caption = f"{front_caption(record, shown)}\n{spending_text(record)}"
    if left_out:
        names = ", ".join(heading for heading in rows[0] if heading in left_out)
        caption += f"\nNo room here for {names}; --json, --csv and wider terminals have it."
    table = Table(
        title=f"{record.name}: front within {spec.budget:,} parameters "
        f"on {spec.dataset}, {spec.epochs} epochs",
        title_justify="left",
        caption=caption,
        caption_justify="left",
    )
    indices = [index for index, heading in enumerate(rows[0]) if heading not in left_out]
    for index in indices:
        if rows[0][index] == "notation":
            table.add_column("notation", overflow="fold")
        else:
            least = None if width is None else widths[index]
            table.add_column(rows[0][index], justify="right", width=least)
    for row in rows[1:]:
        table.add_row(*(row[index] for index in indices))
    return table


def _least_width(column: Sequence[str]) -> int:
    """In which a heading can wrap, but no cell has to; notations can be folded."""
    heading, *cells = column
    if heading == "notation":
        return _NOTATION_WIDTH
    return max(map(len, [*heading.split(), *cells]))


def _left_out(headings: Sequence[str], widths: Sequence[int], width: int) -> set[str]:
    """The columns for which there is no room."""
    needed = {heading: least + 3 for heading, least in zip(headings, widths, strict=True)}
    left_out: set[str] = set()
    for heading in _LEFT_OUT_FIRST:
        if 1 + sum(needed.values()) > width and heading in needed:
            del needed[heading]
            left_out.add(heading)
    return left_out


def front_rows(shown: Sequence[Candidate]) -> list[list[str]]:
    """The front as text: the headings, then a row a network, its notation last."""
    any_confirmed = any(entry.confirmed for entry in shown)
    measured = ["test %"]
    if any_confirmed:
        measured = ["confirmed test %", "seeds", "gap", "lowest of last 4 %", "goal"]
    own = ["trial", "parameters", "MACs", "receptive field", "validation %"]
    rows = [[*own, *measured, "notation"]]
    for entry in shown:
        trial, network = entry.trial, entry.trial.architecture
        rows.append(
            [
                f"{trial.number}{'*' if entry.beside_front else ''}",
                f"{network.parameters:,}",
                f"{network.macs:,}",
                f"{network.receptive_field}",
                f"{trial.val_accuracy:.2f}",
                *(_confirmed_cells(entry) if any_confirmed else [f"{trial.test_accuracy:.2f}"]),
                trial.notation,
            ]
        )
    return rows


def _confirmed_cells(entry: Candidate) -> list[str]:
    found = entry.confirmed
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


def front_caption(record: StudyRecord, shown: Sequence[Candidate]) -> str:
    """What the figures of `front_rows` are."""
    if not any(entry.confirmed for entry in shown):
        return UNCONFIRMED
    text = (
        "Confirmed: retrained on all training images with fresh seeds, test accuracy after the "
        "final epoch, mean ± sd; gap: above the validation accuracy of the search; goal: "
        f"{record.spec.goal:g} % over the last 4 epochs with every seed."
    )
    if any(entry.beside_front for entry in shown):
        text += " *: not on the search's front, confirmed besides."
    return text


def spending_text(record: StudyRecord) -> str:
    """Where the epochs went, and what is known of the pruner's mistakes."""
    spent = epoch_usage(record)
    text = f"{spent.epochs:,} of {spent.epochs_unpruned:,} epochs run"
    if spent.stopped:
        rungs = ", ".join(f"{count} after epoch {epoch}" for epoch, count in spent.stopped.items())
        text += f"; stopped: {rungs}"
    if record.spec.pruner != "none":
        text += (
            f"; of the {spent.exempt} exempt from stopping the pruner would have stopped "
            f"{spent.spared}, {spent.wrongful} of them wrongly"
            if spent.exempt
            else "; no trial was exempt from stopping"
        )
    return f"{text}."


def write_front_csv(record: StudyRecord, file: Path) -> None:
    """The front, and what was confirmed beside it, as CSV, a line a network, with the columns of
    `front --json`; those of the confirmation are empty for a network without one."""
    import pandas

    rows = [
        confirmed_values(entry.confirmed) if entry.confirmed else trial_values(entry.trial)
        for entry in candidates(record)
    ]
    frame = pandas.DataFrame(rows, columns=_FRONT_COLUMNS)
    counts = {"seeds": "Int64", "diverged": "Int64"}  # whole, where there is one
    file.write_text(frame.astype(counts).round(6).to_csv(index=False), "utf-8")

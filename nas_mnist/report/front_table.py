"""What is said of a study: its front as values, as tables and as CSV, and where its epochs went."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from nas_mnist.execution.confirmation import Candidate, Confirmed, candidates, confirmed
from nas_mnist.execution.records import StudyRecord, TrialRecord
from nas_mnist.execution.store import shown
from nas_mnist.report import tables, writing
from nas_mnist.report.tables import counted, last_epochs_text, picked, spread_text

UNCONFIRMED = (
    "This front is unconfirmed: each accuracy is that of one run on the search's training images."
)
_LEFT_OUT_FIRST = ("MACs", "receptive field", "notation", "gap", "seeds")
_FINDINGS = ("gap", "last4_min", "goal_met", "diverged", "on_front")
_CSV_COLUMNS = (
    *("trial", "notation", "parameters", "macs", "receptive_field", "val_accuracy"),
    *("test_accuracy", "seeds", "test_accuracy_mean", "test_accuracy_sd", *_FINDINGS),
)


class EpochUsage(NamedTuple):
    """What a study's finished trials cost."""

    epochs: int  # that were trained
    epochs_unpruned: int  # that the same trials would have cost without pruning
    stopped: dict[int, int]  # stopped trials by the epoch they were stopped after
    exempt: int  # completed trials that the pruner was not allowed to stop
    spared: int  # those of them that it would have stopped
    wrongful: int  # those of the spared that are on the front: it would have lost them


def epoch_usage(record: StudyRecord) -> EpochUsage:
    def epochs(trial: FrozenTrial) -> int:
        curve = trial.user_attrs.get("curve")
        return len(curve) if isinstance(curve, list) else 0  # the database may be anyone's

    complete, pruned = record.trials(TrialState.COMPLETE), record.trials(TrialState.PRUNED)
    spared = {t.number for t in complete if t.user_attrs.get("would_be_pruned") is not None}
    return EpochUsage(
        epochs=sum(map(epochs, [*complete, *pruned])),
        epochs_unpruned=(len(complete) + len(pruned)) * record.spec.epochs,
        stopped=dict(sorted(Counter(map(epochs, pruned)).items())),
        exempt=sum(bool(trial.user_attrs.get("exempt")) for trial in complete),
        spared=len(spared),
        wrongful=sum(trial.number in spared for trial in record.front()),
    )


def study_values(record: StudyRecord) -> dict[str, Any]:
    """What `studies --json` prints of a study."""
    front = record.front()
    return {
        "study": record.name,
        "storage": shown(record.url),
        **picked(record.spec, "dataset", "budget", "epochs", "trials"),
        **picked(record.counts(), "complete", "pruned", "failed", "running"),
        "front": len(front),
        "val_accuracy": max((trial.val_accuracy for trial in front), default=None),
    }


def studies_table(values: Sequence[dict[str, Any]]) -> Table:
    """The studies of `study_values`, a line each; with the database where no name tells it."""
    names = ("study", "dataset", "budget", "epochs", "trials", "front", "val_accuracy")
    rows: list[Any] = [[*names[:-1], "best validation %"]]
    for found in values:
        done = found["complete"] + found["pruned"] + found["failed"]
        trials = f"{done}/{max(done, found['trials'])}"
        name, storage = found["study"], found["storage"]
        study = name if Path(storage).stem == name else f"{name} ({storage})"
        rows.append([{**found, "study": study, "trials": trials}[name] for name in names])
    return tables.text_table("studies", rows)


def front_values(record: StudyRecord) -> dict[str, Any]:
    """What `front --json` prints; accuracies in percent."""
    return {
        "study": record.name,
        **picked(record.spec, "dataset", "budget", "epochs"),
        "trials": picked(record.counts(), "complete", "pruned", "failed"),
        "pruning": {"pruner": record.spec.pruner, **epoch_usage(record)._asdict()},
        "front": [_values(trial) for trial in record.front()],
        "confirmed": [_values(found.trial, found) for found in confirmed(record)],
    }


def _values(trial: TrialRecord, found: Confirmed | None = None) -> dict[str, Any]:
    """The trial, and what its fresh seeds found."""
    values = {"trial": trial.number, **tables.size_values(trial.architecture)}
    values |= picked(trial, "val_accuracy", "test_accuracy")
    if found is None:
        return values
    mean = {"test_accuracy_mean": found.mean, "test_accuracy_sd": found.sd}
    runs = [picked(run, "seed", "test_accuracy", "last4_min") for run in found.runs]
    return {**values, "seeds": len(runs), **mean, **picked(found, *_FINDINGS), "runs": runs}


def front_table(record: StudyRecord, width: int | None = None) -> Table:
    """The front; with what its confirmation found, once that has begun. Given a terminal's `width`
    in characters, with the columns that it has room for, their numbers full."""
    spec, shown = record.spec, candidates(record)
    columns = list(zip(*front_rows(shown), strict=True))
    # A heading can wrap, a number cannot; notations can be folded.
    widths = {head: max(map(len, [*head.split(), *cells])) for head, *cells in columns}
    widths["notation"] = 24
    for heading in _LEFT_OUT_FIRST:
        if width is not None and 1 + sum(least + 3 for least in widths.values()) > width:
            widths.pop(heading, None)
    caption = f"{front_caption(record, shown)}\n{spending_text(record)}"
    if left_out := ", ".join(heading for heading, *_ in columns if heading not in widths):
        caption += f"\nNo room here for {left_out}; --json, --csv and wider terminals have it."
    epochs = counted(spec.epochs, "epoch")
    within = f"front within {spec.budget:,} parameters on {spec.dataset}, {epochs}"
    kept = zip(*(column for column in columns if column[0] in widths), strict=True)
    table = tables.text_table(f"{record.name}: {within}", [*kept], caption)
    for column in table.columns:
        if width is not None and column.header != "notation":
            column.width = widths[str(column.header)]
    return table


def front_rows(shown: Sequence[Candidate]) -> list[list[str]]:
    """A row a network, its notation last."""
    any_confirmed = any(entry.confirmed for entry in shown)
    own = ("trial", "parameters", "MACs", "receptive field", "validation %")
    measured = ("confirmed test %", "seeds", "gap", "lowest of last 4 %", "goal")
    rows: list[Any] = [[*own, *(measured if any_confirmed else ["test %"]), "notation"]]
    for trial, found in shown:
        cells: list[Any] = ["not yet", *[None] * 4] if any_confirmed else [trial.test_accuracy]
        if found is not None:
            seeds = f"{len(found.runs)}{f' + {found.diverged} diverged' if found.diverged else ''}"
            test, held = spread_text(found.mean, found.sd), "met" if found.goal_met else "missed"
            cells = [test, seeds, f"{found.gap:+.2f}", found.last4_min, held]
        named = f"{trial.number}{'' if found is None or found.on_front else '*'}"
        notation, *sizes = tables.size_values(trial.architecture).values()
        rows.append([named, *sizes, trial.val_accuracy, *cells, notation])
    return tables.as_text(rows)


def confirmed_text(confirmed: Confirmed) -> str:
    """What may be quoted of a network, in a line."""
    seeds = f"{len(confirmed.runs)} seeds" if len(confirmed.runs) > 1 else "one seed"
    more = f"; {confirmed.diverged} more diverged" if confirmed.diverged else ""
    last = f"{confirmed.last4_min:.2f} % over {last_epochs_text(len(confirmed.runs[0].curve))}"
    return f"{spread_text(confirmed.mean, confirmed.sd)} % over {seeds}, at least {last}{more}"


def front_caption(record: StudyRecord, shown: Sequence[Candidate]) -> str:
    """What the figures of `front_rows` are."""
    images = [entry.confirmed.images for entry in shown if entry.confirmed]
    if not images:
        return UNCONFIRMED
    beside = any(found and not found.on_front for _, found in shown)
    return (
        f"Confirmed: retrained on {images[0] or 'all'} training images with fresh seeds, test "
        "accuracy after the final epoch, mean ± sd; gap: above the validation accuracy of the "
        f"search; goal: {record.spec.goal:g} % over {last_epochs_text(record.spec.epochs)} with "
        "every seed."
    ) + (" *: not on the search's front, confirmed besides." if beside else "")


def spending_text(record: StudyRecord) -> str:
    """Where the epochs went, and what is known of the pruner's mistakes."""
    spent = epoch_usage(record)
    said = [f"{spent.epochs:,} of {spent.epochs_unpruned:,} epochs run"]
    if spent.stopped:
        rungs = (f"{count} after epoch {epoch}" for epoch, count in spent.stopped.items())
        said.append(f"stopped: {', '.join(rungs)}")
    if record.spec.pruner != "none":
        would = f"the pruner would have stopped {spent.spared}, {spent.wrongful} of them wrongly"
        exempt = f"of the {spent.exempt} exempt from stopping {would}"
        said.append(exempt if spent.exempt else "no trial was exempt from stopping")
    return f"{'; '.join(said)}."


def write_front_csv(record: StudyRecord, file: Path) -> None:
    """The front, and what was confirmed beside it, as CSV, a line a network, with the columns of
    `front --json`; those of the confirmation are empty for a network without one."""
    import pandas

    rows = [_values(*entry) for entry in candidates(record)]
    frame = pandas.DataFrame(rows, columns=_CSV_COLUMNS)
    counts = {"seeds": "Int64", "diverged": "Int64"}  # whole, where there is one
    with writing(file):
        file.write_text(frame.astype(counts).round(6).to_csv(index=False), "utf-8")

"""What is said of a study: its front as values, as tables and as CSV, and where its epochs went."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from nas_mnist.execution.confirmation import Candidate, Confirmed, candidates, of_front
from nas_mnist.execution.estimates import estimates, front
from nas_mnist.execution.records import StudyRecord
from nas_mnist.execution.reruns import finished_reruns
from nas_mnist.execution.store import shown
from nas_mnist.report import tables, writing
from nas_mnist.report.claims import Claim, claims
from nas_mnist.report.tables import counted, last_epochs_text, picked, spread_text

UNCONFIRMED = "This front is unconfirmed: no network has been retrained with fresh seeds yet."
_ESTIMATES = (
    "Validation: estimated from all runs of the study, mean over seeds ± how sure that is. "
    "Expected test: the same for test images, by how the trials did on both."
)
BESIDE = "*: not on the search's front, confirmed besides."
_FINDINGS = ("last4_min", "goal_met", "diverged", "on_front")
_ESTIMATED = ("estimate", "estimate_sd", "own_runs", "expected_test", "expected_test_sd")
_CSV_COLUMNS = (
    *("trial", "notation", "parameters", "macs", "receptive_field", "val_accuracy"),
    *("test_accuracy", *_ESTIMATED),
    *("seeds", "test_accuracy_mean", "test_accuracy_sd", "gap", *_FINDINGS),
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
        wrongful=sum(trial.number in spared for trial in front(record)),
    )


def study_values(record: StudyRecord) -> dict[str, Any]:
    """What `studies --json` prints of a study."""
    of_front, known = front(record), estimates(record)
    return {
        "study": record.name,
        "storage": shown(record.url),
        **picked(record.spec, "dataset", "budget", "epochs", "trials"),
        **picked(record.counts(), "complete", "pruned", "failed", "running"),
        "front": len(of_front),
        "val_accuracy": max((known[trial.number].mean for trial in of_front), default=None),
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


def front_values(record: StudyRecord, within: int | None = None) -> dict[str, Any]:
    """What `front --json` prints, of networks `within` so many parameters; accuracies in
    percent."""
    shown, claimed = within_size(candidates(record), within), claims(record)
    on_front = {trial.number for trial in front(record)}
    return {
        "study": record.name,
        **picked(record.spec, "dataset", "budget", "epochs"),
        "trials": picked(record.counts(), "complete", "pruned", "failed"),
        "pruning": {"pruner": record.spec.pruner, **epoch_usage(record)._asdict()},
        "reruns": len(finished_reruns(record)),
        "front": [
            network_values(entry._replace(confirmed=None), claimed)
            for entry in shown
            if entry.trial.number in on_front
        ],
        "confirmed": [network_values(entry, claimed) for entry in shown if entry.confirmed],
    }


def network_values(entry: Candidate, claimed: Mapping[int, Claim]) -> dict[str, Any]:
    """The trial, what all runs tell of it, and what its fresh seeds found."""
    trial, known, found, _ = entry
    values = {"trial": trial.number, **tables.size_values(trial.architecture)}
    values |= picked(trial, "val_accuracy", "test_accuracy")
    claim = claimed[trial.number]
    values |= dict(zip(_ESTIMATED, (*known, *claim), strict=True))
    if found is None:
        return values
    mean = {"test_accuracy_mean": found.mean, "test_accuracy_sd": found.sd}
    mean["gap"] = found.mean - claim.mean
    runs = [picked(run, "seed", "test_accuracy", "last4_min") for run in found.runs]
    return {**values, "seeds": len(runs), **mean, **picked(found, *_FINDINGS), "runs": runs}


def front_table(record: StudyRecord, within: int | None = None) -> Table:
    """The front with all that is known of each network; with what its confirmation found, once
    that has begun."""
    shown = within_size(candidates(record), within)
    caption = f"{front_caption(record, shown)}\n{spending_text(record)}"
    return tables.text_table(front_title(record, within), front_rows(record, shown), caption)


def within_size(shown: Sequence[Candidate], parameters: int | None) -> list[Candidate]:
    """Those of at most so many parameters; all for None."""
    most = math.inf if parameters is None else parameters
    return [entry for entry in shown if entry.trial.architecture.parameters <= most]


def front_title(record: StudyRecord, within: int | None) -> str:
    spec, most = record.spec, record.spec.budget if within is None else within
    epochs = counted(spec.epochs, "epoch")
    return f"{record.name}: front within {most:,} parameters on {spec.dataset}, {epochs}"


def trial_text(entry: Candidate) -> str:
    """The trial's number, marked if it was confirmed beside the front."""
    return f"{entry.trial.number}{'' if of_front([entry]) else '*'}"


def unconfirmed_text(entry: Candidate) -> str:
    """What stands in place of a confirmed accuracy."""
    return f"{entry.diverged} diverged" if entry.diverged else "not yet"


def goal_text(found: Confirmed) -> str:
    return {True: "met", False: "missed", None: ""}[found.goal_met]


def front_rows(record: StudyRecord, shown: Sequence[Candidate]) -> list[list[str]]:
    """A row a network, its notation last."""
    any_confirmed, claimed = any(entry.confirmed for entry in shown), claims(record)
    own = ("trial", "parameters", "MACs", "receptive field", "validation %", "runs")
    measured = ["confirmed test %", "seeds", "gap", "lowest of last 4 %"]
    measured += [] if record.spec.goal is None else ["goal"]
    headings = *own, "expected test %", *(measured if any_confirmed else ()), "notation"
    rows: list[Any] = [headings]
    for entry in shown:
        trial, known, found, _ = entry
        claim = claimed[trial.number]
        cells: list[Any] = (
            [unconfirmed_text(entry), *[None] * (len(measured) - 1)] if any_confirmed else []
        )
        if found is not None:
            seeds = f"{len(found.runs)}{f' + {found.diverged} diverged' if found.diverged else ''}"
            test, gap = spread_text(found.mean, found.sd), f"{found.mean - claim.mean:+.2f}"
            cells = [test, seeds, gap, found.last4_min, goal_text(found)][: len(measured)]
        notation, *sizes = tables.size_values(trial.architecture).values()
        said = spread_text(known.mean, known.sd), str(known.runs), spread_text(*claim)
        rows.append([trial_text(entry), *sizes, *said, *cells, notation])
    return tables.as_text(rows)


def confirmed_text(confirmed: Confirmed) -> str:
    """What may be quoted of a network, in a line."""
    seeds = f"{len(confirmed.runs)} seeds" if len(confirmed.runs) > 1 else "one seed"
    more = f"; {confirmed.diverged} more diverged" if confirmed.diverged else ""
    last = f"{confirmed.last4_min:.2f} % over {last_epochs_text(len(confirmed.runs[0].curve))}"
    return f"{spread_text(confirmed.mean, confirmed.sd)} % over {seeds}, at least {last}{more}"


def front_caption(record: StudyRecord, shown: Sequence[Candidate]) -> str:
    """What the figures of `front_rows` are."""
    if none := none_text(record, shown):
        return none
    images = [entry.confirmed.images for entry in shown if entry.confirmed]
    if not images:
        return f"{_ESTIMATES} {UNCONFIRMED}"
    goal, last = record.spec.goal, last_epochs_text(record.spec.epochs)
    return (
        f"{_ESTIMATES} Confirmed: retrained on {images[0] or 'all'} training images with fresh "
        "seeds, test accuracy after the final epoch, mean ± sd; gap: above what was expected"
        + (f"; goal: {goal:g} % over {last} with every seed." if goal is not None else ".")
        + (f" {BESIDE}" if len(of_front(shown)) < len(shown) else "")
    )


def none_text(record: StudyRecord, shown: Sequence[Candidate]) -> str:
    """Why nothing of a front is shown; empty if something is, or if there is nothing yet."""
    sizes = [] if shown else [c.trial.architecture.parameters for c in candidates(record)]
    return f"The smallest network of the front has {min(sizes):,} parameters." if sizes else ""


def spending_text(record: StudyRecord) -> str:
    """Where the epochs went, and what is known of the pruner's mistakes."""
    spent = epoch_usage(record)
    said = [f"{spent.epochs:,} of {spent.epochs_unpruned:,} epochs run"]
    if spent.stopped:
        rungs = (f"{count} after epoch {epoch}" for epoch, count in spent.stopped.items())
        said.append(f"stopped: {', '.join(rungs)}")
    if record.spec.pruner != "none":
        exempt = counted(spent.exempt, "trial")
        would = f"it would have stopped {spent.spared or 'none'}"
        wrongly = f", {spent.wrongful or 'none'} of them wrongly" if spent.spared else ""
        checked = f"{exempt} ran to the end to check on the pruner: {would}{wrongly}"
        said.append(checked if spent.exempt else "no trial was exempt from stopping")
    return f"{'; '.join(said)}."


def write_front_csv(record: StudyRecord, file: Path, within: int | None = None) -> None:
    """The front `within` so many parameters, and what was confirmed beside it, as CSV, a line a
    network, with the columns of `front --json`; those of the confirmation are empty for a network
    without one."""
    import pandas

    shown = within_size(candidates(record), within)
    claimed = claims(record)  # last: trials that end meanwhile are known too
    rows = [network_values(entry, claimed) for entry in shown]
    frame = pandas.DataFrame(rows, columns=_CSV_COLUMNS)
    counts = {"seeds": "Int64", "diverged": "Int64"}  # whole, where there is one
    with writing(file):
        file.write_text(frame.astype(counts).round(6).to_csv(index=False), "utf-8")

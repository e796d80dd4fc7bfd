"""What a person asks first: of a front, which network to take at which size; of a trial, how good
it is and how it was trained."""

from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from nas_mnist.execution.confirmation import (
    Candidate,
    Confirmed,
    candidates,
    chosen,
    most_accurate,
    of_front,
)
from nas_mnist.execution.records import StudyRecord, reading
from nas_mnist.execution.store import storage_option
from nas_mnist.report import tables
from nas_mnist.report.claims import claims
from nas_mnist.report.front_table import (
    BESIDE,
    UNCONFIRMED,
    confirmed_text,
    front_title,
    goal_text,
    network_values,
    none_text,
    trial_text,
    unconfirmed_text,
    within_size,
)
from nas_mnist.report.tables import counted, last_epochs_text, spread_text

_MORE = "--all shows MACs, validation accuracy and more."


def front_overview(
    record: StudyRecord, within: int | None = None, width: int | None = None
) -> list[Table | str]:
    """The front as a table of what is asked of it first: the accuracy that each size has, and which
    network wins.

    Args:
        within: the most parameters of the networks that are shown; all by default.
        width: of the terminal, in characters. Notations have a column where there is room for
            them; where there is none the winner's stands below.
    """
    spec, shown = record.spec, within_size(candidates(record), within)
    winner = most_accurate(shown)
    any_confirmed, goal = any(entry.confirmed for entry in shown), spec.goal
    headings = "trial", "parameters", "test %" if any_confirmed else "expected test %"
    measured = ["confirmed"] if any_confirmed else []
    measured += ["goal"] if any_confirmed and goal is not None else []
    rows: list[Any] = [[*headings, *measured, "note", "notation"]]
    best, claimed = None, claims(record)  # of those confirmed so far, the most accurate
    for entry in shown:
        trial, _, found, _ = entry
        notes = [_best(within).lower()] if entry is winner else []
        cells: list[Any] = [spread_text(*claimed[trial.number]), unconfirmed_text(entry), None]
        if found is not None:
            cells = [spread_text(found.mean, found.sd), _seeds_text(found), goal_text(found)]
            if best and best.mean >= found.mean:
                notes.append(f"beaten by {best.trial.number}")
            else:
                best = found
        own = trial_text(entry), trial.architecture.parameters, *cells[: 1 + len(measured)]
        rows.append([*own, ", ".join(notes), trial.notation])
    rows = tables.as_text(rows)
    lengths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    has_room = width is None or 1 + sum(length + 3 for length in lengths) <= width
    rows = rows if has_room else [row[:-1] for row in rows]
    parts: list[Table | str] = [tables.text_table(front_title(record, within), rows)]
    parts.append(_first_caption(record, shown))
    if winner and not has_room:
        any_other = f"{record.name}:TRIAL{storage_option(record.name, record.url)}"
        trial, others = winner.trial, f"`nas-mnist inspect {any_other}` shows any other"
        size = f"{trial.architecture.parameters:,} parameters"
        parts.append(f"{_best(within)}: trial {trial.number}, {size}; {others}.\n{trial.notation}")
    return parts


def _best(within: int | None) -> str:
    return "Winner" if within is None else "Best here"


def _seeds_text(found: Confirmed) -> str:
    diverged = f", {found.diverged} diverged" if found.diverged else ""
    return f"{counted(len(found.runs), 'seed')}{diverged}"


def _first_caption(record: StudyRecord, shown: Sequence[Candidate]) -> str:
    """What the figures of `front_overview` are."""
    if none := none_text(record, shown):
        return none
    known = [entry.confirmed for entry in shown if entry.confirmed]
    expected = "what the search expects ± how sure that is"
    if not known:
        return f"Expected test %: {expected}. {UNCONFIRMED} {_MORE}"
    means, goal = [own.mean for own in known], record.spec.goal
    said = [f"Test %: mean ± sd of fresh seeds on {known[0].images or 'all'} training images"]
    said[0] += f"; if not confirmed yet, {expected}." if len(known) < len(shown) else "."
    if any(mean <= max(means[:index]) for index, mean in enumerate(means) if index):
        said.append("Beaten by: that smaller network has a mean at least as high.")
    if goal is not None:
        said.append(f"Goal: {goal:g} % over {last_epochs_text(record.spec.epochs)}, all seeds.")
    said.append("The winner is chosen by validation.")
    said += [BESIDE] if len(of_front(shown)) < len(shown) else []
    return " ".join([*said, _MORE])


def trial_overview(record: StudyRecord, trial: FrozenTrial) -> tuple[dict[str, Any], str]:
    """What is known of a trial's training, as values and in words. StorageError if it is
    damaged."""
    values = {"study": record.name, "trial": trial.number, "state": trial.state.name.lower()}
    with reading(record.name, trial, "peak_learning_rate"):
        values["peak_learning_rate"] = rate = float(trial.params["peak_learning_rate"])
    rated = f"Peak learning rate {rate:.4g}"
    if trial.state != TrialState.COMPLETE or trial.number not in record.points():
        epochs = counted(len(trial.user_attrs.get("curve") or ()), "epoch")
        ended = {"pruned": "was stopped", "fail": "diverged"}
        state = ended.get(str(values["state"]), f"is {values['state']}")
        return values, f"Trial {trial.number} {state} after {epochs}. {rated}."
    entry = chosen(record, trial.number)
    known, claimed = entry.estimate, claims(record)
    values |= network_values(entry, claimed)
    own = f"{entry.trial.val_accuracy:.2f} % in its own run"
    said = [f"Validation: {own}, estimated {spread_text(known.mean, known.sd)} % from all runs."]
    expected = f"expected {spread_text(*claimed[trial.number])} %, not confirmed yet"
    tested = confirmed_text(entry.confirmed) if entry.confirmed else expected
    return values, " ".join([*said, f"Test: {tested}.", f"{rated}."])

"""Which of a study's networks is meant: the most accurate, one of a size, one by number."""

from __future__ import annotations

from typing import NamedTuple

from nas_mnist.errors import StudyError
from nas_mnist.search.confirm import Confirmed, confirmed
from nas_mnist.search.study import StudyRecord, TrialRecord


class Chosen(NamedTuple):
    """A completed trial, and what its confirmation found, if it has one."""

    trial: TrialRecord
    confirmed: Confirmed | None


def chosen(record: StudyRecord, trial: int | None = None, at_least: float | None = None) -> Chosen:
    """The completed trial of that number; or the smallest network of the front with that
    accuracy in percent: the confirmed mean, in a study without confirmation that on the
    validation images; or the front's most accurate on the validation images.

    Once the front is being confirmed, only networks that are confirmed can be chosen but by
    their number. StudyError if there is none.
    """
    known = {found.trial.number: found for found in confirmed(record)}
    if trial is not None:
        return Chosen(record.trial(trial), known.get(trial))
    front = [Chosen(entry, known.get(entry.number)) for entry in record.front()]
    if known:
        front = [entry for entry in front if entry.confirmed]
    if at_least is not None:
        front = [entry for entry in front if _accuracy(entry) >= at_least][:1]
    if not front:
        what = "completed trial" if at_least is None else f"network of at least {at_least:g}%"
        raise StudyError(f"the study has no {what} yet; let search run on")
    # Chosen by validation accuracy: the best of several test accuracies is the luckiest.
    return max(front, key=lambda entry: entry.trial.val_accuracy)


def _accuracy(entry: Chosen) -> float:
    return entry.confirmed.mean if entry.confirmed else entry.trial.val_accuracy

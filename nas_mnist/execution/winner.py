"""The networks that a study has to show, and which of them is meant: the most accurate, one of a
size, one by number."""

from __future__ import annotations

from typing import NamedTuple

from nas_mnist.errors import StudyError
from nas_mnist.execution.confirmation import Confirmed, confirmed
from nas_mnist.execution.study import StudyRecord, TrialRecord


class Candidate(NamedTuple):
    """A completed trial, and what its confirmation found, if it has one."""

    trial: TrialRecord
    confirmed: Confirmed | None

    @property
    def beside_front(self) -> bool:
        """Whether it was confirmed though another network of the search beats it."""
        return self.confirmed is not None and not self.confirmed.on_front


def candidates(record: StudyRecord) -> list[Candidate]:
    """The front, and what was confirmed beside it, from the fewest parameters up."""
    known = {found.trial.number: found for found in confirmed(record)}
    trials = {trial.number: trial for trial in record.front()}
    trials |= {number: found.trial for number, found in known.items()}
    shown = [Candidate(trial, known.get(number)) for number, trial in trials.items()]
    return sorted(
        shown, key=lambda entry: (entry.trial.architecture.parameters, entry.trial.number)
    )


def chosen(
    record: StudyRecord, trial: int | None = None, at_least: float | None = None
) -> Candidate:
    """The completed trial of that number; or the smallest network with that accuracy in percent:
    the confirmed mean, in a study without confirmation that on the validation images; or the one
    most accurate on the validation images.

    Once some are confirmed, only those can be chosen but by their number. StudyError if there
    is none.
    """
    shown = candidates(record)
    if trial is not None:
        known = {entry.trial.number: entry for entry in shown}
        return known.get(trial) or Candidate(record.trial(trial), None)
    if any(entry.confirmed for entry in shown):
        shown = [entry for entry in shown if entry.confirmed]
    if not shown:
        raise StudyError("the study has no completed trial yet; let search run on")
    if at_least is not None:
        enough = [entry for entry in shown if _accuracy(entry) >= at_least]
        if not enough:
            most = max(map(_accuracy, shown))
            raise StudyError(f"the study has no network of {at_least:g}%; its best has {most:.3f}%")
        return enough[0]
    # Chosen by validation accuracy: the best of several test accuracies is the luckiest.
    return max(shown, key=lambda entry: entry.trial.val_accuracy)


def _accuracy(entry: Candidate) -> float:
    return entry.confirmed.mean if entry.confirmed else entry.trial.val_accuracy

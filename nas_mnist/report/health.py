"""Health checks: what a study itself tells of how far its search can be trusted. Nothing is chosen
here."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from nas_mnist.execution.confirmation import Candidate, candidates, chosen
from nas_mnist.execution.creation import FIRST
from nas_mnist.execution.estimates import estimates, evidence_of, posterior_of
from nas_mnist.execution.records import StudyRecord
from nas_mnist.report.claims import claims
from nas_mnist.report.comparison import Welch
from nas_mnist.report.front_table import epoch_usage
from nas_mnist.report.importances import at_given_size, expected_by_size
from nas_mnist.report.tables import counted, spread_text
from nas_mnist.training.paired import Difference

_LEAST_RUNS = 8  # fewer say little of a prediction
_LEAST_TRIALS = 20  # fewer say little of a range
_BEST, _AT_AN_END = 1 / 8, 2 / 3  # of the trials; and of those, at one end of a range
_END = 0.1  # of a range
_CHANCE = 0.05


class Check(NamedTuple):
    """A question about a search, and what its study says."""

    question: str
    good: bool | None
    """whether all is well; None if the study cannot say"""
    said: str
    """sentences with their numbers"""


def health_checks(record: StudyRecord) -> list[Check]:
    """All checks of a study that has completed trials; StudyError if it has none."""
    return [model_check(record), pruning_check(record), start_check(record), range_check(record)]


def model_check(record: StudyRecord) -> Check:
    """Whether the model of accuracy predicts runs that it has not seen better than what one would
    take without it: of a rerun the accuracy of the trial's own run, of a trial its size alone."""
    question, evidence = "Does the model predict runs that it has not seen?", evidence_of(record)
    model = posterior_of(evidence) if evidence.networks else None
    reruns = sum(own.fold != 0 for own in evidence.observed)
    if model is None or len(evidence.networks) < _LEAST_RUNS:
        return Check(question, None, f"Fewer than {_LEAST_RUNS} trials cannot tell.")
    if reruns >= _LEAST_RUNS:
        found = model.left_out(lambda own: own.network.key if own.fold else None)
        before = record.points()
        simple = [before[int(own.network.key)][1] for own, _ in found]
        what, instead = counted(len(found), "rerun"), "The trial's own run"
    else:
        found = model.left_out(lambda own: None if own.variance else own.network.key)
        points = [(own.network.parameters, own.accuracy) for own, _ in found]
        simple = [*(100 - np.exp(expected_by_size(points)))]
        what, instead = counted(len(found), "trial"), "Its size alone"
    actual = np.array([own.accuracy for own, _ in found])
    missed = [abs(actual - own) for own in ([told for _, told in found], simple)]
    means = [float(own.mean()) for own in missed]
    said = (
        f"Held out, {what} came within {means[0]:.2f} points of the prediction on average. "
        f"{instead} would have missed by {means[1]:.2f}"
    )
    gain = Difference.of((missed[1] - missed[0]).tolist())
    said += "." if gain.beyond_chance else ": no more than chance apart."
    good = gain.mean > 0 if gain.beyond_chance else None
    return Check(question, good, " ".join([said, *_confirmation_said(record)]))


def _confirmation_said(record: StudyRecord) -> Iterator[str]:
    known, claimed = [entry for entry in candidates(record) if entry.confirmed], claims(record)
    gaps = [e.confirmed.mean - claimed[e.trial.number].mean for e in known if e.confirmed]
    if gaps:
        mean, off = round(float(np.mean(gaps)), 2) + 0.0, float(np.mean(np.abs(gaps)))
        yield (
            f"Retrained with fresh seeds, {counted(len(gaps), 'network')} came within {off:.2f} "
            f"points of the test accuracy that was expected, {mean:+.2f} on average."
        )


def pruning_check(record: StudyRecord) -> Check:
    """Whether pruning saved epochs, and stopped none of the exempt that turned out to be good."""
    question, spent = "Did pruning pay?", epoch_usage(record)
    if record.spec.pruner == "none":
        return Check(question, None, "This search did not prune.")
    saved, all_of = spent.epochs_unpruned - spent.epochs, spent.epochs_unpruned
    said = f"It saved {saved:,} of {counted(all_of, 'epoch')} ({saved / max(all_of, 1):.0%})."
    if not spent.exempt:
        return Check(question, None, f"{said} No trial was exempt, to tell what it cost.")
    found = f", of which {spent.wrongful or 'none'} turned out to be on the front"
    found = found if spent.spared else ""
    said += (
        f" As a check, {counted(spent.exempt, 'trial')} could not be stopped. Pruning would have "
        f"stopped {spent.spared or 'none'}{found}."
    )
    return Check(question, saved > 0 and not spent.wrongful, said)


def start_check(record: StudyRecord) -> Check:
    """Whether the most accurate network is better than those that the search began with: by Welch's
    test where both are confirmed, else by the model's probability."""
    question = "Is the winner better than what the search began with, by more than chance?"
    first, known, winner = record.study.user_attrs.get(FIRST), estimates(record), chosen(record)
    start = [own for own in known if own < len(first)] if isinstance(first, list) else []
    if not start:
        return Check(question, None, "None of the networks that it began with was completed.")
    number, best = winner.trial.number, max(start, key=lambda own: known[own].mean)
    also = f" {_outdone_text(record, start)}"
    if number in start:
        return Check(question, False, f"The winner, trial {number}, is one of those.{also}")
    sure = _better(record, number, best)
    pair = [spread_text(known[own].mean, known[own].sd) for own in (number, best)]
    said = (
        f"Trial {number} has {pair[0]} % on validation images and the best of them, trial {best}, "
        f"{pair[1]} %: better with a probability of {sure:.0%}."
    )
    good, others = sure >= 1 - _CHANCE, {e.trial.number: e for e in candidates(record)}
    if welch := _welch(winner, others.get(best)):
        good = welch.difference > 0 and welch.p < _CHANCE
        said += f" Confirmed: {welch.difference:+.2f} points on test images"
        said += f" (Welch, p = {welch.p:.2g})."
    return Check(question, good, said + also)


def _outdone_text(record: StudyRecord, start: Sequence[int]) -> str:
    """How many of the first networks it found a better one for, of equal or fewer parameters."""
    known, networks, outdone = estimates(record), evidence_of(record).networks, 0
    for own in start:
        most = networks[own].parameters
        ours = [n for n in known if n not in start and networks[n].parameters <= most]
        best = max(ours, key=lambda number: known[number].mean, default=None)
        outdone += best is not None and _better(record, best, own) >= 1 - _CHANCE
    return (
        f"For {outdone or 'none'} of the {len(start)} that it began with, it found a better "
        f"network that is no larger, with a probability of {1 - _CHANCE:.0%} or more."
    )


def _better(record: StudyRecord, one: int, other: int) -> float:
    """The probability that a trial's network is more accurate than another's, by the model."""
    evidence = evidence_of(record)
    networks = [evidence.networks[one], evidence.networks[other]]
    means, covariance = posterior_of(evidence).moments(networks)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return 0.5 * math.erfc((means[0] - means[1]) / math.sqrt(2 * max(variance, 1e-12)))


def _welch(one: Candidate, other: Candidate | None) -> Welch | None:
    """Of their mean test accuracies, in points; None unless both are confirmed."""
    found = [entry.confirmed for entry in (other, one) if entry and entry.confirmed]
    runs = [[run.curve[-1]["test_accuracy"] for run in own.runs] for own in found]
    return Welch.of(*runs) if len(runs) == 2 else None


def range_check(record: StudyRecord) -> Check:
    """Whether the best trials of their size sit at an end of a choice's range."""
    question = "Are the ranges of the choices wide enough?"
    trials = record.trials(TrialState.COMPLETE)
    if len(trials) < _LEAST_TRIALS:
        return Check(question, None, f"Fewer than {_LEAST_TRIALS} completed trials cannot tell.")
    ranked = np.argsort(at_given_size(trials), kind="stable")
    best = [trials[at] for at in ranked[: max(8, round(_BEST * len(trials)))]]
    kinds: dict[str, Any] = {n: d for n, d in trials[-1].distributions.items() if n != "fill"}
    found = []
    for name, kind in kinds.items():
        if isinstance(kind, CategoricalDistribution) or kind.single():
            continue
        places = [_place(own.params[name], kind) for own in best if name in own.params]
        for end, value in (("lower", kind.low), ("upper", kind.high)):
            at_end = sum(place <= _END if end == "lower" else place >= 1 - _END for place in places)
            natural = end == "lower" and value in (0, 1)  # no fewer layers, and no less dropout
            if at_end >= _AT_AN_END * len(best) and not natural:
                where = f"the {end} end, {value:g}"
                found.append(f"{name.replace('_', ' ')} ({at_end} of {len(best)} at {where})")
    if not found:
        said = f"The {len(best)} best trials of their size crowd at no end of a range."
        return Check(question, True, said)
    said = f"The best trials of their size crowd at an end of: {'; '.join(found)}."
    return Check(question, False, f"{said} A wider range may hold better ones.")


def _place(value: float, kind: Any) -> float:
    """Where it stands in the range, from 0 to 1."""
    scale = math.log if kind.log else float
    return (scale(value) - scale(kind.low)) / (scale(kind.high) - scale(kind.low))

"""The confirmation: networks of a search, retrained with fresh seeds.

It is a study of its own beside the search's, a trial for each network and seed, so that it is
resumed, shared between processes and machines, and read just as the search is.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from optuna.trial import FrozenTrial, TrialState

from nas_mnist.errors import RequestError, StudyError
from nas_mnist.execution.estimates import Estimated, estimates, front
from nas_mnist.execution.records import TIME, StudyRecord, TrialRecord, percent, reading
from nas_mnist.execution.spec import CONFIRMATION, SearchConfig
from nas_mnist.networks.architecture import Architecture
from nas_mnist.training.recipe import derived_seed
from nas_mnist.training.runs import LAST_EPOCHS, mean_and_sd

_APART = 0.8  # probability that a network is better than one that is not much smaller
_SURE = 0.9  # probability that a network is as accurate as was asked for
START_SECONDS = 10.0  # until a search's workers have stopped, and the confirmation's are ready

RunKey: TypeAlias = tuple[int, int, int]
"""of a run: its trial's number, its seed, and the training images it is given, 0 for all"""


class ConfirmedRun(NamedTuple):
    """One network trained from scratch with one fresh seed. Its fields are as a TrialRecord's; the
    test accuracies, in percent, are in its curve."""

    seed: int
    curve: tuple[dict[str, float], ...]
    weights: str
    finished: str

    @property
    def test_accuracy(self) -> float:
        return self.curve[-1]["test_accuracy"]

    @property
    def last4_min(self) -> float:
        return min(entry["test_accuracy"] for entry in self.curve[-LAST_EPOCHS:])


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What may be quoted of a network: test accuracies in percent, after the final epoch."""

    trial: TrialRecord
    on_front: bool
    """whether no other network of the search is estimated to beat it; else confirmed besides"""
    runs: tuple[ConfirmedRun, ...]
    """in the order of `confirmation_seeds`"""
    diverged: int
    """seeds with which it could not be trained"""
    goal: float | None
    images: int = 0
    """training images of its runs, 0 for all"""

    @property
    def architecture(self) -> Architecture:
        return self.trial.architecture

    @property
    def mean(self) -> float:
        return mean_and_sd([run.test_accuracy for run in self.runs])[0]

    @property
    def sd(self) -> float | None:
        """None for a single run."""
        return mean_and_sd([run.test_accuracy for run in self.runs])[1]

    @property
    def last4_min(self) -> float:
        """The lowest of the last four epochs of any run."""
        return min(run.last4_min for run in self.runs)

    @property
    def goal_met(self) -> bool | None:
        """Whether every run held the goal over its last four epochs; None without a goal."""
        return None if self.goal is None else not self.diverged and self.last4_min >= self.goal


def confirmation_seeds(seed: int, count: int) -> list[int]:
    """The fresh seeds of a search with this seed: none of its trials had one of them."""
    return [derived_seed(seed, -1 - index) for index in range(count)]


def confirmed(record: StudyRecord) -> list[Confirmed]:
    """The networks that have been retrained, from the fewest parameters up."""
    return [found for found in _tried(record) if found.runs]


def _tried(record: StudyRecord) -> list[Confirmed]:
    """Also those that diverged with every seed."""
    rows = confirmation_rows(record)
    if not rows:
        return []
    # Runs on the most images count: 0 is all.
    images = [key[2] for key, row in rows.items() if row.state == TrialState.COMPLETE]
    most = 0 if 0 in images else max(images, default=0)
    name = record.name + CONFIRMATION
    on_front, result = {trial.number for trial in front(record)}, []
    numbers = sorted({key[0] for key in rows} & record.points().keys())
    trials = record.records(numbers)
    for trial in sorted(trials, key=lambda trial: trial.architecture.parameters):
        mine = [row for key, row in rows.items() if (key[0], key[2]) == (trial.number, most)]
        complete = [row for row in mine if row.state == TrialState.COMPLETE]
        runs = tuple(
            _run(name, row) for row in complete if row.user_attrs.get("weights") is not None
        )
        diverged = sum(row.state == TrialState.FAIL for row in mine)
        if runs or diverged:
            of_front = trial.number in on_front
            result.append(Confirmed(trial, of_front, runs, diverged, record.spec.goal, most))
    return result


def networks_to_confirm(record: StudyRecord, config: SearchConfig) -> list[TrialRecord]:
    """Those of the front that are better than the next smaller one by more than doubt, the
    `config.most_accurate` that are estimated to be most accurate, and before these
    `config.confirm_trials`; best first. StudyError if one of those is not complete."""
    from nas_mnist.search.selection import apart

    shown, known = front(record), estimates(record)
    of_front = [known[trial.number] for trial in shown]
    means, deviations = [own.mean for own in of_front], [own.sd for own in of_front]
    chosen = {shown[index].number for index in apart(means, deviations, _APART)}
    best_first = sorted(known, key=lambda number: -known[number].mean)
    chosen |= set(best_first[: config.most_accurate])
    named = {record.trial(number).number for number in config.confirm_trials}
    numbers = [number for number in best_first if number in named | chosen]
    return record.records(sorted(numbers, key=lambda number: number not in named))


def wanted_runs(config: SearchConfig, networks: Sequence[TrialRecord]) -> dict[RunKey, TrialRecord]:
    """All runs of a confirmation of these networks, and which network each is of."""
    seeds = confirmation_seeds(config.seed, config.seeds)
    images = config.confirmation_images() or 0
    return {(trial.number, seed, images): trial for trial in networks for seed in seeds}


def confirmation_seconds(record: StudyRecord, config: SearchConfig) -> float:
    """About how long what is missing of the confirmation takes, by the mean completed trial, with
    a fifth to spare; 0 if nothing is missing, none is asked for, or no trial is complete. All seeds
    of a network are one worker's."""
    if not (config.confirm and record.points()):
        return 0.0
    rows = confirmation_rows(record)
    ended = {key for key, row in rows.items() if row.state.is_finished()}
    wanted = wanted_runs(config, networks_to_confirm(record, config))
    missing = Counter(key[0] for key in wanted.keys() - ended)
    runs = max(missing.total() / config.workers, max(missing.values(), default=0))
    return runs and 1.2 * runs * record.mean_seconds() + START_SECONDS


def choose_run(
    trials: list[FrozenTrial], wanted: Iterable[RunKey], network: int | None
) -> FrozenTrial | None:
    """The waiting run to take next: of that network if one is given, else of a network that
    nobody trains yet, so that one process has all its seeds."""
    rows = runs_by_key(trials)
    mine = [(key[0], rows[key]) for key in wanted if key in rows]
    busy = {number for number, row in mine if row.state == TrialState.RUNNING}
    waiting = [(number, row) for number, row in mine if row.state == TrialState.WAITING]
    waiting.sort(key=lambda found: found[0] in busy)
    return next((row for number, row in waiting if network in (None, number)), None)


def confirmation_rows(record: StudyRecord) -> dict[RunKey, FrozenTrial]:
    """The runs of a study's confirmation; none before it has begun."""
    return runs_by_key(record.runs_beside(CONFIRMATION)[0])


def runs_by_key(trials: Sequence[FrozenTrial]) -> dict[RunKey, FrozenTrial]:
    """The runs by their keys. Two machines may have queued the same run: the first counts, and
    the other is never taken."""
    rows: dict[RunKey, FrozenTrial] = {}
    for trial in trials:
        attrs = trial.user_attrs
        key = attrs.get("trial"), attrs.get("seed"), attrs.get("images", 0)
        if all(isinstance(part, int) for part in key):
            rows.setdefault(key, trial)  # type: ignore[arg-type]
    return rows


def _run(study: str, row: FrozenTrial) -> ConfirmedRun:
    attrs = row.user_attrs
    with reading(study, row, "record"):
        curve = [{str(key): float(n) for key, n in entry.items()} for entry in attrs["curve"]]
        if not [percent(entry["test_accuracy"]) for entry in curve]:
            raise ValueError("no curve")
        seed, weights = int(attrs["seed"]), str(attrs["weights"]["artifact"])
        return ConfirmedRun(seed, tuple(curve), weights, f"{row.datetime_complete:{TIME}}")


class Candidate(NamedTuple):
    """A completed trial, what all runs of its study tell of it, and what its confirmation found,
    if it has one."""

    trial: TrialRecord
    estimate: Estimated
    confirmed: Confirmed | None
    diverged: int = 0
    """fresh seeds with which one that is not confirmed could not be trained"""


def candidates(record: StudyRecord) -> list[Candidate]:
    """The front, and what was confirmed beside it, from the fewest parameters up."""
    both: list[tuple[TrialRecord, Confirmed | None]] = [(trial, None) for trial in front(record)]
    tried = _tried(record)
    both += [(found.trial, found) for found in tried if found.runs]
    lost = {found.trial.number: found.diverged for found in tried if not found.runs}
    known = estimates(record)  # last: trials that end meanwhile are known too
    shown = {
        trial.number: Candidate(trial, known[trial.number], found, lost.get(trial.number, 0))
        for trial, found in both
    }
    size = [(entry.trial.architecture.parameters, number) for number, entry in shown.items()]
    return [shown[number] for _, number in sorted(size)]


def of_front(shown: Iterable[Candidate]) -> list[Candidate]:
    """Those of `candidates` that were not just confirmed beside the front."""
    return [entry for entry in shown if entry.confirmed is None or entry.confirmed.on_front]


def most_accurate(shown: Iterable[Candidate]) -> Candidate | None:
    """That of the front among `candidates` whose estimate is highest: of all, the winner."""
    return max(of_front(shown), key=lambda entry: entry.estimate.mean, default=None)


def chosen(
    record: StudyRecord, trial: int | None = None, at_least: float | None = None
) -> Candidate:
    """The completed trial of that number; or the smallest network of the front whose validation
    accuracy is `at_least` so many percent with a probability of 90%; or the one whose estimated
    validation accuracy is highest. Whether it is confirmed, and what that found, has no part in it.
    StudyError if there is none, RequestError for no percentage.
    """
    if at_least is not None and not (
        isinstance(at_least, int | float)
        and not isinstance(at_least, bool)
        and 0 <= at_least <= 100
    ):
        raise RequestError(f"at_least must be a percentage from 0 to 100, not {at_least!r}")
    shown = candidates(record)
    if trial is not None:
        found = record.trial(trial)
        known = {entry.trial.number: entry for entry in shown}
        return known.get(trial) or Candidate(found, estimates(record)[trial], None)
    best = most_accurate(shown)
    if best is None:
        why = "of every network a rerun diverged" if record.points() else "no trial has completed"
        raise StudyError(f"the study has no front: {why}; let search run on")
    if at_least is None:
        return best
    if good := [e for e in of_front(shown) if e.estimate.probability(at_least) >= _SURE]:
        return good[0]
    said = f"no network that has {at_least:g}% on validation images with {_SURE:.0%} probability"
    most = f"{best.estimate.mean:.2f} ± {best.estimate.sd:.2f}%"
    raise StudyError(f"the study has {said}; the best, trial {best.trial.number}, has {most}")

"""Hold what a study's posterior says of its networks against their confirmation.

python studies/posterior/evaluate.py mnist-8k --storage sqlite:///results/mnist-8k-plain/study.db
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import ttest_ind

sys.path.append(str(Path(__file__).parents[1] / "pruner_simulation"))

from script import Parser, at_least, run

from nas_mnist.errors import RequestError
from nas_mnist.execution.confirmation import Confirmed, confirmed
from nas_mnist.execution.estimates import Estimated, estimates, evidence_of
from nas_mnist.execution.records import StudyRecord
from nas_mnist.report import writing
from nas_mnist.report.claims import claims
from nas_mnist.search.front import on_log_scale
from nas_mnist.search.posterior import Floats, Network, Observation, Posterior

_LEAST = 6  # networks, below which a correlation at a given size says nothing
_RESAMPLED, _PARTS = 2000, 3


class Held(NamedTuple):
    """One confirmed network, accuracies in percent."""

    trial: int
    parameters: int
    notation: str
    seeds: int
    confirmed: float
    sd: float
    """of one seed"""
    single_run: float
    estimate: float
    estimate_sd: float
    expected_test: float


def main() -> None:
    parser = Parser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("study", help="its name")
    parser.add_argument("--storage", required=True, help="its database URL")
    parser.add_argument("--seeds", type=at_least(2), default=2, help="least that count")
    parser.add_argument("-o", "--output", type=Path, help="file for all that was found, .json")
    asked = parser.parse_args()
    record = StudyRecord.load(asked.study, asked.storage)
    found = evaluated(record, asked.seeds)
    if asked.output:
        with writing(asked.output):
            asked.output.write_text(json.dumps(found, indent=1) + "\n")
    for name, value in found.items():
        if name != "confirmed":
            print(f"{name}: {json.dumps(value)}")


def evaluated(record: StudyRecord, seeds: int) -> dict[str, Any]:
    """Correlations are of logarithms of errors, what the logarithm of the parameters and its square
    say being taken from both; with 90% intervals over resampled networks. A pair is a mean and the
    standard deviation over networks, in points. RequestError for too few networks."""
    networks = [own for own in confirmed(record) if len(own.runs) >= seeds and not own.images]
    if len(networks) < _LEAST:
        said = f"{len(networks)} networks confirmed with {seeds} seeds or more on all images"
        raise RequestError(f"study {record.name!r} has {said}; {_LEAST} is the least")
    known, expected = estimates(record), claims(record)
    held = [
        Held(
            own.trial.number,
            own.architecture.parameters,
            own.trial.notation,
            len(own.runs),
            own.mean,
            own.sd or 0.0,
            own.trial.val_accuracy,
            known[own.trial.number].mean,
            known[own.trial.number].sd,
            expected[own.trial.number].mean,
        )
        for own in networks
    ]
    sizes = np.log([own.parameters for own in held])
    errors = {
        name: np.array([on_log_scale(1, getattr(own, name))[1] for own in held])
        for name in ("confirmed", "single_run", "estimate")
    }
    single, estimate, difference = _correlations(sizes, **errors)
    return {
        "study": record.name,
        "networks": len(held),
        "seeds": min(own.seeds for own in held),
        "single_run_correlation": single[0],
        "single_run_correlation_90": single[1:],
        "estimate_correlation": estimate[0],
        "estimate_correlation_90": estimate[1:],
        "difference": difference[0],
        "difference_90": difference[1:],
        "confirmed_minus_expected_test": _spread([n.confirmed - n.expected_test for n in held]),
        "confirmed_minus_estimate": _spread([n.confirmed - n.estimate for n in held]),
        "confirmed_minus_single_run": _spread([n.confirmed - n.single_run for n in held]),
        "largest": _largest(record, networks, known),
        **_loss(record),
        "confirmed": [own._asdict() for own in held],
    }


def _correlations(
    sizes: Floats, confirmed: Floats, single_run: Floats, estimate: Floats
) -> list[tuple[float, float, float]]:
    """Of the single run and of the estimate with the confirmed mean, and the difference; each with
    the ends of its interval."""

    def found(rows: Any) -> tuple[float, float, float]:
        given = np.vander(sizes[rows] - sizes.mean(), 3)

        def left(values: Floats) -> Floats:
            fit, *_ = np.linalg.lstsq(given, values[rows], rcond=None)
            rest: Floats = values[rows] - given @ fit
            return rest

        truth = left(confirmed)
        one, other = (float(np.corrcoef(truth, left(own))[0, 1]) for own in (single_run, estimate))
        return one, other, other - one

    count, draws = len(sizes), np.random.default_rng(0)
    resampled = (draws.integers(count, size=count) for _ in range(_RESAMPLED))
    # Fewer different networks than this are fitted whole by three coefficients.
    many = np.array([found(rows) for rows in resampled if len({*rows}) >= _LEAST])
    low, high = np.quantile(many, (0.05, 0.95), axis=0)
    whole = found(np.arange(count))
    return [(whole[i], float(low[i]), float(high[i])) for i in range(len(whole))]


def _largest(
    record: StudyRecord, networks: Sequence[Confirmed], known: dict[int, Estimated]
) -> dict[str, Any]:
    """The network that the estimates choose against the one with the best single run, where both
    are confirmed: Welch's test of their confirmed runs."""
    single = {trial.number: trial.val_accuracy for trial in record.complete()}
    picked = {
        "by_estimate": max(known, key=lambda number: known[number].mean),
        "by_single_run": max(single, key=lambda number: single[number]),
    }
    runs = {own.trial.number: [run.test_accuracy for run in own.runs] for own in networks}
    said: dict[str, Any] = {name: {"trial": number} for name, number in picked.items()}
    for name, number in picked.items():
        if number not in runs:
            return {**said, "compared": False}
        mean, sd = _spread(runs[number])
        said[name] |= {"seeds": len(runs[number]), "mean": mean, "sd": sd}
    mine, old = (runs[number] for number in picked.values())
    test = ttest_ind(mine, old, equal_var=False)
    own = {"difference": float(np.mean(mine) - np.mean(old)), "p": float(test.pvalue)}
    interval = [float(end) for end in test.confidence_interval(0.9)]
    return {**said, "welch": {**own, "interval_90": interval}}


def _loss(record: StudyRecord) -> dict[str, Any]:
    """How well networks that were held out are predicted from errors, from errors that the loss of
    the same runs implies, and from the mean of both; nothing if no loss was recorded."""
    evidence = evidence_of(record)
    rows = []
    for trial in record.trials():
        loss = trial.user_attrs.get("curve", [{}])[-1].get("val_loss")
        if trial.number in evidence.networks and loss is not None:
            error = on_log_scale(1, trial.user_attrs["curve"][-1]["val_accuracy"])[1]
            network = evidence.networks[trial.number]
            rows.append((network, error, math.log(loss), math.log(network.parameters)))
    if len(rows) < 2 * _LEAST:
        return {}
    networks = [row[0] for row in rows]
    errors, losses, sizes = (np.array([row[i] for row in rows]) for i in (1, 2, 3))
    given = np.vander(sizes - sizes.mean(), 3)
    left = [v - given @ np.linalg.lstsq(given, v, rcond=None)[0] for v in (errors, losses)]
    slope, start = np.polyfit(losses, errors, 1)
    implied = slope * losses + start
    sources = {"error": errors, "loss": implied, "both": (errors + implied) / 2}
    parts = np.random.default_rng(0).permutation(len(rows)) % _PARTS
    missed: dict[str, list[float]] = {name: [] for name in sources}
    for part in range(_PARTS):
        out = [network for network, own in zip(networks, parts, strict=True) if own == part]
        for name, values in sources.items():
            said = _predicted(networks, values, parts != part, out, evidence.distributions)
            missed[name] += list((said - errors[parts == part]) ** 2)
    return {
        "loss_correlation": float(np.corrcoef(*left)[0, 1]),
        "rmse_of_log_error": {n: float(np.sqrt(np.mean(own))) for n, own in missed.items()},
    }


def _predicted(
    networks: Sequence[Network],
    errors: Floats,
    seen: Floats,
    out: Sequence[Network],
    distributions: dict[str, Any],
) -> Floats:
    runs = zip(networks, errors, seen, strict=True)
    observed = [Observation(own, 100 - math.exp(error)) for own, error, told in runs if told]
    return Posterior(observed, distributions).moments(out)[0]


def _spread(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1))


if __name__ == "__main__":
    run(main)

"""The truth table of the pruner that predicts where a trial will end."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from random import Random
from types import MappingProxyType
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial

from nas_mnist.search.prediction import expected_ends
from nas_mnist.search.pruner import LearningCurve, PruneReason, make_pruner

PRUNER = make_pruner("prediction", 15, 10_000)
GOOD: dict[str, Any] = {"convolution": "dense", "peak_learning_rate": 0.2, "dropout": 0.0}
SLOW: dict[str, Any] = {"convolution": "separable", "peak_learning_rate": 0.2, "dropout": 0.0}
NOTHING: Mapping[str, Any] = MappingProxyType({})


def run(
    number: int, parameters: int, lag: float, point: Mapping[str, Any], epochs: int = 15
) -> LearningCurve:
    """One whose final error falls with its size, and is `lag` higher on a log scale. A separable
    network starts with twice the error, and makes it good."""
    final = math.log(1.0) - 0.4 * math.log(parameters / 2000) + lag
    start = math.log(2) if point.get("convolution") == "separable" else 0.0
    left = [1 - epoch / 15 for epoch in range(1, epochs + 1)]
    return LearningCurve(
        number, parameters, [100 - math.exp(final + s * (1.2 + start)) for s in left], point
    )


def field(count: int, *, points: bool = True) -> list[LearningCurve]:
    draws = Random(0)
    found = []
    for number in range(count):
        point = {
            **(GOOD if number % 2 else SLOW),
            "peak_learning_rate": 0.05 * 16 ** draws.random(),
        }
        size = round(1000 * 8 ** draws.random())
        found.append(run(number, size, abs(draws.gauss(0, 0.2)), point if points else {}))
    return found


def decision(
    rivals: list[LearningCurve],
    lag: float,
    point: Mapping[str, Any],
    size: int = 8000,
    epochs: int = 1,
) -> PruneReason | None:
    return PRUNER.stop(run(99, size, lag, point, epochs), rivals)


FIELD = field(60)


@pytest.mark.parametrize(
    ("rivals", "lag", "point", "size", "epochs", "stops"),
    [
        pytest.param(FIELD, 0.8, GOOD, 8000, 1, True, id="hopeless"),
        pytest.param(FIELD, 0.8, GOOD, 8000, 8, True, id="hopeless-later"),
        pytest.param(FIELD, 0.8, GOOD, 8000, 3, False, id="not-a-rung"),
        pytest.param(FIELD, 0.8, GOOD, 900, 1, False, id="smaller-than-all"),
        pytest.param(FIELD, -0.2, GOOD, 8000, 1, False, id="ahead"),
        pytest.param(FIELD, 0.0, SLOW, 8000, 1, False, id="starts-slowly-as-its-kind-does"),
        pytest.param(FIELD, 0.65, GOOD, 8000, 1, True, id="as-far-behind-but-of-a-quick-kind"),
        pytest.param(FIELD[:19], 0.8, GOOD, 8000, 1, True, id="few-finished-so-dominance"),
        pytest.param([], 0.8, GOOD, 8000, 1, False, id="no-rival"),
        pytest.param(FIELD, 1.5, NOTHING, 8000, 1, True, id="its-choices-are-unknown"),
        pytest.param(field(60, points=False), 0.8, GOOD, 8000, 1, True, id="theirs-are-unknown"),
        pytest.param(FIELD, 0.8, {**GOOD, "own": None}, 8000, 1, True, id="a-choice-of-its-own"),
    ],
)
def test_truth_table(
    rivals: list[LearningCurve],
    lag: float,
    point: Mapping[str, Any],
    size: int,
    epochs: int,
    stops: bool,
) -> None:
    assert (decision(rivals, lag, point, size, epochs) is not None) == stops


def test_the_reason_can_be_read() -> None:
    reason = decision(FIELD, 0.8, GOOD)
    assert reason is not None
    assert reason.epoch == 1
    assert reason.accuracy < reason.needed < 100
    leader = next(rival for rival in FIELD if rival.trial == reason.rival)
    assert leader.parameters <= 8000
    better = run(99, 8000, 0.8, GOOD, 1)._replace(accuracies=[reason.needed + 0.2])
    assert PRUNER.stop(better, FIELD) is None


def test_a_value_that_no_rival_had_makes_it_less_sure() -> None:
    known, unknown = (
        decision(FIELD, 0.8, {**GOOD, "convolution": kind}) for kind in ("dense", "other")
    )
    assert known is not None
    assert unknown is None or unknown.needed < known.needed


def test_rivals_that_are_all_alike_say_nothing_of_another() -> None:
    perfect = [LearningCurve(number, 100, [100.0] * 15, GOOD) for number in range(30)]
    for accuracy in (50.0, 100.0):
        assert PRUNER.stop(LearningCurve(99, 200, [accuracy], GOOD), perfect) is None


def test_a_rival_that_made_no_mistake_was_lucky_in_part() -> None:
    perfect = FIELD[-1]._replace(accuracies=[*FIELD[-1].accuracies[:-1], 100.0], parameters=900)
    assert decision([*FIELD, perfect], 0.8, GOOD) is not None
    assert decision([*FIELD, perfect], -2.5, GOOD) is None


def test_a_decision_takes_milliseconds() -> None:
    many = field(200)
    start = time.perf_counter()
    for _ in range(5):
        decision(many, 0.8, GOOD, epochs=8)
    assert (time.perf_counter() - start) / 5 < 0.05


DAMAGED: list[dict[str, Any]] = [
    {"parameters": 100, "curve": [{"val_accuracy": 101}]},
    {"parameters": 100, "curve": [{"val_accuracy": math.nan}]},
    {"parameters": 100, "curve": [{}]},
    {"parameters": "many", "curve": [{"val_accuracy": 90}]},
    {"curve": 3},
]


def test_where_pruned_trials_would_have_ended() -> None:
    """By the finished ones: here the error is halved, whatever the size. What has no curve, or was
    finished or is running, is left alone."""
    trials = []
    for number, size in enumerate(range(100, 1000, 50)):
        curve = [{"val_accuracy": 100 - error} for error in (2000 / size, 1000 / size)]
        stopped, attrs = number % 4 == 3, {"parameters": size, "curve": curve}
        trials.append(
            create_trial(
                state=TrialState.PRUNED if stopped else TrialState.COMPLETE,
                values=None if stopped else [size, 100 - 1000 / size],
                user_attrs=attrs | {"curve": curve[: 1 if stopped else 2]},
            )
        )
    trials += [create_trial(state=TrialState.PRUNED, user_attrs={"curve": []})]
    for number, trial in enumerate(trials):
        trial.number = number
    trials += [create_trial(state=TrialState.PRUNED, user_attrs=damaged) for damaged in DAMAGED]
    ends = {trial.number: (error, variance) for trial, error, variance in expected_ends(trials)}
    assert [*ends] == [3, 7, 11, 15]
    for number, (error, variance) in ends.items():
        size = trials[number].user_attrs["parameters"]
        assert math.exp(error) == pytest.approx(1000 / size, rel=0.01)
        assert 0 < variance < 0.1

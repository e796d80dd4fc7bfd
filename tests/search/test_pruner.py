"""The pruner's truth table."""

from __future__ import annotations

import numpy as np
import pytest

from nas_mnist.errors import RequestError
from nas_mnist.lookup import GIVEN
from nas_mnist.search.pruner import (
    DominancePruner,
    LearningCurve,
    PruneReason,
    QuantilePruner,
    make_pruner,
)
from tests.conftest import named

PRUNER = DominancePruner(epochs=15, validation_images=10_000)
STRONG = LearningCurve(7, 2000, [97.0, 98.0, 98.3, 98.6, 98.7])


def standing(parameters: int, accuracies: list[float]) -> LearningCurve:
    return LearningCurve(0, parameters, accuracies)


@pytest.mark.parametrize(
    ("epochs", "rungs"),
    [
        (15, (1, 2, 4, 8)),
        (30, (2, 4, 8, 16)),
        (6, (1, 2, 3)),
        (3, (1, 2)),
        (2, (1,)),
        (1, ()),
    ],
)
def test_rungs_scale_and_leave_out_the_last_epoch(epochs: int, rungs: tuple[int, ...]) -> None:
    assert DominancePruner(epochs, 10_000).rungs == rungs


@pytest.mark.parametrize(
    ("parameters", "accuracies", "rivals", "stops"),
    [
        pytest.param(2000, [80.0], [STRONG], True, id="far-behind-an-equal"),
        pytest.param(3000, [80.0], [STRONG], True, id="far-behind-a-smaller"),
        pytest.param(1999, [80.0], [STRONG], False, id="far-behind-a-larger"),
        pytest.param(2000, [95.5], [STRONG], False, id="could-still-make-it-good"),
        pytest.param(2000, [80.0] * 3, [STRONG], False, id="not-a-rung"),
        pytest.param(2000, [80.0] * 8, [STRONG], False, id="rival-not-there-yet"),
        pytest.param(2000, [80.0], [], False, id="no-rival"),
        pytest.param(2000, [99.0], [STRONG], False, id="ahead"),
        pytest.param(2000, [90.0] * 4, [STRONG], True, id="later-rung"),
    ],
)
def test_truth_table(
    parameters: int, accuracies: list[float], rivals: list[LearningCurve], stops: bool
) -> None:
    assert (PRUNER.stop(standing(parameters, accuracies), rivals) is not None) == stops


def test_the_reason_names_the_rival_that_leads_most() -> None:
    weaker = LearningCurve(3, 500, [96.0])
    stop = PRUNER.stop(standing(2000, [80.0]), [weaker, STRONG])
    assert stop is not None
    assert (stop.epoch, stop.accuracy, stop.rival) == (1, 80.0, 7)
    assert 80 < stop.needed < 97
    assert PRUNER.stop(standing(2000, [stop.needed + 0.01]), [STRONG]) is None


def test_a_smaller_rival_that_made_no_mistake() -> None:
    perfect = LearningCurve(1, 10, [100.0])
    assert PRUNER.stop(standing(2000, [99.99]), [perfect]) is None
    assert PRUNER.stop(standing(2000, [99.0]), [perfect]) is not None


def test_a_smaller_validation_set_needs_a_larger_lead() -> None:
    few = DominancePruner(epochs=15, validation_images=100)
    rival = LearningCurve(1, 10, [98.0] * 4)
    stops = [pruner.stop(standing(2000, [60.0] * 4), [rival]) for pruner in (PRUNER, few)]
    needed = [stop.needed for stop in stops if stop is not None]
    assert len(needed) == 2
    assert needed[1] < needed[0]


FIELD = [
    LearningCurve(place, 1000, [float(accuracy)]) for place, accuracy in enumerate(range(90, 95))
]


@pytest.mark.parametrize(
    ("accuracies", "rivals", "stops"),
    [
        pytest.param([91.9], FIELD, True, id="below-the-median"),
        pytest.param([92.0], FIELD, False, id="at-the-median"),
        pytest.param([10.0], FIELD[:4], False, id="too-few-rivals"),
        pytest.param([10.0] * 3, FIELD, False, id="not-a-rung"),
        pytest.param([10.0] * 2, FIELD, False, id="rivals-not-there-yet"),
    ],
)
def test_the_median_rule(accuracies: list[float], rivals: list[LearningCurve], stops: bool) -> None:
    pruner = QuantilePruner(rungs=(1, 2, 4))
    for parameters in (10, 10_000):  # size-blind
        assert (pruner.stop(standing(parameters, accuracies), rivals) is not None) == stops


@pytest.mark.parametrize("quantile", [0.0, 0.25, 0.6, 1.0])
def test_the_quantile_is_numpys(quantile: float) -> None:
    stop = QuantilePruner((1,), quantile).stop(standing(10, [0.0]), FIELD)
    assert stop is not None
    assert stop.needed == pytest.approx(np.quantile(range(90, 95), quantile))


@pytest.mark.parametrize(
    ("name", "rungs"),
    [
        ("dominance", (1, 2, 4, 8)),
        ("prediction", (1, 2, 4, 8)),
        ("median", (1, 2, 4, 8)),
        ("one-epoch", (1,)),
        ("none", ()),
    ],
)
def test_pruners_by_name(name: str, rungs: tuple[int, ...]) -> None:
    pruner = make_pruner(name, 15, 10_000)
    assert pruner.rungs == rungs
    hopeless = pruner.stop(standing(9000, [10.0]), FIELD)
    assert (hopeless is None) == (name == "none")


class Strict:
    """A pruner of the user's own."""

    rungs = (1,)

    def __init__(self, epochs: int, validation_images: int) -> None:
        self.seen = epochs, validation_images

    def stop(self, curve: LearningCurve, rivals: object) -> PruneReason | None:
        return PruneReason(1, curve.accuracies[-1], 100.0, None)


def test_a_pruner_of_the_users_own() -> None:
    for text in (f"{__name__}:Strict", "given:ready"):
        GIVEN["given:ready"] = Strict(15, 10)
        pruner = make_pruner(named(text), 15, 10)
        assert isinstance(pruner, Strict)
        assert pruner.seen == (15, 10)
        assert pruner.stop(standing(10, [50.0]), []) == (1, 50.0, 100.0, None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nosuch",
            "--pruner 'nosuch' is not one of prediction, dominance, median, one-epoch, none",
        ),
        ("no_module:Pruner", "add --plugin no_module"),
        ("builtins:divmod", "--pruner 'builtins:divmod': "),
        (f"{__name__}:FIELD", "is not callable"),
    ],
)
def test_pruners_that_are_none(name: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        make_pruner(named(name), 15, 10)
    assert message in str(caught.value)

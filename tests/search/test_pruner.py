"""The pruner's truth table."""

from __future__ import annotations

import pytest

from nas_mnist.search.pruner import DominancePruner, Rival

PRUNER = DominancePruner(epochs=15, validation_images=10_000)
STRONG = Rival(trial=7, parameters=2000, accuracies=[97.0, 98.0, 98.3, 98.6, 98.7])


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
    parameters: int, accuracies: list[float], rivals: list[Rival], stops: bool
) -> None:
    assert (PRUNER.stop(parameters, accuracies, rivals) is not None) == stops


def test_the_reason_names_the_rival_that_leads_most() -> None:
    weaker = Rival(trial=3, parameters=500, accuracies=[96.0])
    stop = PRUNER.stop(2000, [80.0], [weaker, STRONG])
    assert stop is not None
    assert (stop.epoch, stop.accuracy, stop.rival, stop.rival_accuracy) == (1, 80.0, 7, 97.0)
    assert 9 < stop.margin < 17


def test_a_smaller_validation_set_needs_a_larger_lead() -> None:
    few = DominancePruner(epochs=15, validation_images=100)
    rival = Rival(trial=1, parameters=10, accuracies=[98.0, 98.0, 98.0, 98.0])
    margins = [
        stop.margin
        for pruner in (PRUNER, few)
        if (stop := pruner.stop(2000, [80.0] * 4, [rival])) is not None
    ]
    assert len(margins) == 2
    assert margins[1] > margins[0]

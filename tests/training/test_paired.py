"""Differences between networks that were trained with the same seeds."""

from __future__ import annotations

import pytest
from scipy import stats

from nas_mnist.training.paired import Difference, PairedRun, differences
from nas_mnist.training.trainer import EpochRecord


def runs(*accuracies: float) -> list[PairedRun]:
    return [
        PairedRun(seed, [EpochRecord(1, 0.1, 0.5, 90.0, accuracy, 1.0, 0.1)], 50.0)
        for seed, accuracy in enumerate(accuracies)
    ]


def test_a_difference_alone_is_a_paired_t_test() -> None:
    ours, theirs = [99.0, 99.3, 98.8, 99.1], [98.7, 99.1, 98.9, 98.8]
    found = Difference.of([b - a for a, b in zip(ours, theirs, strict=True)])
    known = stats.ttest_rel(theirs, ours)
    low, high = known.confidence_interval(0.95)
    assert found.mean == pytest.approx((low + high) / 2)
    assert found.chance == pytest.approx((high - low) / 2)
    assert found.mean / found.error == pytest.approx(known.statistic)
    assert found.beyond_chance == (known.pvalue < 0.05)


def test_seeds_for_a_difference() -> None:
    """Of pairs that deviate as much as what is looked for, (1.96 + 0.84)² = 7.84."""
    found = Difference.of([0.0, 0.1 * 2**0.5])  # a deviation of 0.1
    assert found.seeds_for(0.1) == 8
    assert found.seeds_for(0.05) == 32
    assert found.seeds_for(10.0) == 2


def test_few_seeds_borrow_from_all() -> None:
    """Two pairs that agree by luck do not make a difference certain."""
    known = {
        "base": runs(99.0, 99.0),
        "lucky": runs(98.9, 98.9),
        "noisy": runs(98.8, 99.0),
        "other": runs(99.2, 98.9),
    }
    found = differences(known, dict.fromkeys(("lucky", "noisy", "other"), "base"))
    lucky, noisy = found["lucky"], found["noisy"]
    assert lucky and noisy
    assert lucky.mean == pytest.approx(-0.1)
    # Those of the others are 0.02 and 0.045: the prior is 0.02, of two degrees of freedom.
    assert lucky.error == pytest.approx((2 * 0.02 / 3 / 2) ** 0.5)
    assert lucky.chance == pytest.approx(lucky.error * stats.t.ppf(0.975, 3))
    assert not lucky.beyond_chance


def test_one_alone_borrows_nothing() -> None:
    """Not even from itself."""
    known = {"base": runs(99.0, 99.0, 99.0), "own": runs(99.11, 99.11, 99.02)}
    found = differences(known, {"own": "base"})["own"]
    assert found == pytest.approx(Difference.of([0.11, 0.11, 0.02]))
    assert found and not found.beyond_chance


def test_one_that_varies_far_more_borrows_nothing_and_lends_little() -> None:
    """As where one seed of three does not learn."""
    steady = {f"steady {n}": runs(98.9, 98.9 + n / 100, 98.9) for n in range(1, 5)}
    known = {"base": runs(99.0, 99.0, 99.0), "wild": runs(99.2, 9.5, 9.5), **steady}
    found = differences(known, dict.fromkeys(("wild", *steady), "base"))
    wild, first = found["wild"], found["steady 1"]
    assert wild and first
    alone = Difference.of([0.2, -89.5, -89.5])
    assert wild == pytest.approx(alone) and not wild.beyond_chance
    assert first.error < 0.02 and first.beyond_chance


def test_only_seeds_that_both_have_count() -> None:
    diverged = PairedRun(1, [], diverged=True)
    known = {"base": runs(99.0, 99.1, 99.2), "one": [*runs(98.0), diverged, *runs(9, 9, 98.2)[2:]]}
    found = differences(known, {"one": "base"})["one"]
    assert found and found.pairs == 2 and found.mean == pytest.approx(-1.0)
    assert differences({**known, "one": [diverged]}, {"one": "base"})["one"] is None


def test_each_step_against_the_one_before() -> None:
    known = {"first": runs(98.0, 98.2), "second": runs(98.5, 98.7), "third": runs(98.4, 98.8)}
    found = differences(known, {"second": "first", "third": "second"})
    second, third = found["second"], found["third"]
    assert second and third
    assert (second.mean, third.mean) == (pytest.approx(0.5), pytest.approx(0.0))
    # Variances are 0 and 0.02: the step that is sure by luck borrows from the other.
    assert second.error == pytest.approx((0.02 / 2 / 2) ** 0.5)

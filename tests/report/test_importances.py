"""Importances and their ranges, of a real study."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_mnist.execution.records import load_study
from nas_mnist.report.importances import at_given_size, importances
from nas_mnist.search.front import on_log_scale
from tests.conftest import Search

STUDY = Path(__file__).parents[2] / "results" / "unpruned" / "study.db"


def test_shares_have_ranges(tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    shutil.copy(STUDY, tmp_path)
    record = load_study("unpruned", f"sqlite:///{tmp_path}/study.db")
    found = importances(record)
    shares = [own.share for own in found.values()]
    assert abs(sum(shares) - 1) < 1e-6
    assert shares == sorted(shares, reverse=True)
    assert "fill" not in found
    assert all(0 <= own.low <= own.high <= 1 for own in found.values())
    assert sum(own.low < own.share < own.high for own in found.values()) > len(found) / 2
    trials = record.trials(TrialState.COMPLETE)
    sizes = [on_log_scale(*trial.values)[0] for trial in trials]
    assert abs(np.corrcoef(sizes, at_given_size(trials))[0, 1]) < 1e-6


class _Record(NamedTuple):
    """A study with these completed trials alone."""

    complete: list[FrozenTrial]

    def trials(self, state: TrialState) -> list[FrozenTrial]:
        return self.complete


@pytest.mark.parametrize("differing", [0, 1])
def test_equal_trials_say_nothing(differing: int) -> None:
    """Of easy data: all but some are at 100 %."""
    kinds = {"dropout": FloatDistribution(0, 0.1), "fill": FloatDistribution(0.1, 1)}
    accuracies = [99.0] * differing + [100.0] * (24 - differing)
    complete = [
        create_trial(
            params={"dropout": n / 240, "fill": 1.0}, distributions=kinds, values=[1000, own]
        )
        for n, own in enumerate(accuracies)
    ]
    found = importances(_Record(complete))  # type: ignore[arg-type]
    assert found.keys() == ({"dropout"} if differing else set())


def test_few_trials_say_nothing(digits_search: Search) -> None:
    assert importances(digits_search.record()) == {}

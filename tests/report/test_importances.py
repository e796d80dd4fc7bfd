"""Importances and their ranges, of a real study."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import TrialState

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


def test_few_trials_say_nothing(digits_search: Search) -> None:
    assert importances(digits_search.record()) == {}

"""Whole searches with reruns, simulated at their smallest."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tests.conftest import run_script
from tests.studies.test_scripts import ROOT

SCRIPT = ROOT / "studies" / "selection_simulation" / "simulate.py"
STUDY = ROOT / "results" / "mnist-8k-plain" / "study.db"


def test_searches_with_reruns_are_simulated(tmp_path: Path) -> None:
    """All choices of a search cost the same, and are counted by the same truth."""
    arguments = ("--total", 14, "--seeds", 2, "--samplers", "tpe-spread", "gp-log")
    done = run_script(tmp_path, SCRIPT, STUDY, "-o", "made", *arguments)
    assert done.code == 0, done.err
    searches = pd.read_csv(tmp_path / "made" / "searches.csv")
    assert len(searches) == 2 * (11 + 3)
    assert set(searches.reruns) == {0, 1, 2, 4}
    assert (searches.filter(like="regret") >= 0).all(axis=None)
    assert searches.error_1000.between(0.5, 5).all()
    summary = pd.read_csv(tmp_path / "made" / "summary.csv")
    first = summary[(summary.sampler == "tpe-spread") & (summary.choice == "posterior")]
    assert (first.filter(like="_gain") == 0).all(axis=None)


def test_an_unknown_sampler(tmp_path: Path) -> None:
    done = run_script(tmp_path, SCRIPT, STUDY, "--samplers", "tp")
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("error: --sampler 'tp'")
    assert not list(tmp_path.iterdir())

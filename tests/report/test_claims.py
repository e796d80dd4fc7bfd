"""What a search expects on test images is what its confirmation finds."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

import pytest

from nas_mnist.execution.confirmation import confirmed
from nas_mnist.execution.records import load_studies
from nas_mnist.report.claims import claims

RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize("name", ["mnist-8k", "mnist-8k-plain", "unpruned"])
def test_on_average_it_is_what_is_found(name: str, tmp_path: Path) -> None:
    """Also where reruns validated on easier sixths than the trials."""
    shutil.copy(RESULTS / name / "study.db", tmp_path)  # opening one may write to it
    (record,) = load_studies(f"sqlite:///{tmp_path}/study.db")
    expected, found = claims(record), confirmed(record)
    gaps = [own.mean - expected[own.trial.number].mean for own in found]
    assert len(gaps) > 10
    assert abs(statistics.fmean(gaps)) < 0.03

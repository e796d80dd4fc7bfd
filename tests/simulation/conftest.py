"""The published table of curves, and what is fitted on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_mnist.simulation.curves import CurveTable, read_table
from nas_mnist.simulation.surrogate import Surrogate

PUBLISHED = Path(__file__).parents[2] / "results" / "curves" / "mnist-8000.csv"


@pytest.fixture(scope="session")
def table() -> CurveTable:
    return read_table(PUBLISHED)


@pytest.fixture(scope="session")
def surrogate(table: CurveTable) -> Surrogate:
    """Fitted on a third of the table, for speed."""
    return Surrogate(CurveTable(table.settings, table.runs.head(120)))

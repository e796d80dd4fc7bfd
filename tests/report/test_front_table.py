"""The promised shape of a front's JSON and CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from rich.console import Console

from nas_mnist.execution.confirmation import candidates
from nas_mnist.report.front_table import front_rows, front_table, front_values, write_front_csv
from tests.conftest import Search


def test_front_values(digits_search: Search) -> None:
    values = front_values(digits_search.record())
    assert values["trials"].keys() == {"complete", "pruned", "failed"}
    assert sum(values["trials"].values()) == 12
    assert list(values["front"][0]) == [
        "trial",
        "notation",
        "parameters",
        "macs",
        "receptive_field",
        "val_accuracy",
        "test_accuracy",
        "estimate",
        "estimate_sd",
        "own_runs",
        "expected_test",
        "expected_test_sd",
    ]
    assert values["confirmed"] == []


def test_the_csv_is_the_front(digits_search: Search, tmp_path: Path) -> None:
    record = digits_search.record()
    write_front_csv(record, tmp_path / "front.csv")
    with (tmp_path / "front.csv").open() as file:
        rows = list(csv.DictReader(file))
    front = front_values(record)["front"]
    assert [row["notation"] for row in rows] == [entry["notation"] for entry in front]
    assert [float(row["val_accuracy"]) for row in rows] == [e["val_accuracy"] for e in front]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_has_fewer_columns_but_whole_numbers(
    digits_search: Search, width: int
) -> None:
    record = digits_search.record()
    console = Console(width=width)
    with console.capture() as shown:
        console.print(front_table(record, width))
    assert max(map(len, shown.get().splitlines())) <= width
    assert "…" not in shown.get()
    assert ("No room here for MACs" in shown.get()) == (width < 120)
    for row in front_rows(record, candidates(record))[1:]:
        trial, parameters, _, _, validation, _, expected, _ = row
        words = f"│ {trial:>5} │ {parameters:>10} │"
        line = next(line for line in shown.get().splitlines() if line.startswith(words))
        assert f" {validation} │" in line
        assert f" {expected} │" in line

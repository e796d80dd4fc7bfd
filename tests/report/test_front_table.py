"""The promised shape of a front's JSON and CSV."""

from __future__ import annotations

import csv
from pathlib import Path

from nas_mnist.report.front_table import front_values, write_front_csv
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

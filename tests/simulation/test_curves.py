"""The table of curves: which networks, and its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_mnist.errors import DataError
from nas_mnist.search.space import SPACE
from nas_mnist.simulation.curves import drawn_points, read_table, runs_of, write_table
from tests.simulation.conftest import PUBLISHED


@pytest.mark.parametrize(("networks", "runs"), [(5, 6), (6, 8), (10, 12), (300, 360)])
def test_one_network_in_five_runs_twice(networks: int, runs: int) -> None:
    assert runs_of(networks) == runs
    points = drawn_points(runs, seed=0)
    assert len({tuple(sorted(point.items())) for point in points}) == networks
    assert points[0] == points[1] != points[2]


def test_more_runs_go_on_where_fewer_ended() -> None:
    assert drawn_points(12, seed=3) == drawn_points(30, seed=3)[:12]
    assert drawn_points(12, seed=3) != drawn_points(12, seed=4)


def test_points_are_in_the_space_and_fill_is_spread_over_its_range() -> None:
    points = drawn_points(120, seed=0)
    for point in points:
        for name, kind in SPACE.items():
            assert kind._contains(kind.to_internal_repr(point[name])), name
    tenths = {int(10 * (point["fill"] / 0.1 - 1e-9) ** 0.5) for point in points}
    assert len(tenths) > 15
    low = sum(point["fill"] < 0.1 * 10**0.5 for point in points)
    assert 0.45 < low / len(points) < 0.55  # half of them in the lower half, on a log scale


def test_the_published_table_is_what_it_says() -> None:
    table = read_table(PUBLISHED)
    networks = table.networks()
    assert len(networks) >= 300
    assert sum(len(network.curves) == 2 for network in networks) >= 60
    assert all(network.parameters <= table.budget for network in networks)
    assert all(len(curve.validation) == table.epochs for n in networks for curve in n.curves)


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    write_table(read_table(PUBLISHED), tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == PUBLISHED.read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("", "not a table of curves"),
        ("parameters,val_1\n100,90\n", "not a table of curves"),
        ('# {"budget": 8000, "epochs": 6}\nparameters\n100\n', "not a table of curves"),
        ('# {"budget": 8000}\nparameters\n100\n', "not a table of curves"),
        ("# []\nparameters\n100\n", "not a table of curves"),
    ],
    ids=["missing", "empty", "no-settings", "columns-missing", "no-epochs", "not-settings"],
)
def test_other_files(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "table.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_table(file)

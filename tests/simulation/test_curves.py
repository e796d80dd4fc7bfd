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


def damaged(change: str) -> str:
    """The published table's first lines with something wrong."""
    settings, header, *rows = PUBLISHED.read_text().splitlines()[:14]
    columns = header.split(",")

    def put(name: str, value: str) -> None:
        cells = rows[3].split(",")
        cells[columns.index(name)] = value
        rows[3] = ",".join(cells)

    kind, _, value = change.partition("=")
    if kind == "settings":
        settings = value
    elif kind == "cut":
        rows[-1] = rows[-1][:40]
    elif kind == "longer":
        rows = [row + ",7" for row in rows]
    elif kind == "few":
        rows = rows[:5]
    elif kind == "alone":
        rows = rows[1::2]
    else:
        put(kind, value)
    return "\n".join([settings, header, *rows, ""])


@pytest.mark.parametrize(
    "change",
    [
        *("cut", "longer", "val_1=", "val_2=none", "val_3=250", "val_1=-5", "val_1=inf"),
        *("test_accuracy=nan", "parameters=17", "parameters=", "notation=", "notation=x"),
        *("peak_learning_rate=-1", "peak_learning_rate=fast", "convolution=weird", "pools=9"),
        "settings=" + "[" * 100_000,
        'settings=# {"budget": 8000, "epochs": 6}',
        'settings=# {"budget": "much", "epochs": 6, "validation_images": 100}',
        'settings=# {"budget": 100, "epochs": 6, "validation_images": 100}',
        'settings=# {"budget": 8000, "epochs": 0, "validation_images": 100}',
        'settings=# {"budget": 8000, "epochs": Infinity, "validation_images": 100}',
        'settings=# {"budget": 8000, "epochs": 1000000000000, "validation_images": 100}',
        'settings=# {"budget": 8000, "epochs": 6, "validation_images": 0}',
    ],
    ids=lambda change: change[:60],
)
def test_damaged_tables(tmp_path: Path, change: str) -> None:
    file = tmp_path / "table.csv"
    file.write_text(damaged(change))
    with pytest.raises(DataError, match="not a table of curves") as raised:
        read_table(file)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("change", ["few", "alone"])
def test_tables_too_small(tmp_path: Path, change: str) -> None:
    file = tmp_path / "table.csv"
    file.write_text(damaged(change))
    with pytest.raises(DataError, match="too few to simulate from"):
        read_table(file)

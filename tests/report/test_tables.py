"""Golden text of the tables, and the promised shape of JSON."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.table import Table

from nas_mnist.networks.architecture import format_notation, parse_notation
from nas_mnist.networks.references import references
from nas_mnist.report.tables import (
    architecture_table,
    architecture_values,
    fitted,
    reference_values,
    references_table,
)

NETWORK = parse_notation("c10p1rnx0.02-m2-d-c10k1rn0-w2c10-g-c10k1b")

GOLDEN = """\
tiny
┏━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━━━━━━━━━┓
┃ layer     ┃ settings            ┃ output shape ┃ parameters ┃    MACs ┃ receptive field ┃
┡━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━╇━━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━━━━━━━━━┩
│ conv      │ kernel 3, padding 1 │     10×28×28 │         90 │  70,560 │               3 │
│ relu      │                     │     10×28×28 │          0 │       0 │               3 │
│ batchnorm │                     │     10×28×28 │         20 │       0 │               3 │
│ dropout   │ rate 0.02           │     10×28×28 │          0 │       0 │               3 │
│ maxpool   │ kernel 2            │     10×14×14 │          0 │       0 │               4 │
│ depthwise │ kernel 3            │     10×12×12 │         90 │  12,960 │               8 │
│ conv      │ kernel 1            │     10×12×12 │        100 │  14,400 │               8 │
│ relu      │                     │     10×12×12 │          0 │       0 │               8 │
│ batchnorm │ no scale            │     10×12×12 │         10 │       0 │               8 │
│ repeat    │ times 2, c10rn      │       10×8×8 │        940 │ 147,600 │              16 │
│ gap       │                     │       10×1×1 │          0 │       0 │              30 │
│ conv      │ kernel 1, bias      │       10×1×1 │        110 │     100 │              30 │
└───────────┴─────────────────────┴──────────────┴────────────┴─────────┴─────────────────┘
1,360 parameters, 245,620 MACs, receptive field 30
"""


def text(table: Table, width: int = 120) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def test_layer_table() -> None:
    assert text(architecture_table("tiny", NETWORK)) == GOLDEN


def test_layer_values() -> None:
    values = architecture_values("tiny", NETWORK)
    assert list(values) == ["name", "notation", "parameters", "macs", "receptive_field", "layers"]
    assert values["layers"][5] == {
        "op": "depthwise",
        "output_shape": [10, 12, 12],
        "parameters": 90,
        "macs": 12_960,
        "receptive_field": 8,
    }
    assert sum(layer["parameters"] for layer in values["layers"]) == values["parameters"]


@pytest.mark.parametrize("width", [40, 80, 100, 400])
def test_nothing_is_cut_on_a_terminal_of_any_width(width: int) -> None:
    """Columns stand in further tables, notations on lines of their own; a name stands before
    both."""
    parts = fitted(references_table([*references().values()]), width)
    drawn = [text(part, width) for part in parts if not isinstance(part, str)]
    shown = "\n".join([*drawn, *(part for part in parts if isinstance(part, str))])
    lines = shown.splitlines()
    assert max(len(line) for part in drawn for line in part.splitlines()) <= width
    for found in references().values():
        named = [line for line in lines if f" {found.name} " in line]
        assert len(named) == len(drawn)
        assert any(f" {found.architecture.parameters:,} " in line for line in named)
        assert (format_notation(found.architecture) in lines) == (width < 400)
    assert "evai6-10k 9" in " ".join(shown.split())
    assert fitted(Table("a", "b"), 20)[0].row_count == 0


def test_reference_values() -> None:
    values = reference_values(references()["a7-no-dropout-7884"])
    assert (values["name"], values["parameters"]) == ("a7-no-dropout-7884", 7884)
    assert values["published_test_accuracy"] == 99.56

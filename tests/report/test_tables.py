"""Golden text of the tables, and the promised shape of JSON."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from nas_mnist.networks.architecture import parse_notation
from nas_mnist.networks.references import references
from nas_mnist.report.tables import architecture_table, architecture_values, reference_values

NETWORK = parse_notation("c10rn-m2-d-c10k1rn-g-c10k1")

GOLDEN = """\
tiny
┏━━━━━━━━━━━┳━━━━━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━━┳━━━━━━━━━━━━━━━━━┓
┃ layer     ┃ output shape ┃ parameters ┃   MACs ┃ receptive field ┃
┡━━━━━━━━━━━╇━━━━━━━━━━━━━━╇━━━━━━━━━━━━╇━━━━━━━━╇━━━━━━━━━━━━━━━━━┩
│ conv      │     10×26×26 │         90 │ 60,840 │               3 │
│ relu      │     10×26×26 │          0 │      0 │               3 │
│ batchnorm │     10×26×26 │         20 │      0 │               3 │
│ maxpool   │     10×13×13 │          0 │      0 │               4 │
│ depthwise │     10×11×11 │         90 │ 10,890 │               8 │
│ conv      │     10×11×11 │        100 │ 12,100 │               8 │
│ relu      │     10×11×11 │          0 │      0 │               8 │
│ batchnorm │     10×11×11 │         20 │      0 │               8 │
│ gap       │       10×1×1 │          0 │      0 │              28 │
│ conv      │       10×1×1 │        100 │    100 │              28 │
└───────────┴──────────────┴────────────┴────────┴─────────────────┘
420 parameters, 83,930 MACs, receptive field 28
"""


def text(table: Table) -> str:
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def test_layer_table() -> None:
    assert text(architecture_table("tiny", NETWORK)) == GOLDEN


def test_layer_values() -> None:
    values = architecture_values("tiny", NETWORK)
    assert list(values) == ["name", "notation", "parameters", "macs", "receptive_field", "layers"]
    assert values["layers"][4] == {
        "op": "depthwise",
        "output_shape": [10, 11, 11],
        "parameters": 90,
        "macs": 10_890,
        "receptive_field": 8,
    }
    assert sum(layer["parameters"] for layer in values["layers"]) == values["parameters"]


def test_reference_values() -> None:
    values = reference_values(references()["a7-no-dropout-7884"])
    assert (values["name"], values["parameters"]) == ("a7-no-dropout-7884", 7884)
    assert values["published_test_accuracy"] == 99.56

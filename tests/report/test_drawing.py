"""Networks as boxes."""

from __future__ import annotations

import pytest

from nas_mnist.networks.architecture import parse_notation
from nas_mnist.networks.references import references
from nas_mnist.report.drawing import Box, boxes


def test_blocks_end_with_their_pools() -> None:
    network = parse_notation("c4rnx0.02-d-c6k1r-m2-c8p1b-g-c10k1")
    assert boxes(network) == [
        [
            Box("conv 3×3, relu, batchnorm, dropout 0.02", (4, 26, 26), 44, 3),
            Box("depthwise 3×3", (4, 24, 24), 36, 5),
            Box("conv 1×1, relu", (6, 24, 24), 24, 5),
        ],
        [Box("maxpool 2×2", (6, 12, 12), 0, 6)],
        [
            Box("conv 3×3, padding 1", (8, 12, 12), 440, 10),
            Box("gap", (8, 1, 1), 0, 32),
            Box("conv 1×1", (10, 1, 1), 80, 32),
        ],
    ]


@pytest.mark.parametrize(
    ("notation", "said"),
    [
        ("c4-[c4p1rn]-g-c10k1", "residual [c4p1rn]"),
        ("u-c4-g-c10k1", "deskew"),
        ("c4y0.1-g-c10k1", "conv 3×3, dropout2d 0.1"),
    ],
)
def test_other_layers_are_named(notation: str, said: str) -> None:
    drawn = [box.layers for block in boxes(parse_notation(notation)) for box in block]
    assert said in drawn


def test_nothing_is_left_out() -> None:
    for reference in references().values():
        drawn = [box for block in boxes(reference.architecture) for box in block]
        assert sum(box.parameters for box in drawn) == reference.architecture.parameters
        assert drawn[-1].receptive_field == reference.architecture.receptive_field
        assert drawn[-1].shape == (10, 1, 1)

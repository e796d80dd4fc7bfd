"""`bench`, small: every loop trains, and the ratios follow from what it measured."""

from __future__ import annotations

import statistics

import pytest

from nas_mnist.arch.notation import parse_notation
from tests.conftest import CommandLine

SMALL = "c4rn-m2-c6rn-g-c10k1"


def test_bench_on_digits(nas_mnist: CommandLine) -> None:
    done = nas_mnist(
        *("bench", SMALL, "--dataset", "digits", "--seconds", "0.1", "--rounds", "2"),
        *("--workers", "2", "--pack", "2", "--device", "cpu", "--json"),
    )
    assert done.code == 0, done.err
    assert "10/10 this engine, packs of 2" in done.err
    values = done.json
    assert values["parameters"] == parse_notation(SMALL).parameters
    assert values["precision"] in ("float32", "bfloat16")
    kinds = [(loop["kind"], loop["processes"], loop["members"]) for loop in values["loops"]]
    assert kinds == [
        *(("usual", 1, 1), ("usual", 1, 1), ("eager", 1, 1)),
        *(("pack", 2, 1), ("pack", 2, 2)),
    ]
    for loop in values["loops"]:
        assert len(loop["images_per_second"]) == 2
        assert min(loop["images_per_second"]) > 0
        assert loop["trial_seconds"] == pytest.approx(750_000 / loop["median"], rel=0.01)
        assert 50 < loop["peak_memory_mib"] < 1536
    usual = max(values["loops"][:2], key=lambda loop: loop["median"])["images_per_second"]
    own = max(values["loops"][3:], key=lambda loop: loop["median"])["images_per_second"]
    ratios = [one / other for one, other in zip(own, usual, strict=True)]
    assert values["ratio_to_usual"]["median"] == pytest.approx(statistics.median(ratios), abs=0.01)
    assert values["ratio_to_usual"]["lowest"] <= values["ratio_to_usual"]["highest"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bench", "c10rq"), "c10rq"),
        (("bench", "--pack", "1"), "--pack"),
        (("bench", "--dataset", "cifar"), "is not one of"),
        (("bench", "--device", "tpu"), "is not usable here"),
        (("search", "--pack", "0"), "--pack"),
    ],
)
def test_bad_requests(nas_mnist: CommandLine, arguments: tuple[str, ...], message: str) -> None:
    done = nas_mnist(*arguments)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1

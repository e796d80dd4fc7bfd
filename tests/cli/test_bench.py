"""`bench`, small: every loop trains, and the ratios follow from what it measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_mnist.networks.architecture import parse_notation
from nas_mnist.report.tables import bench_values
from nas_mnist.training.speed import Measured, loops
from tests.conftest import CommandLine, run_process

SMALL = "c4rn-m2-c6rn-g-c10k1"


def test_bench_on_digits(tmp_path: Path) -> None:
    # As a shell runs it: the peak memory of a process begins with that of its parent.
    done = run_process(
        tmp_path,
        *("bench", SMALL, "--dataset", "digits", "--seconds", "0.1", "--rounds", "1"),
        *("--workers", "2", "--pack", "2", "--device", "cpu", "--json"),
    )
    assert done.code == 0, done.err
    assert "5/5 batched, packs of 2" in done.err
    values = done.json
    assert values["parameters"] == parse_notation(SMALL).parameters
    assert values["precision"] in ("float32", "bfloat16")
    kinds = [(loop["kind"], loop["processes"], loop["members"]) for loop in values["loops"]]
    assert kinds == [
        *(("usual", 1, 1), ("usual", 1, 1), ("eager", 1, 1)),
        *(("pack", 2, 1), ("pack", 2, 2)),
    ]
    for loop in values["loops"]:
        assert len(loop["images_per_second"]) == 1
        assert min(loop["images_per_second"]) > 0
        assert loop["trial_seconds"] == pytest.approx(750_000 / loop["median"], rel=0.01)
        assert 50 < loop["peak_memory_mib"] < 1536
    usual = max(loop["median"] for loop in values["loops"][:2])
    own = max(loop["median"] for loop in values["loops"][3:])
    # The ratio is of the rates as measured; those printed are rounded to 0.1 images a second.
    rounding = 0.2 / usual
    ratio = values["ratio_to_usual"]["median"]
    assert ratio == pytest.approx(own / usual, rel=rounding, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "script"),
    [
        (["bench", "--study-of", "20"], "studies/storage_benchmark/measure.py"),
        (["curves", "-o", "x.csv", "--networks", "6"], "studies/pruner_simulation/record_curves"),
        (["simulate", "x.csv"], "studies/pruner_simulation/simulate.py"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_is_a_script_now(nas_mnist: CommandLine, arguments: list[str], script: str) -> None:
    done = nas_mnist(*arguments)
    assert done.code == 2
    assert f"is now a script: python {script}" in done.err
    assert (Path(__file__).parents[2] / script.removesuffix(".py")).with_suffix(".py").exists()


def test_ratios_are_taken_round_by_round() -> None:
    """A machine that slows down slows every loop of a round."""
    wanted = loops(2, 3, "cpu")
    rounds = ([10, 20, 5], [9, 30, 6], [40, 60, 20], [50, 60, 40], [90, 60, 30])
    values = bench_values(
        [
            Measured(loop, [float(rate) for rate in rates])
            for loop, rates in zip(wanted, rounds, strict=True)
        ]
    )
    # The faster of each kind by its median: the first usual loop, and packs.
    assert values["ratio_to_usual"] == {"median": 6, "lowest": 3, "highest": 9}
    assert values["ratio_to_eager"] == {"median": 1.5, "lowest": 1, "highest": 2.25}


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

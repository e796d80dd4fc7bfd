"""`explain` and `train --compare`: real training of variants, killed, gone on with, and shown."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from nas_mnist.errors import DataError
from nas_mnist.networks.architecture import format_notation, parse_notation
from nas_mnist.report.explanation import Explanation
from nas_mnist.training.decisions import Variant, undone
from nas_mnist.training.paired import PairedRun
from nas_mnist.training.recipe import Recipe
from nas_mnist.training.trainer import EpochRecord
from tests.browser import look
from tests.conftest import CommandLine, Search, command, runner
from tests.execution.test_survival import kill

NETWORK = "c6rn-m2-c8rn-g-c10k1"
SMALL = (
    *("explain", NETWORK, "--dataset", "digits", "--train-samples", "200", "--epochs", "2"),
    *("--seeds", "2", "--workers", "2"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    done = runner(folder)(*SMALL, "--json", "--figure", "made/differences.html")
    assert done.code == 0, done.err
    assert "runs to go, 2 epochs each" in done.err
    (folder / "out.json").write_text(done.out)
    return folder


def kept(folder: Path) -> Path:
    return folder / "runs" / NETWORK / "explained.json"


def test_every_variant_is_trained(folder: Path) -> None:
    values = json.loads((folder / "out.json").read_text())
    assert values == json.loads(kept(folder).read_text())
    recipe = Recipe(batch_size=32, epochs=2)
    wanted = {own.name: own for own in undone(parse_notation(NETWORK), recipe)}
    found = {own["name"]: own for own in values["variants"]}
    assert found.keys() == wanted.keys()
    for name, own in found.items():
        assert own["notation"] == format_notation(wanted[name].architecture)
        assert own["recipe"] == wanted[name].recipe.as_dict()
        seeds = [] if wanted[name].impossible else [0, 1]
        assert [run["seed"] for run in own["runs"]] == seeds
        for run in own["runs"]:
            assert [epoch["epoch"] for epoch in run["curve"]] == [1, 2]
            assert 0 <= run["test_accuracy"] <= 100
    base, other = found["as it is"], found["pool-earlier" if "pool-earlier" in found else "deeper"]
    ended = [[run["curve"][-1]["val_accuracy"] for run in own["runs"]] for own in (base, other)]
    mean = sum(b - a for a, b in zip(*ended, strict=True)) / 2
    assert other["difference"]["mean"] == pytest.approx(mean, abs=1e-6)
    impossible = found["average-pool"]
    assert "there is no such network: the smallest such network has" in impossible["analysis"]
    table = kept(folder).with_suffix(".md").read_text().splitlines()
    assert len(table) == 2 + len(found)
    assert "there is no such network" in "\n".join(table)


def test_the_same_command_trains_nothing(folder: Path) -> None:
    before = kept(folder).read_bytes()
    done = runner(folder)(*SMALL)
    assert done.code == 0, done.err
    assert "0 runs to go" in done.err
    assert "what each decision buys" in done.out
    assert kept(folder).read_bytes() == before


def test_variants_that_are_the_same_network(tmp_path: Path) -> None:
    """They are trained once, and each seed counts once, however often the file is read."""
    network, names = parse_notation(NETWORK), ("as it is", "one", "two")
    variants = [Variant(name, name, network, Recipe()) for name in names]
    file = tmp_path / "explained.json"
    for seeds in ([0, 1], [0, 1], [0, 1, 2]):
        found = Explanation("x", variants, {}, file)
        for task in found.tasks(seeds):
            curve = [EpochRecord(1, 0.1, 0.5, 88.0, 90.0, 1.0)]
            found.add(task.key, [PairedRun(seed, curve, 91.0, False) for seed in task.seeds])
            assert not found.tasks(seeds)
        for name in names:
            assert [run.seed for run in found.runs[name]] == seeds


def test_seeds_that_learn_and_seeds_that_do_not(tmp_path: Path) -> None:
    variants = [Variant(name, name, parse_notation(NETWORK), Recipe()) for name in ("a", "b")]
    found = Explanation("x", variants, {}, tmp_path / "explained.json")
    for name, ends in (("a", (99.0, 99.1, 99.2)), ("b", (9.5, 98.9, 99.3))):
        curves = [[EpochRecord(1, 0.1, 0.5, 88.0, end, 1.0)] for end in ends]
        found.runs[name] = [PairedRun(n, curve, 99.0) for n, curve in enumerate(curves)]
    said = found.analyses()["b"]
    assert said.startswith("no more") and said.endswith("; seeds end at 9.50 to 99.30")
    for n in range(3, 10):  # enough to be sure
        for name, end in (("a", 99.1), ("b", 9.5)):
            found.runs[name].append(PairedRun(n, [EpochRecord(1, 0.1, 0.5, 88.0, end, 1.0)], 99.0))
    said = found.analyses()["b"]
    assert said.startswith("loses") and said.endswith("; seeds end at 9.50 to 99.30")


def processes_in(folder: Path) -> list[str]:
    """Command lines of those that work there, killed ones not among them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may end meanwhile
            if (process / "cwd").readlink() == folder:
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def test_killed_and_gone_on_with(folder: Path, tmp_path: Path) -> None:
    """Its workers end with it, and what they had not finished is trained again."""
    with subprocess.Popen(command(*SMALL), cwd=tmp_path, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while not (kept(tmp_path).exists() and b'"seed"' in kept(tmp_path).read_bytes()):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        assert sum("spawn_main" in line for line in processes_in(tmp_path)) == 2
        kill(process.pid)
        process.wait()
        while left := processes_in(tmp_path):
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
    done = runner(tmp_path)(*SMALL)
    assert done.code == 0, done.err
    assert "0 runs to go" not in done.err.splitlines()[0]

    def essence(folder: Path) -> list[object]:
        def of(run: dict[str, object]) -> object:
            curve = json.loads(json.dumps(run["curve"]))
            return run["seed"], run["test_accuracy"], [{**e, "seconds": 0} for e in curve]

        variants = json.loads(kept(folder).read_text())["variants"]
        return [[own["name"], own["difference"], list(map(of, own["runs"]))] for own in variants]

    assert essence(tmp_path) == essence(folder)
    tables = [kept(at).with_suffix(".md").read_text() for at in (tmp_path, folder)]
    assert tables[0] == tables[1]


def test_more_seeds_for_the_largest(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "runs", tmp_path / "runs")
    done = runner(tmp_path)(*SMALL[:-4], "--seeds", "3", "--largest", "1", "--json")
    assert done.code == 0, done.err
    assert "2 runs to go" in done.err
    counts = {own["name"]: len(own["runs"]) for own in done.json["variants"]}
    assert sorted(counts.values())[-2:] == [3, 3] and counts["as it is"] == 3


def test_only_one_decision(folder: Path, tmp_path: Path) -> None:
    """Those asked for are trained, and the network itself; what is kept of others stays."""
    run = runner(tmp_path)
    done = run(*SMALL, "--decision", "deeper", "--decision", "average-pool", "--json")
    assert done.code == 0, done.err
    assert "4 runs to go" in done.err
    trained = {own["name"] for own in done.json["variants"] if own["runs"]}
    assert trained == {"as it is", "deeper"}
    shutil.copytree(folder / "runs", tmp_path / "runs", dirs_exist_ok=True)
    before = kept(tmp_path).read_bytes()
    done = run(*SMALL, "--decision", "deeper")
    assert done.code == 0 and "0 runs to go" in done.err
    assert kept(tmp_path).read_bytes() == before


def test_a_lifecycle(tmp_path: Path) -> None:
    done = runner(tmp_path)(*SMALL, "--lifecycle", "--json", "--figure", "steps.html")
    assert done.code == 0, done.err
    names = [own["name"] for own in done.json["variants"]]
    assert names[:2] == ["skeleton", "lighter"] and names[-1] == "average"
    assert done.json["variants"][-1]["notation"] == NETWORK
    for before, own in pairwise(done.json["variants"]):
        assert bool(own["runs"]) != bool(own["impossible"])
        if own["runs"] and before["runs"]:
            ended = [
                [run["curve"][-1]["val_accuracy"] for run in step["runs"]] for step in (before, own)
            ]
            gaps = [b - a for a, b in zip(*ended, strict=True)]
            assert own["difference"]["mean"] == pytest.approx(sum(gaps) / len(gaps), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--train-samples", "100"), "was made with another train-samples; give the same"),
        (("--epochs", "3"), "was made with another network or recipe; give the same"),
        (("--largest", "1", "--lifecycle"), "--largest and --lifecycle exclude each other"),
        (("--seeds", "1"), "--seeds 1 is not within 2 to 100"),
        (("--figure", "x.gif"), "the ending must be .html, .png or .svg"),
        (("--decision", "deep"), "'deep' is no decision of c6rn-m2-c8rn-g-c10k1, which has batch-"),
        (("--recipe", "batchsize=3"), "did you mean batch_size?"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_is_refused(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    before = kept(folder).read_bytes()
    done = runner(folder)(*SMALL, *arguments)
    assert (done.code, message in done.err) == (2, True), done.err
    assert kept(folder).read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "x", "variants": [{}]}'])
def test_a_file_that_it_did_not_keep(tmp_path: Path, text: str) -> None:
    kept(tmp_path).parent.mkdir(parents=True)
    kept(tmp_path).write_text(text)
    done = runner(tmp_path)(*SMALL)
    assert done.code == 1 and "not a file that `explain` kept" in done.err
    assert kept(tmp_path).read_text() == text
    with pytest.raises(DataError):
        Explanation.kept(kept(tmp_path))


def test_the_winner_of_a_study_and_the_report(
    digits_search: Search, folder: Path, tmp_path: Path
) -> None:
    """By its name alone; and what was kept is a section of the page."""
    shutil.copytree(digits_search.folder, tmp_path / "copy")
    run = runner(tmp_path / "copy")
    seen = run("inspect", "demo", "--json")
    assert seen.code == 0, seen.err
    winner = seen.json["name"]
    assert winner.startswith("demo:")
    short = ("--decision", "deeper", "--train-samples", "100", "--epochs", "1", "--seeds", "2")
    done = run("explain", "demo", *short, "--json")
    assert done.code == 0, done.err
    assert done.json["name"] == winner
    (made,) = Path(tmp_path / "copy" / "runs").glob("*/explained.json")
    assert made.parent.name == "demo"
    page = tmp_path / "report.html"
    done = run("report", "demo", "-o", str(page), "--explained", str(kept(folder)))
    assert done.code == 0, done.err
    shown = look(page.as_uri(), tmp_path / "profile")
    assert not shown.console
    assert f"{NETWORK}: each decision undone" in shown.dom
    assert "without batch normalization" in shown.dom


def test_two_networks_are_compared(nas_mnist: CommandLine) -> None:
    few = ("--dataset", "digits", "--train-samples", "200", "--epochs", "2", "--seeds", "3")
    done = nas_mnist("train", NETWORK, *few, "--compare", "c6rn-m2-c9rn-g-c10k1", "--json")
    assert done.code == 0, done.err
    one, other = done.json["networks"]
    pairs = zip(one["runs"], other["runs"], strict=True)
    gaps = [b["val_accuracy"] - a["val_accuracy"] for a, b in pairs]
    assert done.json["difference"] == pytest.approx(sum(gaps) / 3)
    low, high = done.json["interval"]
    assert low < done.json["difference"] < high
    assert done.json["beyond_chance"] == (low > 0 or high < 0)
    assert done.json["seeds_for_0.05"] >= 2

    done = nas_mnist("train", NETWORK, *few, "--compare-recipe", "batch_size=64")
    assert done.code == 0, done.err
    assert "over 3 pairs of seeds" in " ".join(done.out.split())
    refused = nas_mnist("train", NETWORK, *few, "--compare-recipe", "batchsize=64")
    assert refused.code == 2 and "did you mean batch_size?" in refused.err
    assert "epoch 1/2" not in refused.err  # before anything is trained
    refused = nas_mnist("train", NETWORK, "--compare", NETWORK)
    assert refused.code == 2 and "need --seeds 2 or more" in refused.err

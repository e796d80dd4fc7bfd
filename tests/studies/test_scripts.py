"""The experiments behind the defaults, each run for real at its smallest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from nas_mnist.networks.architecture import parse_notation
from nas_mnist.networks.references import steps
from nas_mnist.report.explanation import Explanation
from nas_mnist.report.lifecycle_table import Lifecycle
from nas_mnist.training.decisions import undone
from nas_mnist.training.recipe import Recipe
from tests.conftest import Search, run_script, runner

ROOT = Path(__file__).parents[2]
SIMULATION = ROOT / "studies" / "pruner_simulation"
CURVES = ROOT / "results" / "curves" / "mnist-8000.csv"


def test_curves_are_recorded(tmp_path: Path) -> None:
    request = (
        *("-o", "curves.csv", "--networks", 6, "--epochs", 1, "--dataset", "digits"),
        *("--train-samples", 100, "--budget", 1000, "--workers", 2),
    )
    done = run_script(tmp_path, SIMULATION / "record_curves.py", *request)
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "curves.csv", comment="#")
    assert len(table) == 8  # two of the six twice
    assert table.notation.nunique() == 6
    assert table.parameters.max() <= 1000
    again = run_script(tmp_path, SIMULATION / "record_curves.py", *request)
    assert again.code == 0, again.err
    assert len(pd.read_csv(tmp_path / "curves.csv", comment="#")) == 8


def test_the_published_comparison_of_pruners(tmp_path: Path) -> None:
    """Replayed from the published curves, it is what is published."""
    arguments = (CURVES, "-o", tmp_path, "--pruners-only")
    done = run_script(tmp_path, SIMULATION / "simulate.py", *arguments)
    assert done.code == 0, done.err
    found, published = (
        pd.read_csv(folder / "pruners.csv") for folder in (tmp_path, ROOT / "results/simulation")
    )
    pd.testing.assert_frame_equal(found, published)


def test_studies_are_replayed(tmp_path: Path, digits_search: Search) -> None:
    """A study, and a table of curves: by every rule in every order, and neither is changed."""
    (tmp_path / "few.csv").write_text("\n".join(CURVES.read_text().splitlines()[:42]) + "\n")
    study = digits_search.folder / "studies" / "demo.db"
    before = study.read_bytes()
    script = SIMULATION / "replay_studies.py"
    done = run_script(tmp_path, script, study, "few.csv", "-o", "replay.csv", "--orders", 2)
    assert done.code == 0, done.err
    assert study.read_bytes() == before
    table = pd.read_csv(tmp_path / "replay.csv", keep_default_na=False)
    rows = table.set_index(["study", "pruner"])
    assert set(table.study) == {"demo", "few"}
    assert len(table[table.study == "demo"]) == len(table[table.study == "few"]) > 10
    for study_name in ("demo", "few"):
        assert rows.loc[(study_name, "none"), ["epochs", "hypervolume"]].tolist() == [100, 100]
    assert table.epochs.between(0, 100).all() and table.hypervolume.between(0, 100.0001).all()
    assert (table.wrongful <= table.spared).all()
    assert rows.loc[("few", "median")].epochs < 100


def test_searches_are_simulated(tmp_path: Path) -> None:
    """On every sixth of the published curves, and the table says which choices it was drawn from:
    one that came later has no column."""
    head, *lines = CURVES.read_text().splitlines()
    names = lines[0].split(",")
    dropped = names.index("dropout")
    kept = [",".join(c for n, c in enumerate(line.split(",")) if n != dropped) for line in lines]
    (tmp_path / "few.csv").write_text("\n".join([head, kept[0], *kept[1:73]]) + "\n")
    arguments = ("few.csv", "-o", "made", "--trials", 4, "--seeds", 2, "--workers", 2)
    done = run_script(tmp_path, SIMULATION / "simulate.py", *arguments)
    assert done.code == 0, done.err
    searches = pd.read_csv(tmp_path / "made" / "searches.csv")
    assert {"random", "gp", "nsga2", "tpe-spread"} <= set(searches.sampler)
    assert (tmp_path / "made" / "searches.html").exists()


@pytest.mark.parametrize("text", ["", "# {}\nnothing\n1\n", "# no json\n"])
def test_a_file_that_is_no_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    done = run_script(tmp_path, SIMULATION / "simulate.py", "bad.csv")
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert line.startswith("error: bad.csv: not a table of curves")


@pytest.mark.parametrize(
    ("script", "arguments", "code", "message"),
    [
        ("simulate.py", ("no.csv",), 1, "no.csv: No such file"),
        ("simulate.py", ("no.csv", "--figures", "gif"), 2, "must be .html, .png or .svg"),
        ("simulate.py", ("no.csv", "--figures", "../x.svg"), 2, "is not html, png or svg"),
        ("simulate.py", ("no.csv", "--seeds", "1"), 2, "--seeds"),
        ("replay_studies.py", ("no.db", "-o", "x.csv"), 1, "no.db: No such file"),
        ("replay_studies.py", ("no.db",), 2, "--output"),
        ("compare_studies.py", ("no.db", "no.db"), 1, "no.db: No such file"),
        ("record_curves.py", (), 2, "--output"),
        ("record_curves.py", ("-o", "t.csv", "--networks", "2"), 2, "--networks"),
        ("record_curves.py", ("-o", "t.db"), 2, "is not a file name that ends in .csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_requests(
    tmp_path: Path, script: str, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = run_script(tmp_path, SIMULATION / script, *arguments)
    assert done.code == code
    (line,) = done.err.splitlines()
    assert line.startswith("error: ") and message in line
    assert not list(tmp_path.iterdir())


def test_a_study_is_published(digits_search: Search, tmp_path: Path) -> None:
    """With the weights of all that it shows: nothing else is needed to export and to report."""
    url, folder = f"sqlite:///{digits_search.folder}/studies/demo.db", tmp_path / "demo"
    script = ROOT / "studies" / "publish.py"
    done = run_script(tmp_path, script, "demo", "--storage", url, "-o", "demo")
    assert done.code == 0, done.err
    made = {"study.db", "front.csv", "front.svg", "report.html", "winner.py", "winner.pt"}
    assert {file.name for file in folder.iterdir()} == made | {"winner.md", "demo"}
    there = ("demo", "--storage", "sqlite:///study.db")
    own = runner(folder)
    assert own("front", *there, "--json").json == digits_search.finished.json
    assert own("export", *there, "--all", "-o", "all").code == 0
    shown = own("front", *there, "--json").json["front"]
    assert len([*(folder / "all").glob("*.pt")]) == len(shown)
    variants = undone(parse_notation("c6-g-c10k1"), Recipe())
    Explanation("x", variants, {}, folder / "x.json").write()
    more = ("-o", ".", "--explained", "x.json")  # where it is
    again = run_script(folder, script, *there, *more)
    assert again.code == 0, again.err
    assert "x: each decision undone" in (folder / "report.html").read_text()


def test_changes_are_tried(tmp_path: Path) -> None:
    """Paired by seed, at the same budget; what is there is not trained again."""
    script = ROOT / "studies" / "what_pays" / "compare.py"
    small = ("--dataset", "digits", "--epochs", 1, "--sizes", 1000, "--train-samples", 300)
    changes = ("deskew+unscaled", "kernel-5+muon")
    request = ("-o", "runs.csv", "--bases", "separable", *small)
    done = run_script(tmp_path, script, changes[0], *request, "--seeds", 1)
    assert done.code == 0, done.err
    done = run_script(tmp_path, script, *changes, *request, "--seeds", 2)
    assert done.code == 0, done.err
    assert done.err.count(" of 3: ") == 3
    runs = pd.read_csv(tmp_path / "runs.csv")
    assert sorted(zip(runs.change, runs.seed, strict=True)) == sorted(
        (change, seed) for change in ("none", *changes) for seed in (0, 1)
    )
    assert runs.parameters.between(900, 1000).all() and runs.val_accuracy.between(0, 100).all()
    upright = runs[runs.change == "deskew+unscaled"].notation
    assert upright.str.startswith("u-").all() and upright.str.contains("n0").all()
    assert " 2 " in done.out and changes[1] in done.out
    done = run_script(tmp_path, script, "nothing", "-o", "runs.csv")
    assert done.code == 2 and "change 'nothing' is not one of none, deskew" in done.err


def test_two_studies_are_compared(tmp_path: Path, digits_search: Search) -> None:
    """A study with itself: nothing is gained, whatever is drawn of the posterior."""
    study = digits_search.folder / "studies" / "demo.db"
    script = SIMULATION / "compare_studies.py"
    done = run_script(tmp_path, script, study, study, "-o", "found.json")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "found.json").read_text())
    assert found == json.loads(done.out)
    mine, its = found["studies"]
    assert mine == its
    assert 0 < mine["epochs_percent"] <= 100 and 0 < mine["front"] <= mine["trials"]
    assert found["change_percent"] == 0 < found["front_error_percent"]
    assert found["change_sd_percent"] < 1e-3
    other = f"{ROOT}/results/mnist-8k-plain/study.db"
    done = run_script(tmp_path, script, study, other)
    assert done.code == 2
    assert "error: the studies differ in their dataset: digits and mnist" in done.err


def test_what_a_study_costs(tmp_path: Path) -> None:
    script = ROOT / "studies" / "storage_benchmark" / "measure.py"
    done = run_script(tmp_path, script, 20, 60)
    assert done.code == 0, done.err
    small, large = json.loads(done.out)
    assert (small["trials"], large["trials"]) == (20, 60)
    parts = ("claim", "sample", "epochs")
    assert large["trial"] == pytest.approx(sum(large[part] for part in parts), abs=0.01)
    assert all(large[part] > 0 for part in (*parts, "resume", "front", "poll"))
    assert not list(tmp_path.iterdir())


def test_estimates_are_held_against_a_confirmation(tmp_path: Path) -> None:
    """Of the published study, the estimate tells more of the confirmed means than a single run."""
    url = f"sqlite:///{ROOT}/results/mnist-8k-plain/study.db"
    script = ROOT / "studies" / "posterior" / "evaluate.py"
    done = run_script(tmp_path, script, "mnist-8k", "--storage", url, "-o", "found.json")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["networks"] == len(found["confirmed"]) == 26
    assert found["estimate_correlation"] > found["single_run_correlation"]
    gap, _ = found["confirmed_minus_expected_test"]
    assert abs(gap) < 0.03 < abs(found["confirmed_minus_single_run"][0])
    assert "rmse_of_log_error" not in found  # no loss was recorded then


def test_first_shapes_are_compared(tmp_path: Path) -> None:
    url = f"sqlite:///{ROOT}/results/mnist-8k-plain/study.db"
    script = ROOT / "studies" / "first_trials" / "compare.py"
    arguments = ("mnist-8k", "--storage", url, "-o", "found.json", "--draws", 50)
    done = run_script(tmp_path, script, *arguments)
    assert done.code == 0, done.err
    rows = json.loads((tmp_path / "found.json").read_text())
    assert len(rows) == len(done.out.splitlines()) == 9
    assert all(95 < row["validation"] < 100 and 0 <= row["draws_below"] <= 1 for row in rows)


def test_networks_are_compared_with_the_first(tmp_path: Path) -> None:
    """Those that a search found without deskewing and views are within chance of those that it
    began with."""
    results = ROOT / "results"
    url = f"sqlite:///{results}/mnist-8k-plain/study.db"
    script = ROOT / "studies" / "first_trials" / "beaten.py"
    beside = [results / "first-trials" / f"{name}.json" for name in ("dense-963", "dense-3986")]
    asked = ("mnist-8k", "--storage", url, "--beside")
    done = run_script(tmp_path, script, *asked, *beside, "-o", "a.json")
    assert done.code == 0, done.err
    rows = json.loads((tmp_path / "a.json").read_text())
    assert [row["within"] for row in rows] == [1000, 2000, 4000, 8000]
    assert [[other["name"] for other in row["others"]] for row in rows] == [
        ["dense-963"], [], ["dense-3986"], []
    ]  # fmt: skip
    for row in rows:
        assert row["chosen"]["parameters"] <= row["within"]
        assert all(other["welch"]["p"] > 0.05 for other in row["others"])
    assert "against dense-3986, 3,986 parameters, 99.46 ± 0.01 % (3 seeds)" in done.out
    done = run_script(tmp_path, script, *asked, "a.json")
    assert done.code == 2
    assert "error: a.json: not what `nas-mnist train --json` writes" in done.err


def test_all_lifecycles_in_one_table(tmp_path: Path) -> None:
    """A row for each of the 48 published steps, of what `reproduce` kept."""
    script, kept = ROOT / "studies" / "lifecycles.py", tmp_path / "kept"
    for name in dict.fromkeys(step.lifecycle for step in steps()):
        settings = {"dataset": "mnist", "most_parameters": 20_000, "seeds": [0]}
        settings |= {"train_samples": None, "epochs": None}
        Lifecycle(name, settings, kept / name).write()
    shutil.copy(ROOT / "results" / "a7-8k" / "steps.json", kept / "a7-8k")
    done = run_script(tmp_path, script, kept, "-o", "all.md")
    assert done.code == 0, done.err
    heading, rule, *rows = (tmp_path / "all.md").read_text("utf-8").splitlines()
    assert heading.startswith("| lifecycle | step | target |") and rule.startswith("| --- ")
    assert len(rows) == len(steps()) == 48
    assert sum("layers not published" in row for row in rows) == 7
    assert sum("not yet trained" in row for row in rows) > 20
    assert rows[-1].startswith("| a7-8k | 10 | OneCycle") and "99.47 ± 0.03" in rows[-1]
    shutil.rmtree(kept / "s7-8k")
    done = run_script(tmp_path, script, kept, "-o", "all.md")
    assert done.code == 1 and "s7-8k" in done.err

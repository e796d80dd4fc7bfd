"""What is published holds: winners answer as their files say, and studies have what they show."""

from __future__ import annotations

import importlib.util
import json
import re
import runpy
import shutil
import statistics
from pathlib import Path

import pandas as pd
import pytest

from nas_mnist.execution.records import load_studies
from nas_mnist.networks.architecture import parse_notation
from nas_mnist.report.explanation import Explanation
from nas_mnist.report.front_table import write_front_csv
from nas_mnist.report.lifecycle_table import read_reproduced
from nas_mnist.training.datasets import Dataset

RESULTS = Path(__file__).parents[1] / "results"
WINNERS = sorted(RESULTS.glob("*/winner.py"))
STUDIES = sorted(RESULTS.glob("*/study.db"))
EXPLAINED = sorted(RESULTS.glob("*/explained.json"))
CHANGES = sorted((RESULTS / "what-pays").glob("*.csv"))


def named(file: Path) -> str:
    return file.parent.name


def test_there_are_some() -> None:
    assert WINNERS
    assert STUDIES


@pytest.mark.parametrize("file", WINNERS, ids=named)
def test_a_winner_is_as_accurate_as_it_says(file: Path, mnist: Dataset) -> None:
    """Exactly, on the real test images."""
    spec = importlib.util.spec_from_file_location("winner", file)
    assert spec is not None and spec.loader is not None
    winner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(winner)
    answers = winner.classify(winner.load(), mnist.test.images)
    correct = int((answers == mnist.test.labels).sum())
    said = re.search(r"^    test: +([\d.]+) % ", str(winner.__doc__), re.MULTILINE)
    assert said
    assert f"{100 * correct / len(answers):.2f}" == said[1]


@pytest.mark.parametrize("file", STUDIES, ids=named)
def test_a_study_has_what_is_shown_of_it(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "study.db"
    shutil.copy(file, copy)  # opening one may write to it
    (record,) = load_studies(f"sqlite:///{copy}")
    for trial in record.trials():
        attrs = trial.user_attrs
        if "notation" in attrs:
            network = parse_notation(attrs["notation"])
            assert network.parameters == attrs["parameters"] <= record.spec.budget
    assert record.counts().running == 0
    shown = file.with_name("front.csv")
    if shown.exists():
        write_front_csv(record, tmp_path / "front.csv")
        now, published = (
            pd.read_csv(one, index_col="trial") for one in (tmp_path / "front.csv", shown)
        )
        assert list(now.columns) == list(published.columns)
        # On another processor an estimate rounds otherwise, and who is just on the front with it.
        both = now.index.intersection(published.index)
        assert len(both) >= 0.9 * max(len(now), len(published))
        estimated = [*now.columns[now.columns.str.contains("estimate|expected")], "gap"]
        exact = now.columns.difference([*estimated, "on_front"])
        pd.testing.assert_frame_equal(now.loc[both, exact], published.loc[both, exact])
        off = (now.loc[both, estimated] - published.loc[both, estimated]).abs()
        assert not (off > 0.03).any(axis=None)


def test_the_readme_leads_with_what_the_front_has() -> None:
    """Of the confirmed networks within a size, the one with the highest estimate; beside it that of
    the search without deskewing and views."""
    both = ["mnist-8k", "mnist-8k-plain"]
    fronts = [pd.read_csv(RESULTS / name / "front.csv").dropna(subset=["seeds"]) for name in both]
    readme = (RESULTS.parent / "README.md").read_text()
    cell = r"([\d,]+: [\d.]+ ± [\d.]+) %"
    shown = re.findall(rf"^\| ([\d,]+) parameters \| {cell} \| {cell} \|$", readme, re.M)
    assert len(shown) == 4
    for limit, *figures in shown:
        for front, figure in zip(fronts, figures, strict=True):
            within = front[front.parameters <= int(limit.replace(",", ""))]
            best = within.loc[within.estimate.idxmax()]
            mean, sd = best.test_accuracy_mean, best.test_accuracy_sd
            assert figure == f"{best.parameters:,}: {mean:.2f} ± {sd:.2f}"


def test_what_the_first_networks_are_beaten_by() -> None:
    """The rows of its table, and that `beaten.json` is of the published study."""
    front = pd.read_csv(RESULTS / "mnist-8k" / "front.csv")
    rows = json.loads((RESULTS / "mnist-8k" / "beaten.json").read_text())
    assert [row["within"] for row in rows] == [1000, 2000, 4000, 8000]
    for row in rows:
        own = row["chosen"]
        runs = own["test_accuracies"]
        published = front[front.notation == own["notation"]].iloc[0]
        assert published.test_accuracy_mean == pytest.approx(statistics.fmean(runs))
        assert published.last4_min == own["last4_min"]
        spread = f"{statistics.fmean(runs):.2f} ± {statistics.stdev(runs):.2f}"
        cells = f"| {row['within']:,} | {own['parameters']:,} | {spread} | {own['last4_min']:.2f} |"
        assert row["others"]
        for other in row["others"]:
            its = other["test_accuracies"]
            name = f"`{other['name']}`" if "-" in other["name"] else other["name"]
            spread = f"{statistics.fmean(its):.2f} ± {statistics.stdev(its):.2f}"
            test = other["welch"]
            found = f"{test['difference']:+.2f} | {test['p']:.1g}"
            assert f"{cells} {name}, {other['parameters']:,} | {spread} | {found} |" in TEXT


def test_the_first_trials_came_to_what_is_shown_of_them() -> None:
    shown = (RESULTS / "README.md").read_text()
    files = sorted((RESULTS / "first-trials").glob("*.json"))
    assert files
    for file in files:
        found = json.loads(file.read_text())
        (row,) = re.findall(rf"^\| `{file.name}` .*$", shown, re.M)
        mean, sd = found["test_accuracy_mean"], found["test_accuracy_sd"]
        assert (
            f"| {found['parameters']:,} | {mean:.2f} ± {sd:.2f} | {found['last4_min']:.2f} |" in row
        )


@pytest.mark.parametrize("file", CHANGES, ids=lambda file: file.stem)
def test_changes_of_a_network_came_to_what_is_shown(file: Path) -> None:
    """Every run of every file is in a row that stands there, paired with what all the others of
    that file add to, or else with no change."""
    script = runpy.run_path(str(RESULTS.parent / "studies" / "what_pays" / "compare.py"))
    runs = pd.read_csv(file)
    names = [*runs.change.unique()]
    added_to = (own for own in names if all(f"{name}+".startswith(f"{own}+") for name in names))
    against = next(added_to, "none")
    names.remove(against)
    _, _, *rows = script["table"](runs, names, against).splitlines()
    assert len(rows) > len(names)
    assert [row for row in rows if row not in TEXT] == []


@pytest.mark.parametrize("file", EXPLAINED, ids=named)
def test_decisions_buy_what_is_shown(file: Path, tmp_path: Path) -> None:
    """The table is that of the runs, and the text tells no difference that it does not have."""
    copy = tmp_path / file.name
    shutil.copy(file, copy)
    explanation = Explanation.kept(copy)
    explanation.write()
    for ending in (".json", ".md"):
        assert copy.with_suffix(ending).read_text() == file.with_suffix(ending).read_text()
    _, section = TEXT.split(f"`{named(file)}/explained.md`: ")
    told = re.findall(r"[+-]\d+(?:\.\d+)? ± \d+(?:\.\d+)?", section.partition("\n## ")[0])
    assert told
    assert {*told} <= {row[7] for row in explanation.rows()}


def test_what_was_expected_of_the_first_shapes() -> None:
    expected = json.loads((RESULTS / "what-pays" / "expected.json").read_text())
    for size in (997, 1972):
        found = next(own for own in expected if own["parameters"] == size)
        for said in (found, found["best_drawn"]):
            assert f"{said['validation']:.2f} ± {said['sd']:.2f}" in TEXT


def test_all_lifecycles_are_in_one_table() -> None:
    """As the script writes it; none is still to be trained."""
    script = runpy.run_path(str(RESULTS.parent / "studies" / "lifecycles.py"))
    table = (RESULTS / "lifecycles.md").read_text("utf-8")
    assert table == script["all_steps"](RESULTS)
    assert table.count("left out: over") == 0
    assert table.count("layers not published") == 7
    assert table.count("not yet trained") == 0


def test_large_networks_came_to_what_is_shown() -> None:
    """Of one seed; equal steps of different lifecycles are one run."""
    finals: dict[int, dict[int, str]] = {}
    for file in RESULTS.glob("*/steps.json"):
        for step in read_reproduced([file], "mnist"):
            if (size := step.architecture.parameters) > 20_000:
                assert [run.seed for run in step.runs] == [0]
                kept = finals.setdefault(size, {})
                final = f"{step.test_mean:.2f}"
                assert kept.setdefault(step.recipe.epochs, final) == final
    said = TEXT.partition("**How large networks do.**")[2]
    for size, by_epochs in finals.items():
        own = said.partition(f"{size:,}")[2].partition("(")[0]
        assert all(final in own for final in by_epochs.values())
    assert sorted(finals) == [57_824, 194_884, 6_379_786]


def test_the_readme_has_what_the_last_steps_came_to() -> None:
    readme = " ".join((RESULTS.parent / "README.md").read_text().split())
    shown = []
    for name in ("a7-8k", "s7-8k"):
        last = read_reproduced([RESULTS / name / "steps.json"], "mnist")[-1]
        shown.append(f"{last.test_mean:.2f} ± {last.test_sd:.2f} %")
    assert f"they end at {' and '.join(shown)}." in readme


def test_the_replayed_pruners_came_to_what_is_shown_of_them() -> None:
    rows = pd.read_csv(RESULTS / "pruning" / "replay.csv")
    shown = rows[rows.pruner.isin(["dominance", "prediction"]) & (rows.setting != 0.5)]
    assert len(shown) > 10
    for row in shown.itertuples():
        spent = f"{row.epochs:.1f} ± {row.epochs_sd:.1f}"
        kept = f"{row.hypervolume:.2f} ± {row.hypervolume_sd:.2f} | {row.hypervolume_min:.2f}"
        assert f"| {spent} | {kept} |" in TEXT


KERNELS = RESULTS / "speed" / "kernels"
TEXT = (RESULTS / "README.md").read_text("utf-8")


def final(file: Path) -> list[float]:
    return [float(run["test_accuracy"]) for run in json.loads(file.read_text("utf-8"))["runs"]]


@pytest.mark.parametrize("after", sorted(KERNELS.glob("*-after.json")), ids=lambda file: file.stem)
def test_kernels_are_as_accurate_as_the_table_says(after: Path) -> None:
    name = after.stem.removesuffix("-after")
    before = final(RESULTS / "first-trials" / f"{name}.json")
    runs = before + final(KERNELS / f"{name}-before.json"), final(after)
    assert [len(seeds) for seeds in runs] == [5, 5]
    shown = [f"{statistics.fmean(own):.2f} ± {statistics.stdev(own):.2f}" for own in runs]
    assert f"| `{name}` | {shown[0]} | {shown[1]} |" in TEXT
    error = sum(statistics.variance(own) / 5 for own in runs) ** 0.5
    assert abs(statistics.fmean(runs[0]) - statistics.fmean(runs[1])) < 1.6 * error


def test_the_bench_of_the_kernels_is_what_the_table_says() -> None:
    bench = json.loads((KERNELS / "bench.json").read_text("utf-8"))
    for values in bench["networks"]:
        own = [loop["median"] for loop in values["loops"]]
        row = max(own[:2]), own[2], *own[3:]
        assert f"| {' | '.join(f'{rate:,.0f}' for rate in row)} |" in TEXT
        assert f"| {values['ratio_to_usual']['median']} (" in TEXT


def test_the_bench_of_the_pools_is_what_the_table_says() -> None:
    rates = {}
    for file in (RESULTS / "speed" / "pools").glob("*.json"):
        *usual, eager, alone, packs = [
            loop["median"] for loop in json.loads(file.read_text("utf-8"))["loops"]
        ]
        shown = " | ".join(f"{rate:,.0f}" for rate in (max(usual), eager, alone, packs))
        assert f"| `{file.name}` | {shown} |" in TEXT
        rates[file.stem] = packs, eager
    lost = [1 - own / its for own, its in zip(rates["anti-aliased"], rates["max"], strict=True)]
    said = "By kernels they cost {:.0%} of the speed of max-pools, by torch alone {:.0%}."
    assert said.format(*lost).replace("%", " %") in TEXT


@pytest.mark.parametrize("study", ["mnist-8k", "mnist-8k-plain", "unpruned"])
def test_what_estimates_are_worth_is_what_was_found(study: str) -> None:
    """The figures of its column in `results/README.md`, to the last digit."""
    found = json.loads((RESULTS / study / "estimates.json").read_text())
    readme = (RESULTS / "README.md").read_text()
    rows = [line.split("|")[1:-1] for line in readme.splitlines() if line.startswith("|")]
    start = next(i for i, row in enumerate(rows) if "`unpruned`" in row[-1] and len(row) == 4)
    column = rows[start].index(f" `{study}` ")
    said = [row[column].strip() for row in rows[start + 2 : start + 7]]

    def correlation(name: str) -> str:
        low, high = found[f"{name}_90"]
        return f"{found[name]:.2f} ({low:.2f} to {high:.2f})"

    assert said == [
        f"{found['networks']}, {found['seeds']}",
        *map(correlation, ("single_run_correlation", "estimate_correlation")),
        *(
            "{:+.2f} ± {:.2f}".format(*found[f"confirmed_minus_{name}"])
            for name in ("single_run", "expected_test")
        ),
    ]


def test_two_searches_came_to_what_the_table_says() -> None:
    found = json.loads((RESULTS / "pruned" / "compared.json").read_text())
    unpruned, pruned = found["studies"]
    for head, own in (
        ("trials, of which stopped", "{trials}, {pruned}"),
        ("networks on the front", "{front}"),
        ("hypervolume of the posterior front", "{hypervolume:.2f}"),
        ("best estimate, validation %", "{best_estimate:.2f}"),
    ):
        assert f"| {head} | {own.format(**unpruned)} | {own.format(**pruned)} |" in TEXT
    assert (
        f"| epochs | {unpruned['epochs_percent']:.0f}% | {pruned['epochs_percent']:.1f}% |" in TEXT
    )
    change, sd = found["change_percent"], found["change_sd_percent"]
    assert f"hypervolume by {change:+.2f}% with a standard deviation of {sd:.2f}%" in TEXT


@pytest.mark.parametrize(
    ("folder", "truth", "sampler"),
    [
        ("process", "posterior", "gp-log"),
        ("process-plain", "posterior", "gp"),
        ("forest", "forest", "gp-log"),
    ],
)
def test_a_process_came_to_what_the_table_says(folder: str, truth: str, sampler: str) -> None:
    table = pd.read_csv(RESULTS / "selection" / folder / "summary.csv")
    own = table[table.sampler == sampler].set_index(["choice", "reruns"])
    cells = [
        f"{row[f'{name}_gain']:+.{digits}f} ± {row[f'{name}_gain_se']:.{digits}f}"
        for row, name, digits in (
            (own.loc[("posterior", 0)], "error", 3),
            (own.loc[("gain", 10)], "error", 3),
            (own.loc[("posterior", 0)], "hypervolume", 2),
        )
    ]
    seeds = own.seeds.iloc[0]
    shown = f"| {truth} | {sampler} | {seeds} | {' | '.join(cells)} |".replace("-0", "−0")
    assert shown in TEXT

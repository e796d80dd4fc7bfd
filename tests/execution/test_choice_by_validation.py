"""Nothing is chosen by test accuracy: it is read once, and reported."""

from __future__ import annotations

import ast
import json
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import optuna

import nas_mnist
from nas_mnist.execution.confirmation import candidates, chosen, networks_to_confirm
from nas_mnist.execution.estimates import estimates, front, next_rung
from nas_mnist.execution.records import StudyRecord, load_study
from nas_mnist.execution.reruns import mean_accuracies
from nas_mnist.report.figures import front_figure
from nas_mnist.search.sampler import SearchSampler
from nas_mnist.search.space import DEFAULT
from tests.conftest import Search, runner

# Where test accuracies may be named: to write them down, to read them back, and to report. What
# decides (search/, estimates, reruns, the queue, what trains) does not know of them.
_REPORTING = {
    *("api.py", "cli/training_commands.py", "cli/study_commands.py"),
    *("execution/confirmation.py", "execution/job.py", "execution/jobs.py", "execution/records.py"),
    *("networks/references.py", "training/paired.py", "training/runs.py"),
    *(f"report/{name}.py" for name in ("claims", "export", "figures", "front_table")),
    *(f"report/{name}.py" for name in ("explanation", "lifecycle_table", "page", "tables")),
    *(
        f"report/{name}.py"
        for name in ("card", "comparison", "health", "overview", "study_figures")
    ),
}
# And of those that also decide, which parts may: by class or function.
_PARTS = {
    "execution/confirmation.py": {"ConfirmedRun", "Confirmed", "_run"},
    "execution/job.py": set(),
    "execution/jobs.py": {"ConfirmJob", "SearchJob", "_OUTCOMES"},
    "execution/records.py": {"TrialRecord", "_record"},
    "training/paired.py": {"PairedRun", "_train"},
}


def names_test_accuracy(node: ast.AST) -> bool:
    """Whether it names a test accuracy, in code or as a key; docstrings do not count."""
    for found in ast.walk(node):
        if isinstance(found, ast.Attribute) and found.attr in ("test_accuracy", "test_mean"):
            return True
        if isinstance(found, ast.Name | ast.arg) and "test_accuracy" in str(
            getattr(found, "id", getattr(found, "arg", ""))
        ):
            return True
        if isinstance(found, ast.Constant) and found.value == "test_accuracy":
            return True
    return False


def test_only_what_reports_knows_of_test_accuracies() -> None:
    package = Path(nas_mnist.__file__).parent
    for file in package.rglob("*.py"):
        name, tree = str(file.relative_to(package)), ast.parse(file.read_text("utf-8"))
        if name not in _REPORTING:
            assert not names_test_accuracy(tree), name
        for node in tree.body if name in _PARTS else ():
            own = getattr(node, "name", None) or ast.unparse(node).partition(" ")[0]
            assert own in _PARTS[name] or not names_test_accuracy(node), (name, own)


def test_the_check_can_fail() -> None:
    for text in ("trial.test_accuracy", "attrs['test_accuracy']", "def f(test_accuracy): pass"):
        assert names_test_accuracy(ast.parse(text))
    assert not names_test_accuracy(ast.parse('"""of the test_accuracy"""\nx.val_accuracy'))


def decisions(record: StudyRecord, database: Path) -> dict[str, Any]:
    """All that a study decides, one way or another."""
    sampler = SearchSampler("tpe-spread", 0, DEFAULT, record.spec.limit(), means={})
    study = optuna.load_study(study_name="demo", storage=record.storage, sampler=sampler)
    # Not through `study.ask`, which would add a trial.
    pending = optuna.trial.FrozenTrial(
        10**6, optuna.trial.TrialState.RUNNING, None, None, None, {}, {}, {}, {}, {}, 10**6
    )
    best = max(own.mean for own in estimates(record).values())
    line = front_figure(record).data
    return {
        "estimates": estimates(record),
        "front": [trial.number for trial in front(record)],
        "shown": [entry.trial.number for entry in candidates(record)],
        "winner": chosen(record).trial.number,
        "confirmed": [t.number for t in networks_to_confirm(record, record.request())],
        "most accurate": [
            t.number for t in networks_to_confirm(record, record.request(most_accurate=3))
        ],
        "at least": [
            chosen(record, at_least=best * share).trial.number for share in (0.1, 0.3, 0.5)
        ],
        "reruns": next_rung(record, 8),
        "means": mean_accuracies(record),
        "next": sampler.sample_relative(study, pending, {}),
        "line": [list(trace.x) for trace in line if trace.line.shape == "hv"],
    }


def test_other_test_accuracies_change_no_decision(digits_search: Search, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(digits_search.folder, folder)
    done = runner(folder)("confirm", "demo", "--seeds", "2", "--most-accurate", "3")
    assert done.code == 0, done.err
    database = folder / "studies" / "demo.db"

    def decided() -> dict[str, Any]:
        return decisions(load_study("demo", f"sqlite:///{database}"), database)

    before, draws = decided(), random.Random(1)
    quoted = runner(folder)("front", "demo", "--json").json["confirmed"]
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "SELECT trial_user_attribute_id, key, value_json FROM trial_user_attributes "
            "WHERE key IN ('test_accuracy', 'curve')"
        ).fetchall()
        changed = 0
        for number, key, text in rows:
            value = json.loads(text)
            if key == "test_accuracy":
                value, changed = draws.uniform(0, 100), changed + 1
            for entry in value if key == "curve" else ():
                if "test_accuracy" in entry:
                    entry["test_accuracy"], changed = draws.uniform(0, 100), changed + 1
            connection.execute(
                "UPDATE trial_user_attributes SET value_json = ? WHERE trial_user_attribute_id = ?",
                (json.dumps(value), number),
            )
    assert changed > 20
    assert runner(folder)("front", "demo", "--json").json["confirmed"] != quoted  # it is another
    assert decided() == before

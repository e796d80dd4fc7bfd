"""Are the networks that a study would choose better than those that its search began with?

python studies/first_trials/beaten.py mnist-8k --storage sqlite:///results/mnist-8k/study.db
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "pruner_simulation"))

from script import Parser, at_least, run

from nas_mnist.errors import RequestError
from nas_mnist.execution.confirmation import Candidate, candidates, most_accurate
from nas_mnist.execution.creation import FIRST
from nas_mnist.execution.records import StudyRecord
from nas_mnist.report import writing
from nas_mnist.report.comparison import Welch
from nas_mnist.report.tables import counted, spread_text
from nas_mnist.training.runs import LAST_EPOCHS, mean_and_sd

_SIZES = (1000, 2000, 4000, 8000)


def main() -> None:
    """Networks are chosen by their estimates, from validation; test accuracies are compared."""
    parser = Parser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("study", help="its name")
    parser.add_argument("--storage", required=True, help="its database URL")
    parser.add_argument("--at", type=at_least(1), nargs="+", default=_SIZES, metavar="N")
    said = "compare also with these networks, written by `nas-mnist train --json`"
    parser.add_argument("--beside", type=Path, nargs="+", default=[], metavar="FILE", help=said)
    parser.add_argument("-o", "--output", type=Path, help="file for all that was found, .json")
    asked = parser.parse_args()
    record = StudyRecord.load(asked.study, asked.storage)
    rows = compared(record, asked.at, [read_run(file) for file in asked.beside])
    if asked.output:
        with writing(asked.output):
            asked.output.write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        print(f"within {row['within']:,}: {_told(row['chosen'])}")
        for other in row["others"]:
            test = other["welch"]
            found = f"{test['difference']:+.2f}, p = {test['p']:.2g}" if test else "not tested"
            print(f"  against {_told(other)}: {found}")


def compared(
    record: StudyRecord, sizes: Sequence[int], beside: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A row for each size: the confirmed network that the study would choose within it, and every
    first network of the search that is confirmed, and of `beside`, within that size but beyond the
    one before, with Welch's test of the difference. RequestError if nothing is confirmed."""
    first = record.study.user_attrs.get(FIRST) or []
    known = [entry for entry in candidates(record) if entry.confirmed]
    if not known:
        raise RequestError(f"no network of study {record.name!r} is confirmed")
    start = [_network(entry) for entry in known if entry.trial.number < len(first)]
    rows, smaller = [], 0
    for size in sorted(sizes):
        within = [entry for entry in known if entry.trial.architecture.parameters <= size]
        if best := most_accurate(within):
            chosen = _network(best)
            others = [
                {**other, "welch": _welch(other, chosen)}
                for other in (*start, *beside)
                if smaller < other["parameters"] <= size and other != chosen
            ]
            rows.append({"within": size, "chosen": chosen, "others": others})
        smaller = size
    return rows


def _welch(other: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any] | None:
    test = Welch.of(other["test_accuracies"], chosen["test_accuracies"])
    return test and test._asdict()


def _network(entry: Candidate) -> dict[str, Any]:
    assert entry.confirmed
    accuracies = [run.test_accuracy for run in entry.confirmed.runs]
    return {
        "name": f"trial {entry.trial.number}",
        "parameters": entry.trial.architecture.parameters,
        "notation": entry.trial.notation,
        "test_accuracies": accuracies,
        "last4_min": entry.confirmed.last4_min,
    }


def read_run(file: Path) -> dict[str, Any]:
    """RequestError for a file that `nas-mnist train --json` did not write."""
    try:
        found = json.loads(file.read_text("utf-8"))
        return {
            "name": file.stem,
            "parameters": int(found["parameters"]),
            "notation": str(found["notation"]),
            "test_accuracies": [float(run["test_accuracy"]) for run in found["runs"]],
            "last4_min": float(found["last4_min"]),
        }
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RequestError(f"{file}: not what `nas-mnist train --json` writes: {error}") from None


def _told(network: dict[str, Any]) -> str:
    accuracies = network["test_accuracies"]
    return (
        f"{network['name']}, {network['parameters']:,} parameters, "
        f"{spread_text(*mean_and_sd(accuracies))} % ({counted(len(accuracies), 'seed')}), "
        f"lowest of the last {LAST_EPOCHS} epochs {network['last4_min']:.2f}"
    )


if __name__ == "__main__":
    run(main)

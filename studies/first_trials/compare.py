"""What a study's posterior says of the shapes that a search begins with, and of better ones.

python studies/first_trials/compare.py mnist-8k --storage sqlite:///results/mnist-8k-plain/study.db
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler

sys.path.append(str(Path(__file__).parents[1] / "pruner_simulation"))

from script import Parser, at_least, run

from nas_mnist.errors import RequestError
from nas_mnist.execution.estimates import evidence_of
from nas_mnist.execution.records import StudyRecord
from nas_mnist.networks.architecture import Limit, format_notation
from nas_mnist.report import writing
from nas_mnist.search.posterior import Estimate, Network, Posterior
from nas_mnist.search.space import DEFAULT


def main() -> None:
    """Judged by validation alone: no test accuracy is read."""
    parser = Parser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("study", help="its name")
    parser.add_argument("--storage", required=True, help="its database URL")
    parser.add_argument("--draws", type=at_least(1), default=2000, help="networks at each size")
    parser.add_argument("-o", "--output", type=Path, help="file for all that was found, .json")
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = compared(StudyRecord.load(asked.study, asked.storage), asked.draws)
    if asked.output:
        with writing(asked.output):
            asked.output.write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        best = row["best_drawn"]
        print(
            f"{row['parameters']:>6,}  {row['validation']:.2f} ± {row['sd']:.2f}  "
            f"above {row['draws_below']:.0%} of the draws  {row['notation']}; the best drawn "
            f"{best['validation']:.2f} ± {best['sd']:.2f}  {best['notation']}"
        )


def compared(record: StudyRecord, count: int) -> list[dict[str, Any]]:
    """A row for each network that a search of that budget begins with: its estimated validation
    accuracy, the share of random networks of its size estimated to be less accurate, and the best
    of these. RequestError for a study with no completed trial."""
    evidence = evidence_of(record)
    if not evidence.observed:
        raise RequestError(f"study {record.name!r} has no completed trial")
    posterior = Posterior(evidence.observed, evidence.distributions)
    limit, rows = Limit(record.spec.budget), []

    def network(point: dict[str, Any]) -> Network:
        parameters = DEFAULT.decode(point, limit).parameters
        own = {name: point[name] for name in evidence.distributions}
        return Network("", own, parameters)  # as if nothing of it were known but its choices

    def said(point: dict[str, Any], estimate: Estimate) -> dict[str, Any]:
        decoded = DEFAULT.decode(point, limit)
        return {
            "parameters": decoded.parameters,
            "notation": format_notation(decoded),
            "validation": estimate.mean,
            "sd": estimate.sd,
            "point": point,
        }

    study = optuna.create_study(sampler=RandomSampler(seed=0))
    # Only what that study drew: a choice that is newer has its default in all its networks.
    drawn = [study.ask(evidence.distributions).params for _ in range(count)]
    by_fill: dict[float, tuple[list[dict[str, Any]], list[Estimate]]] = {}
    for first in DEFAULT.first_points(limit):
        point = {name: first[name] for name in evidence.distributions}
        if point["fill"] not in by_fill:
            points = [{**own, "fill": point["fill"]} for own in drawn]
            by_fill[point["fill"]] = points, posterior.estimates([*map(network, points)])
        points, others = by_fill[point["fill"]]
        best = max(range(count), key=lambda index: others[index].mean)
        own = posterior.estimates([network(point)])[0]
        rows.append(
            {
                **said(point, own),
                "draws_below": float(np.mean([other.mean < own.mean for other in others])),
                "best_drawn": said(points[best], others[best]),
            }
        )
    return rows


if __name__ == "__main__":
    run(main)

"""Compare what a search with pruning found with what the same search found without.

python studies/pruner_simulation/compare_studies.py unpruned.db pruned.db
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState
from replay import REFERENCE_ACCURACY
from replay_studies import loaded
from script import Parser, run

from nas_mnist.errors import RequestError
from nas_mnist.execution.estimates import evidence_of
from nas_mnist.execution.records import StudyRecord
from nas_mnist.report import writing
from nas_mnist.search.front import front_indices, hypervolume
from nas_mnist.search.posterior import Network, Posterior

_DRAWS = 1000


def compared(first: StudyRecord, second: StudyRecord) -> dict[str, Any]:
    """One posterior of all runs of both says what each study's networks are worth: the hypervolume
    of its front, and by how many percent the second's is above the first's, with the standard
    deviation of that over draws of the posterior. RequestError for studies that cannot be
    compared."""
    for name in ("dataset", "budget", "epochs", "train_samples", "recipe"):
        mine, its = getattr(first.spec, name), getattr(second.spec, name)
        if mine != its:
            raise RequestError(f"the studies differ in their {name}: {mine} and {its}")
    observed, distributions, sides = [], {}, []
    for record in (first, second):
        evidence, trials = evidence_of(record), {own.number: own for own in record.trials()}
        if not evidence.networks:
            raise RequestError(f"study {record.name!r} has no completed trial")

        def renamed(network: Network, trials: dict[int, FrozenTrial] = trials) -> Network:
            trial = trials[int(network.key)]  # the same network in both studies is one
            named = f"{trial.user_attrs['notation']} {trial.params['peak_learning_rate']}"
            return network._replace(key=named)

        distributions = evidence.distributions
        observed += [own._replace(network=renamed(own.network)) for own in evidence.observed]
        sides.append([renamed(network) for network in evidence.networks.values()])
    posterior = Posterior(observed, distributions)
    everyone = [*sides[0], *sides[1]]
    means, covariance = posterior.moments(everyone)
    draws = np.random.default_rng(0).multivariate_normal(means, covariance, _DRAWS)
    ends = slice(0, len(sides[0])), slice(len(sides[0]), None)
    reference = 2 * first.spec.budget, REFERENCE_ACCURACY

    def area(errors: Any, side: slice) -> float:
        sizes = [network.parameters for network in everyone[side]]
        return hypervolume(zip(sizes, 100 - np.exp(errors[side]), strict=True), reference)

    gains = [100 * (area(own, ends[1]) / area(own, ends[0]) - 1) for own in draws]
    found = [
        _of_study(record, everyone[side], means[side]) | {"hypervolume": area(means, side)}
        for record, side in zip((first, second), ends, strict=True)
    ]
    change = 100 * (found[1]["hypervolume"] / found[0]["hypervolume"] - 1)
    own_error = 100 * np.std([area(own, ends[0]) for own in draws]) / area(means, ends[0])
    return {
        "studies": found,
        "front_error_percent": float(own_error),
        "change_percent": change,
        "change_sd_percent": float(np.std(gains)),
    }


def _of_study(record: StudyRecord, networks: Sequence[Network], means: Any) -> dict[str, Any]:
    trials = record.trials()
    finished = [trial for trial in trials if trial.state.is_finished()]
    epochs = sum(len(trial.user_attrs.get("curve", ())) for trial in finished)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    shown = front_indices(
        [(own.parameters, -mean) for own, mean in zip(networks, means, strict=True)]
    )
    on_front = {complete[index].number for index in shown}
    exempt = [trial for trial in complete if "would_be_pruned" in trial.user_attrs]
    return {
        "study": record.name,
        "pruner": record.spec.pruner,
        "trials": len(finished),
        "pruned": sum(trial.state == TrialState.PRUNED for trial in finished),
        "epochs_percent": 100 * epochs / (len(finished) * record.spec.epochs),
        "exempt_that_would_be_pruned": len(exempt),
        "of_these_on_the_front": sum(trial.number in on_front for trial in exempt),
        "front": len(on_front),
        "best_estimate": float(100 - np.exp(min(means))),
    }


def main() -> None:
    parser = Parser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("files", type=Path, nargs=2, help="SQLite files of a study each")
    parser.add_argument("-o", "--output", type=Path, help="all that was found, .json")
    asked = parser.parse_args()
    with loaded(asked.files[0]) as (first,), loaded(asked.files[1]) as (second,):
        found = compared(first, second)
    text = json.dumps(found, indent=1)
    if asked.output:
        with writing(asked.output):
            asked.output.write_text(text + "\n")
    print(text)
    print(f"{found['change_percent']:+.2f} ± {found['change_sd_percent']:.2f} %", file=sys.stderr)


if __name__ == "__main__":
    run(main)

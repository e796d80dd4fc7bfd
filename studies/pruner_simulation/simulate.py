"""Compare samplers and pruners on recorded curves, many searches in minutes.

python studies/pruner_simulation/simulate.py results/curves/mnist-8000.csv -o simulation
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

import comparison
import optuna
from curves import read_table
from figures import (
    pruner_figure,
    pruners_table,
    search_figure,
    searches_table,
    surrogate_text,
    write_frame,
)
from rich.console import Console
from script import Parser, at_least, run
from surrogate import Surrogate

from nas_mnist.errors import RequestError
from nas_mnist.processes import available_cores
from nas_mnist.report import writing
from nas_mnist.report.page import check_figure_name, write_figure


def main() -> None:
    """Simulate, and write tables and pictures."""
    parser = Parser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("table", type=Path, help="what record_curves.py wrote")
    parser.add_argument("-o", "--output", type=Path, default=Path("simulation"), help="folder")
    parser.add_argument("--trials", type=at_least(2), default=200, help="trials of a search")
    parser.add_argument("--seeds", type=at_least(2), default=20, help="searches of each kind")
    parser.add_argument("--figures", default="html", help="kind of the pictures: html, png, svg")
    parser.add_argument("--workers", type=at_least(1), default=available_cores(), help="processes")
    parser.add_argument("--pruners-only", action="store_true", help="without whole searches")
    asked = parser.parse_args()
    output: Path = asked.output
    picture = output / f"pruners.{asked.figures}"
    check_figure_name(picture)
    if picture.parent != output:
        raise RequestError(f"--figures {asked.figures} is not html, png or svg")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    recorded = read_table(asked.table)
    console = Console(width=120)

    with writing(output / "pruners.csv"):
        pruners = comparison.compare_pruners(recorded, asked.seeds)
        write_frame(pruners, output / "pruners.csv")
        write_figure(pruner_figure(pruners), picture)
    console.print(pruners_table(comparison.side_by_side(pruners)))
    if asked.pruners_only:
        return

    surrogate = Surrogate(recorded)
    held_out = surrogate.held_out()
    with writing(output / "surrogate.json"):
        (output / "surrogate.json").write_text(json.dumps(held_out._asdict(), indent=2), "utf-8")
    settings = comparison.default_settings(asked.trials, asked.seeds)
    total = sum(setting.seeds for setting in settings)
    results = []
    with closing(comparison.compare_searches(surrogate, settings, asked.workers)) as simulated:
        for result in simulated:
            results.append(result)
            if len(results) % 10 == 0 or len(results) == total:
                print(f"{len(results)}/{total} searches", file=sys.stderr)
    searches = comparison.summary(results, recorded.epochs, asked.trials)
    traces = comparison.traces(results)
    with writing(output / "searches.csv"):
        write_frame(searches, output / "searches.csv")
        write_frame(traces, output / "traces.csv")
        write_figure(search_figure(traces), output / f"searches.{asked.figures}")
    console.print(searches_table(searches, surrogate_text(held_out)))


if __name__ == "__main__":
    run(main)

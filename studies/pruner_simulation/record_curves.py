"""Record learning curves of random networks: what `simulate.py` runs on. Resumes, as a search.

python studies/pruner_simulation/record_curves.py -o curves.csv --networks 300 --epochs 6
"""

from __future__ import annotations

import sys
from pathlib import Path

import optuna
from curves import LEAST_NETWORKS, drawn_points, runs_of, table_of, write_table
from script import Parser, at_least, run

from nas_mnist.errors import RequestError
from nas_mnist.execution.run import prepare_search, run_search
from nas_mnist.execution.spec import resolve_config
from nas_mnist.report import writing
from nas_mnist.report.progress import show_progress
from nas_mnist.training.datasets import load_dataset, split_dataset
from nas_mnist.training.recipe import parse_settings


def main() -> None:
    """Record the curves and write their table."""
    parser = Parser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="the table, .csv")
    parser.add_argument(
        "--networks", type=at_least(LEAST_NETWORKS), default=300, help="1 in 5 runs twice"
    )
    parser.add_argument("--recipe", action="append", default=[], metavar="KEY=VALUE")
    for name in ("dataset", "study", "storage", "data-dir", "device"):
        parser.add_argument(f"--{name}")
    for name in ("budget", "epochs", "train-samples", "workers", "seed"):
        parser.add_argument(f"--{name}", type=int)
    asked = vars(parser.parse_args())
    output, networks = asked.pop("output"), asked.pop("networks")
    if output.suffix != ".csv" or output.is_dir():  # not to learn of it after hours
        raise RequestError(f"-o {output} is not a file name that ends in .csv")
    runs = runs_of(networks)
    asked["recipe"] = parse_settings(asked["recipe"])
    asked["epochs"] = asked["epochs"] or 6
    asked["study"] = asked["study"] or (
        f"{asked['dataset'] or 'mnist'}-{asked['budget'] or 8000}-curves"
    )
    config = resolve_config(None, {**asked, "trials": runs, "pruner": "none"})
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with writing(output):
        record = prepare_search(config, drawn_points(runs, config.seed))
    show_progress(run_search(record, config))
    data = load_dataset(config.dataset, Path(config.data_dir) if config.data_dir else None)
    table = table_of(record, len(split_dataset(data, config.seed, config.train_samples)[1]))
    with writing(output):
        write_table(table, output)
    failed = record.counts().failed
    print(f"wrote {output}: {len(table.runs)} runs, {failed} diverged", file=sys.stderr)


if __name__ == "__main__":
    run(main)

"""Copy a finished study into a folder to publish: its database, the weights of the networks that it
shows, its front, its report, and its winner as a module.

python studies/publish.py mnist-8k -o results/mnist-8k
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "pruner_simulation"))

import optuna
from script import Parser, run
from sqlalchemy.engine import make_url

from nas_mnist.errors import RequestError, StorageError
from nas_mnist.execution.confirmation import candidates, chosen
from nas_mnist.execution.records import StudyRecord
from nas_mnist.execution.spec import default_storage
from nas_mnist.execution.store import artifact_store
from nas_mnist.report import check_export, note
from nas_mnist.report.explanation import Explanation
from nas_mnist.report.export import export_network, trained_network, trained_run
from nas_mnist.report.figures import front_figure
from nas_mnist.report.front_table import write_front_csv
from nas_mnist.report.lifecycle_table import read_reproduced
from nas_mnist.report.page import write_figure, write_report
from nas_mnist.training.datasets import load_dataset


def main() -> None:
    parser = Parser(description=str(__doc__).partition("\n\n")[0])
    parser.add_argument("study", help="its name")
    parser.add_argument("--storage", help="URL of its SQLite file; that of `search` by default")
    parser.add_argument("--artifact-dir", default="", help="folder of its weights")
    parser.add_argument("--data-dir", help="folder of the image files")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to publish")
    said = "show the retrained networks of this steps.json beside the front; repeatable"
    parser.add_argument("--reproduced", type=Path, action="append", default=[], help=said)
    said = "show what `explain` kept in this explained.json; repeatable"
    parser.add_argument("--explained", type=Path, action="append", default=[], help=said)
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url, folder, own = asked.storage or default_storage(asked.study), asked.output, "study.db"
    check_export(folder / "winner.py")
    record = StudyRecord.load(asked.study, url, asked.artifact_dir)
    if make_url(url).get_backend_name() != "sqlite":
        raise RequestError("only a study in an SQLite file can be published")
    dataset = load_dataset(record.spec.dataset, asked.data_dir)
    beside = read_reproduced(asked.reproduced, record.spec.dataset)
    explained = [*map(Explanation.kept, asked.explained)]

    folder.mkdir(parents=True, exist_ok=True)
    there = Path(str(make_url(url).database))
    is_published = (folder / own).resolve() == there.resolve()
    if not is_published:
        copy_database(there, folder / own)
    published = StudyRecord.load(asked.study, f"sqlite:///{folder / own}")
    if not is_published:
        copy_weights(record, published)
    write_front_csv(published, folder / "front.csv")
    write_figure(front_figure(published, beside), folder / "front.svg")
    write_report(published, dataset, folder / "report.html", beside, explained)
    export_network(published, chosen(published), folder / "winner.py")
    note(f"wrote {folder}")


def copy_database(before: Path, after: Path) -> None:
    """With what a search that has just ended left in its journal."""
    after.unlink(missing_ok=True)
    with closing(sqlite3.connect(before)) as source, closing(sqlite3.connect(after)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")
        target.execute("VACUUM")


def copy_weights(record: StudyRecord, published: StudyRecord) -> None:
    """Of every network that the front shows, those that `export` writes; checked."""
    source, target = (
        artifact_store(own.artifact_dir, own.name, own.storage) for own in (record, published)
    )
    for entry in candidates(record):
        kept = trained_run(entry).weights
        try:
            trained_network(record, entry)
        except StorageError as error:
            note(f"without weights: {error}")
            continue
        with source.open_reader(kept) as file:
            target.write(kept, file)


if __name__ == "__main__":
    run(main)

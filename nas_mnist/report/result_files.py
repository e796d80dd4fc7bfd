"""The files that a search leaves in `results/<study>/`."""

from __future__ import annotations

from pathlib import Path

from nas_mnist.errors import StorageError, reason
from nas_mnist.execution.study import StudyRecord
from nas_mnist.execution.winner import chosen
from nas_mnist.report.export import export_network
from nas_mnist.report.figures import front_figure, write_figure
from nas_mnist.report.front_table import write_front_csv


def write_results(record: StudyRecord, folder: Path) -> list[Path]:
    """Write front.csv, front.html, winner.py and winner.pt; their paths.

    The winner is the front's most accurate network. Raises StorageError if the folder cannot
    be written.
    """
    csv, html, winner = folder / "front.csv", folder / "front.html", folder / "winner.py"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_front_csv(record, csv)
        write_figure(front_figure(record), html)
    except OSError as error:
        raise StorageError(f"{error.filename or folder}: {reason(error)}") from None
    weights = export_network(record, chosen(record), winner)
    return [csv, html, winner, weights]

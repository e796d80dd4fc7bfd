"""Put all steps of the hand-made lifecycles into one table, published beside retrained.

python studies/lifecycles.py results -o results/lifecycles.md
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "pruner_simulation"))

from script import Parser, run

from nas_mnist.networks.references import steps
from nas_mnist.report import tables, writing
from nas_mnist.report.lifecycle_table import HEADINGS, Lifecycle


def main() -> None:
    parser = Parser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("folder", type=Path, help="with what `reproduce` kept of each lifecycle")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file of the table, .md")
    asked = parser.parse_args()
    table = all_steps(asked.folder)
    with writing(asked.output):
        asked.output.write_text(table, "utf-8")


def all_steps(folder: Path) -> str:
    """DataError if a lifecycle is missing."""
    rows = [["lifecycle", *HEADINGS]]
    for name in dict.fromkeys(step.lifecycle for step in steps()):
        _, *own = Lifecycle.kept(folder / name).rows()
        rows += [[name, *row] for row in own]
    return tables.markdown_table(rows, ["---"] * len(rows[0])) + "\n"


if __name__ == "__main__":
    run(main)

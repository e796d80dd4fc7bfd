"""The notebook, run as the script that it is, on real data."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

NOTEBOOK = Path(__file__).parents[2] / "studies" / "notebook.py"
# What a notebook shows of its cells: a script shows nothing of them.
SHOWN = """
print(*front.columns)
print(len(front), len(figure.data), len(mistakes.layout.annotations), len(shown))
print(type(network).__name__, network.training)
"""


def test_the_notebook_runs(tmp_path: Path) -> None:
    text = NOTEBOOK.read_text("utf-8")
    (tmp_path / "notebook.py").write_text(text + SHOWN, "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "notebook.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "8/8 trials" in done.stderr
    size, wrong, columns, counts, module = done.stdout.splitlines()
    assert int(size.removesuffix(" parameters").replace(",", "")) <= 1500
    assert 0 < int(wrong.split()[0]) < 300
    assert columns == "trial parameters estimate estimate_sd test_accuracy notation"
    networks, traces, pictures, shown = map(int, counts.split())
    assert networks and traces > 1 and pictures == shown
    assert module == "Sequential False"
    made = tmp_path / "runs" / "notebook"
    assert {file.name for file in made.iterdir()} == {"winner.py", "winner.pt", "winner.md"}


def test_each_cell_stands_by_itself() -> None:
    """As notebooks split it: text that is all comments, and code that compiles."""
    first, *cells = re.split(r"^# %%", NOTEBOOK.read_text("utf-8"), flags=re.MULTILINE)
    assert first == "" and len(cells) > 8
    for cell in cells:
        kind, _, body = cell.partition("\n")
        if kind == " [markdown]":
            assert all(line.startswith("#") for line in body.split("\n") if line), body
        else:
            compile(body, "cell", "exec")

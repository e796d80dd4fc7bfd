"""The house: each floor imports only from the floors below it, and help is instant."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nas_mnist

PACKAGE = Path(__file__).parents[1] / "nas_mnist"
FLOORS = {
    "errors": 0,
    "lookup": 0,
    "processes": 0,
    "networks": 1,
    "training": 2,
    "search": 3,
    "execution": 4,
    "simulation": 5,
    "report": 6,
    "cli": 7,
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_floors(file: Path) -> None:
    place = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if place in ("__init__", "__main__"):
        return
    own = FLOORS[place]
    for name in imports(file):
        parts = name.split(".")
        if parts[0] == "nas_mnist" and len(parts) > 1 and parts[1] in FLOORS:
            assert FLOORS[parts[1]] <= own, f"{file.name} imports {name}"
        if parts[0] == "optuna":
            assert own >= FLOORS["search"], f"{file.name} imports {name}"
        if parts[0] == "torch" and place == "networks":
            assert file.name == "build.py"


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_the_command_line_prints(file: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    prints = [node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
    # A worker's one line is how its process tells the search of its error.
    assert not prints or "cli" in file.parts or file.name == "worker.py"


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], {"torch", "optuna", "pandas", "plotly", "sklearn"}),
        (["search", "--help"], {"torch", "optuna", "pandas", "plotly", "sklearn"}),
        (["inspect", "c4-g-c10k1"], {"torch", "pandas", "plotly", "sklearn"}),
        (["references"], {"torch", "pandas", "plotly", "sklearn"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_needed_is_not_imported(arguments: list[str], heavy: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "nas_mnist", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()
    }
    assert "nas_mnist" in imported
    assert not imported & heavy


def test_the_public_names_exist() -> None:
    for name in nas_mnist.__all__:
        assert getattr(nas_mnist, name) is not None
    with pytest.raises(AttributeError):
        _ = nas_mnist.no_such_name

"""What the command says of itself."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from nas_mnist.cli import app
from tests.conftest import CommandLine


def test_its_version(nas_mnist: CommandLine) -> None:
    done = nas_mnist("--version")
    assert (done.code, done.out, done.err) == (0, f"{version('nas-mnist')}\n", "")


def test_its_commands(nas_mnist: CommandLine) -> None:
    done = nas_mnist()
    assert done.code == 0
    assert "Retrain a study's front" in done.out
    assert nas_mnist("--help").out == done.out


def test_every_command_has_a_group_and_examples(nas_mnist: CommandLine) -> None:
    """They are those of the program: each option in them exists."""
    groups = re.findall("─ (Search|Look|Train|Publish) ─", nas_mnist("-h").out)
    assert groups == ["Search", "Look", "Train", "Publish"]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        if command.hidden:
            continue
        shown = nas_mnist(name, "-h")
        assert shown.out == nas_mnist(name, "--help").out
        examples = [
            text for text in shown.out.splitlines() if text.startswith(f" nas-mnist {name}")
        ]
        assert examples, name
        for text in examples:
            command.make_context(name, shlex.split(text)[2:], resilient_parsing=False)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(tmp_path: Path, shell: str) -> None:
    asked = {"_NAS_MNIST_COMPLETE": f"complete_{shell}", "COMP_WORDS": "nas-mnist fro"}
    asked |= {"COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "nas-mnist fro"}
    asked |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    program = Path(sys.executable).with_name("nas-mnist")
    done = subprocess.run(
        [program], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert "front" in done.stdout and "search" not in done.stdout, done.stderr


def test_brackets_of_a_notation_are_shown(nas_mnist: CommandLine) -> None:
    done = nas_mnist("inspect", "c8rn[c8p1rn]-w2c8s2-g-c10k1")
    assert done.code == 0, done.err
    assert "c8rn-[c8p1rn]-w2c8s2-g-c10k1" in done.out
    assert [op for op in ("residual", "repeat", "squeeze-excite") if op not in done.out] == []


def test_a_network_of_composite_layers_is_trained(nas_mnist: CommandLine) -> None:
    """Side by side, two seeds."""
    done = nas_mnist(
        *("train", "c8rn-[c8p1rn]-m2-w2c8p1s2-g-c10k1", "--dataset", "digits", "--seeds", "2"),
        *("--epochs", "2", "--json"),
    )
    assert done.code == 0, done.err
    assert len(done.json["runs"]) == 2
    assert done.json["test_accuracy_mean"] > 30

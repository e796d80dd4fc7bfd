"""What the command says of itself."""

from __future__ import annotations

from importlib.metadata import version

from tests.conftest import CommandLine


def test_its_version(nas_mnist: CommandLine) -> None:
    done = nas_mnist("--version")
    assert (done.code, done.out, done.err) == (0, f"{version('nas-mnist')}\n", "")


def test_its_commands(nas_mnist: CommandLine) -> None:
    done = nas_mnist()
    assert done.code == 0
    assert "Retrain a study's front" in done.out
    assert nas_mnist("--help").out == done.out

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

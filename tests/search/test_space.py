"""The search space: feasible, and wide enough for the hand-made networks it names."""

from __future__ import annotations

import optuna
import pytest

from nas_mnist.arch.references import references
from nas_mnist.arch.skeleton import smallest
from nas_mnist.search.space import SPACE, hand_made, space_version, suggest


@pytest.mark.parametrize("budget", [smallest().parameters, 1000, 8000, 10**6])
def test_every_sample_is_within_the_budget(budget: int) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=budget))
    for _ in range(50):
        trial = study.ask()
        sample = suggest(trial)
        architecture = sample.architecture(budget)
        assert architecture.parameters <= budget
        assert architecture.parameters <= max(sample.fill * budget, smallest().parameters) + 1
        assert trial.params.keys() == SPACE.keys()


def test_hand_made_networks_decode_to_themselves() -> None:
    (parameters,) = hand_made(8000)
    study = optuna.create_study()
    study.enqueue_trial(parameters)
    sample = suggest(study.ask())
    assert sample.architecture(8000) == references()["s7-dropout-7914"].architecture


@pytest.mark.parametrize(("budget", "count"), [(7913, 0), (7914, 1), (79_140, 1), (79_141, 0)])
def test_hand_made_networks_are_within_budget_and_range(budget: int, count: int) -> None:
    assert len(hand_made(budget)) == count


def test_the_version_names_the_space() -> None:
    """A change here means that no older study can be continued: raise it on purpose."""
    assert space_version() == "a103686daada"

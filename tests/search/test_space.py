"""The search space: feasible, and wide enough for the hand-made networks it names."""

from __future__ import annotations

import optuna
import pytest

from nas_mnist.networks.references import references
from nas_mnist.networks.skeleton import smallest
from nas_mnist.search.space import SPACE, first_points, sample_of, space_version, suggest


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


def test_a_hand_made_network_is_tried_first() -> None:
    study = optuna.create_study()
    study.enqueue_trial(first_points(8000)[0])
    sample = suggest(study.ask())
    assert sample.architecture(8000) == references()["s7-dropout-7914"].architecture


@pytest.mark.parametrize(
    ("budget", "count"), [(7913, 8), (7914, 9), (79_140, 9), (79_141, 8), (144, 1), (400, 4)]
)
def test_first_points_are_within_the_budget_and_of_different_networks(
    budget: int, count: int
) -> None:
    points = first_points(budget)
    networks = [sample_of(point).architecture(budget) for point in points]
    assert len(set(networks)) == len(networks) == count
    assert all(network.parameters <= budget for network in networks)
    for point in points:
        # Raises ValueError unless it is a whole point of the space.
        optuna.trial.create_trial(value=0.0, params=point, distributions=SPACE)


def test_the_version_names_the_space() -> None:
    """A change here means that no older study can be continued: raise it on purpose."""
    assert space_version() == "a103686daada"

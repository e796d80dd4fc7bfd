"""The surrogate: how well it foretells what it has not seen, and its noise."""

from __future__ import annotations

import numpy as np
import pytest

from nas_mnist.networks.notation import parse_notation
from nas_mnist.simulation.curves import CurveTable
from nas_mnist.simulation.surrogate import Surrogate, features, seed_noise


def test_it_foretells_networks_it_was_not_fitted_on(surrogate: Surrogate) -> None:
    held_out = surrogate.held_out()
    assert held_out.networks == 100
    assert held_out.spearman > 0.7
    assert held_out.log_error_rmse < 0.75 * held_out.log_error_sd


def test_runs_scatter_about_what_is_expected(surrogate: Surrogate) -> None:
    network = parse_notation("c8rn-c8rn-m2-c12rn-c11rn-m2-c14rn-g-c10k1")
    expected = surrogate.expected(network, 0.2)
    random = np.random.default_rng(0)
    errors = [100 - surrogate.drawn(network, 0.2, random)[0].test for _ in range(200)]
    assert np.std(np.log(errors)) > 0.02
    assert np.median(errors) == pytest.approx(100 - expected.test, rel=0.1)


def test_noise_is_that_of_one_run(table: CurveTable) -> None:
    levels, noise = seed_noise(table)
    assert noise.shape == (len(levels), table.epochs + 1)
    runs = table.runs.groupby("notation", sort=False)["test_accuracy"].apply(list)
    first = next(pair for pair in runs if len(pair) == 2)
    difference = np.log(100 - first[0]) - np.log(100 - first[1])
    assert noise[0, -1] == pytest.approx(difference / np.sqrt(2))


@pytest.mark.parametrize(
    "notation",
    [
        "c4r-g-c10k1",
        "c4rn-m2-d-c4k1rn-g-c10k1",
        "c8rn-m2-c4k1rn-c8rnx0.05-m2-c8-g-c16k1r-c10k1",
        "c8rn-m2-c8-m2-c8-m2-c8p1-c8p1-g-c10k1",
    ],
)
def test_every_network_has_as_many_features(notation: str) -> None:
    values = features(parse_notation(notation), 0.1)
    assert len(values) == 19
    assert all(np.isfinite(values))


def test_features_tell_what_matters() -> None:
    plain, squeezed = (
        features(parse_notation(text), 0.1)
        for text in ("c8rn-m2-c8rn-g-c10k1", "c8rn-m2-c4k1rn-c8rn-g-c10k1")
    )
    assert plain[8] == 0 and squeezed[8] == 1

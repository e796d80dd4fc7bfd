"""What the posterior says of networks whose true accuracy is known."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from nas_mnist.networks.architecture import Limit, format_notation
from nas_mnist.search.posterior import Network, Observation, Posterior
from nas_mnist.search.space import DEFAULT

NOISE = 0.12  # of the logarithm of the error


def drawn(count: int, seed: int) -> list[Network]:
    draws, found = random.Random(seed), []
    for number in range(count):
        point = DEFAULT.point({"fill": DEFAULT.spread_fill(seed, number)})
        point["peak_learning_rate"] = math.exp(draws.uniform(math.log(0.05), math.log(0.8)))
        point["pools"] = draws.choice([1, 2, 3])
        architecture = DEFAULT.decode(point, Limit(8000))
        found.append(Network(format_notation(architecture), point, architecture.parameters))
    return found


def true_error(network: Network) -> float:
    """Percent: falls with the size, least at a rate of 0.2 and two pools."""
    rate = math.log(network.point["peak_learning_rate"] / 0.2)
    worse = 0.15 * rate**2 + 0.2 * abs(network.point["pools"] - 2)
    return float(1.2 * (network.parameters / 1000) ** -0.4 * math.exp(worse))


def run(network: Network, draws: random.Random, fold: int = 0, shift: float = 0) -> Observation:
    error = true_error(network) * math.exp(draws.gauss(shift, NOISE))
    return Observation(network, 100 - error, fold)


@pytest.fixture(scope="module")
def networks() -> list[Network]:
    return drawn(60, seed=3)


def errors(posterior: Posterior, networks: list[Network]) -> np.ndarray:
    return np.array([100 - found.mean for found in posterior.estimates(networks)])


def test_it_is_nearer_to_the_truth_than_a_single_run(networks: list[Network]) -> None:
    draws = random.Random(1)
    runs = [run(network, draws) for network in networks]
    truth = np.log([true_error(network) for network in networks])
    single = np.log([100 - own.accuracy for own in runs]) - truth
    found = np.log(errors(Posterior(runs, DEFAULT.distributions), networks)) - truth
    assert np.abs(found).mean() < 0.6 * np.abs(single).mean()
    assert abs(found.mean()) < 0.04  # neither flatters nor belittles


def test_its_deviation_is_that_of_its_mistakes(networks: list[Network]) -> None:
    draws = random.Random(2)
    posterior = Posterior([run(own, draws) for own in networks[:40]], DEFAULT.distributions)
    for some in (networks[:40], networks[40:]):  # observed, and not
        found = posterior.estimates(some)
        misses = [
            (own.mean - 100 + true_error(n)) / own.sd for own, n in zip(found, some, strict=True)
        ]
        assert 0.4 < float(np.sqrt(np.mean(np.square(misses)))) < 2.5


def test_reruns_on_an_easier_fold_do_not_flatter(networks: list[Network]) -> None:
    """Of five networks, four runs each on folds where all make a third fewer mistakes."""
    draws = random.Random(3)
    runs = [run(network, draws) for network in networks]
    reruns = [run(own, draws, fold=f, shift=-0.4) for own in networks[:5] for f in (1, 2, 3, 4)]
    found = np.log(errors(Posterior(runs + reruns, DEFAULT.distributions), networks))
    off = found - np.log([true_error(network) for network in networks])
    assert abs(off[:5].mean() - off[5:].mean()) < 0.1


def test_reruns_make_it_surer(networks: list[Network]) -> None:
    draws = random.Random(4)
    runs = [run(network, draws) for network in networks]
    more = [run(networks[7], draws, fold) for fold in (1, 2, 3, 4, 5)]
    before, after = (
        Posterior(known, DEFAULT.distributions).estimates(networks[7:8])[0].sd
        for known in (runs, runs + more)
    )
    assert after < before


def test_unfinished_runs_count_less(networks: list[Network]) -> None:
    draws = random.Random(5)
    runs = [run(network, draws) for network in networks[:20]]
    wrong = Observation(networks[0], 50.0, variance=25.0)
    found, given = (
        errors(Posterior(known, DEFAULT.distributions), networks[:20])
        for known in (runs, [*runs, wrong])
    )
    assert np.abs(np.log(found / given)).mean() < 0.2


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_of_few_runs(networks: list[Network], count: int) -> None:
    draws = random.Random(6)
    runs = [run(network, draws) for network in networks[:count]]
    posterior = Posterior(runs, DEFAULT.distributions)
    for own, found in zip(runs, posterior.estimates(networks[:count]), strict=True):
        assert abs(found.mean - own.accuracy) < 1
        assert 0 < found.sd < 1


def test_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least"):
        Posterior([], DEFAULT.distributions)


def test_perfect_runs(networks: list[Network]) -> None:
    """Toy data: no mistakes at all."""
    runs = [Observation(network, 100.0) for network in networks[:10]]
    found = Posterior(runs, DEFAULT.distributions).estimates(networks)
    assert all(99.9 < own.mean <= 100 for own in found)


def test_what_is_left_out_is_predicted_by_the_rest(networks: list[Network]) -> None:
    """In one step, as by a process without those runs, of the same kernel."""
    draws, few = random.Random(5), networks[:9]
    runs = [run(network, draws, fold) for fold in range(3) for network in few]
    posterior = Posterior(runs, DEFAULT.distributions)
    found = posterior.left_out(lambda own: own.network.key if own.fold else None)
    assert len(found) == 2 * len(few)
    process, known = posterior._process, posterior._observed
    whole = process.kernel_(process.X_train_) + np.diag(process.alpha)
    for network in few:
        mine = [at for at, own in enumerate(known) if own.network == network and own.fold]
        rest = [at for at in range(len(known)) if at not in mine]
        told = whole[np.ix_(mine, rest)] @ np.linalg.solve(
            whole[np.ix_(rest, rest)], process.y_train_[rest]
        )
        expected = 100 - np.exp(told * posterior._scale + posterior._mean)
        assert [own for seen, own in found if seen.network == network] == pytest.approx(expected)

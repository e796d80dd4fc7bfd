"""Searches on networks whose true errors are known, and who is rerun and chosen after them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from sklearn.ensemble import ExtraTreesRegressor

from nas_mnist.execution.records import StudyRecord
from nas_mnist.execution.reruns import fold_of
from nas_mnist.networks.architecture import Limit, format_notation
from nas_mnist.search.front import front_indices, hypervolume, on_log_scale
from nas_mnist.search.posterior import Network, Observation, Posterior
from nas_mnist.search.sampler import SearchSampler
from nas_mnist.search.selection import contenders, rungs
from nas_mnist.search.space import DEFAULT

_TREES, _LEAF = 300, 3  # of a forest: how many, and networks in a leaf at least
_REFERENCE_ACCURACY = 10.0  # of a hypervolume, as in pruner_simulation
_OWN, _FOLD, _ORDER = range(-1, -4, -1)  # what random numbers are for, beside runs


class Noise(NamedTuple):
    run: float  # standard deviations of the logarithm of the error: of a run around its network's
    own: float  # mean, of this mean around what the choices say,
    fold: float  # and of what all runs on a fold have in common


class Truth:
    """The logarithm of any network's error: the mean that a real study's posterior has of one with
    its choices that was not observed, and so has nothing of its own. If `forest`, what a forest of
    random trees says, which is no Gaussian process, as are the choice and one of the samplers."""

    def __init__(self, record: StudyRecord, forest: bool = False) -> None:
        trials = record.trials(optuna.trial.TrialState.COMPLETE)
        self.kinds: dict[str, BaseDistribution] = trials[-1].distributions
        self.budget = record.spec.budget
        networks = [Network(own.number, own.params, int(own.values[0])) for own in trials]
        runs = [Observation(n, own.values[1]) for n, own in zip(networks, trials, strict=True)]
        self._posterior = None if forest else Posterior(runs, self.kinds)
        self._forest = ExtraTreesRegressor(_TREES, min_samples_leaf=_LEAF, random_state=0)
        if forest:
            errors = [on_log_scale(1, own.accuracy)[1] for own in runs]
            self._forest.fit([self._inputs(network) for network in networks], errors)

    def log_error(self, network: Network) -> float:
        if self._posterior:
            return float(self._posterior.moments([network._replace(key="")])[0][0])
        return float(self._forest.predict([self._inputs(network)])[0])

    def _inputs(self, network: Network) -> list[float]:
        values = [math.log(network.parameters)]
        for name, kind in self.kinds.items():
            values.append(kind.to_internal_repr(network.point[name]))
        return values


@dataclass
class Search:
    """Networks tried, in order, with a run of each; and runs made since."""

    truth: Truth
    noise: Noise
    seed: int
    networks: list[Network] = field(default_factory=list)
    truths: list[float] = field(default_factory=list)
    runs: list[Observation] = field(default_factory=list)

    def until(self, trials: int) -> Search:
        own = (self.networks[:trials], self.truths[:trials], self.runs[:trials])
        return Search(self.truth, self.noise, self.seed, *own)

    def run(self, at: int) -> None:
        """Of the network at this index, once more: its second run is the same whoever asks for it,
        so that the rules are compared on the same luck."""
        number = sum(own.network.key == at for own in self.runs)
        fold = fold_of(number)
        shift = self.noise.fold * _draws(self.seed, _FOLD, fold).normal()
        error = self.truths[at] + shift + self.noise.run * _draws(self.seed, at, number).normal()
        self.runs.append(Observation(self.networks[at], 100 - min(math.exp(error), 100.0), fold))

    def means(self) -> list[float]:
        posterior = Posterior(self.runs, self.truth.kinds)
        return [own.mean for own in posterior.estimates(self.networks)]

    def front(self, accuracies: Sequence[float]) -> list[int]:
        pairs = zip(self.networks, accuracies, strict=True)
        return front_indices([(own.parameters, accuracy) for own, accuracy in pairs])

    def counted(self, accuracies: Sequence[float], sizes: Sequence[int]) -> dict[str, float]:
        """True values of the choice by these accuracies: for each size the error of the best of the
        front, and how far its logarithm is above the least one tried; the geometric mean of these
        errors; and the hypervolume of the front."""
        front, found = self.front(accuracies), dict[str, float]()
        for size in sizes:
            chosen = [at for at in front if self.networks[at].parameters <= size][-1]
            fits = (at for at, own in enumerate(self.networks) if own.parameters <= size)
            found[f"error_{size}"] = math.exp(self.truths[chosen])
            found[f"regret_{size}"] = self.truths[chosen] - min(self.truths[at] for at in fits)
        found["error"] = math.exp(np.mean([math.log(found[f"error_{size}"]) for size in sizes]))
        shown = [(self.networks[at].parameters, 100 - math.exp(self.truths[at])) for at in front]
        found["hypervolume"] = hypervolume(shown, (2 * self.truth.budget, _REFERENCE_ACCURACY))
        return found


def searched(truth: Truth, name: str, trials: int, seed: int, noise: Noise) -> Search:
    """A whole search as `search` does it without a pruner."""
    limit, search = Limit(truth.budget), Search(truth, noise, seed)
    sampler = SearchSampler(name, seed, DEFAULT, limit)
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
    for point in DEFAULT.first_points(limit)[:trials]:
        study.enqueue_trial(point)
    for number in range(trials):
        trial = study.ask()
        point = DEFAULT.suggest(trial)
        architecture = DEFAULT.decode(point, limit)
        size, notation = architecture.parameters, format_notation(architecture)
        trial.set_user_attr("notation", notation)
        trial.set_constraint("parameters", size - truth.budget)
        own = _draws(seed, _OWN, crc32(f"{notation} {point['peak_learning_rate']}".encode()))
        search.networks.append(Network(number, {name: point[name] for name in truth.kinds}, size))
        search.truths.append(truth.log_error(search.networks[-1]) + noise.own * own.normal())
        search.run(number)
        study.tell(trial, (size, search.runs[-1].accuracy))
    return search


def _by_gain(search: Search, reruns: int) -> None:
    """Rung by rung those whose rerun raises the front most, as `search` does it."""
    sizes = np.log([float(own.parameters) for own in search.networks])
    while reruns:
        for runs, most in rungs(reruns):
            posterior = Posterior(search.runs, search.truth.kinds)
            known = posterior.moments(search.networks)
            chosen = contenders(sizes, *known, posterior.noise, runs, most)
            reruns -= len(chosen)
            for at in chosen:
                search.run(at)


def _at_random(search: Search, reruns: int) -> None:
    """Networks drawn from the front of single runs."""
    front = search.front([own.accuracy for own in search.runs])
    for at in _draws(search.seed, _ORDER).choice(front, reruns):
        search.run(int(at))


def _in_turn(search: Search, reruns: int) -> None:
    """The networks on the front of posterior means, each as often as the others."""
    order = _draws(search.seed, _ORDER).permutation(search.front(search.means()))
    for number in range(reruns):
        search.run(int(order[number % len(order)]))


RULES = {"gain": _by_gain, "at random": _at_random, "in turn": _in_turn}


def _draws(*key: int) -> np.random.Generator:
    return np.random.default_rng([number % 2**32 for number in key])

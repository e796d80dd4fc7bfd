"""What draws the points of a search."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas_mnist.errors import RequestError
from nas_mnist.lookup import find
from nas_mnist.networks.architecture import Limit, format_notation
from nas_mnist.search.front import on_log_scale
from nas_mnist.search.space import Space
from nas_mnist.training.recipe import derived_seed

# A sampler that has settled on a small network repeats it many times over; after so many draws
# the repeat is run, as a replicate with a seed of its own.
_DRAWS = 20


class Method(NamedTuple):
    """One of Optuna's samplers, and what it is shown."""

    make: Callable[[int], BaseSampler]
    """of a seed"""
    on_logarithms: bool = False
    """TPE ranks trials by the hypervolume that they add, which on plain scales is nearly all at
    the large and the inaccurate end of the front"""
    spread_sizes: bool = False
    """`fill` is spread evenly over its range instead: every size has its place on the front, and
    a sampler settles on some"""


SAMPLERS: dict[str, Method] = {
    "tpe-spread": Method(lambda seed: TPESampler(seed=seed), True, True),
    "tpe-log": Method(lambda seed: TPESampler(seed=seed), True),
    "tpe": Method(lambda seed: TPESampler(seed=seed)),
    "tpe-multivariate": Method(lambda seed: TPESampler(seed=seed, multivariate=True)),
    "nsga2": Method(lambda seed: NSGAIISampler(seed=seed)),
    "gp": Method(lambda seed: GPSampler(seed=seed, warn_independent_sampling=False)),
    "random": Method(lambda seed: RandomSampler(seed=seed)),
}


def find_sampler(text: str) -> Method:
    """The sampler of that name; or `module:attribute` or a given object: an Optuna sampler, or
    what makes one of `seed=`. RequestError for others."""
    found = find("--sampler", text, SAMPLERS)
    if isinstance(found, Method):
        return found
    method = Method(lambda seed: found if isinstance(found, BaseSampler) else found(seed=seed))
    try:
        made = method.make(0)
        if not isinstance(made, BaseSampler):
            raise TypeError(f"it makes a {type(made).__name__}, not an Optuna sampler")
    except TypeError as error:
        raise RequestError(f"--sampler {text!r}: {' '.join(str(error).split())}") from None
    return method


class SearchSampler(BaseSampler):
    """Draws whole points of a space for a study of (parameters, accuracy in percent).

    - What it draws for a trial depends on `seed`, on the trial's number and on the study so far,
      not on the process: a resumed search goes on as it would have.
    - A point that decodes to a network already tried is drawn again, unless `distinct` is False.
      Networks that diverged do not count as tried: another learning rate may do.
    """

    def __init__(
        self, name: str, seed: int, space: Space, limit: Limit, *, distinct: bool = True
    ) -> None:
        """`name`: see `find_sampler`; `limit`: what networks are within."""
        self._method = find_sampler(name)
        self._seed = seed
        self._space = space
        self._limit = limit
        self._distinct = distinct

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        return self._space.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Any
    ) -> dict[str, Any]:
        sampler = self._method.make(derived_seed(self._seed, trial.number))
        others = [own for own in study.get_trials(deepcopy=False) if own.number != trial.number]
        begun = [own for own in others if own.state != TrialState.FAIL and self._distinct]
        tried = {str(own.user_attrs.get("notation")) for own in begun}
        view = _log_view(study) if self._method.on_logarithms else study
        for _ in range(_DRAWS):
            point = self._draw(sampler, view, trial)
            if self._method.spread_sizes:
                point["fill"] = self._space.spread_fill(self._seed, trial.number)
            if format_notation(self._space.decode(point, self._limit)) not in tried:
                break
        return point

    def sample_independent(
        self, study: Any, trial: Any, param_name: str, param_distribution: Any
    ) -> Any:
        raise ValueError(f"{param_name} is not of the search space")

    def _draw(
        self, sampler: BaseSampler, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, Any]:
        space = sampler.infer_relative_search_space(study, trial)
        point = dict(sampler.sample_relative(study, trial, space))
        for name, distribution in self._space.distributions.items():
            if name not in point:
                point[name] = sampler.sample_independent(study, trial, name, distribution)
        return point


def _log_view(study: optuna.Study) -> optuna.Study:
    """The study as it is now, with the logarithms of parameters and error to be minimized."""
    storage = _FixedTrials()
    storage.trials = [_scaled(trial) for trial in study.get_trials(deepcopy=False)]
    storage.create_new_study([StudyDirection.MINIMIZE, StudyDirection.MINIMIZE], "logarithms")
    return optuna.load_study(study_name="logarithms", storage=storage)


def _scaled(trial: FrozenTrial) -> FrozenTrial:
    scaled = copy.copy(trial)
    if trial.state == TrialState.COMPLETE:
        scaled.values = list(on_log_scale(*trial.values))
    return scaled


class _FixedTrials(InMemoryStorage):
    """Shows a study trials that were made elsewhere."""

    trials: list[FrozenTrial]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Any = None
    ) -> list[FrozenTrial]:
        trials = [trial for trial in self.trials if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

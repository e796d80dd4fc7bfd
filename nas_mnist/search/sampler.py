"""What draws the points of a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nas_mnist.arch.notation import format_notation
from nas_mnist.search.space import SPACE, sample_of

# A sampler that has settled on a small network repeats it many times over; after so many draws
# the repeat is run, as a replicate with a seed of its own.
_DRAWS = 20

SAMPLER = "tpe"
"""what `search` draws with"""
SAMPLERS = ("tpe", "tpe-multivariate", "nsga2", "gp", "random")


def make_sampler(name: str, seed: int) -> BaseSampler:
    """Optuna's sampler of this name; KeyError for a name not of SAMPLERS."""
    match name:
        case "tpe":
            return TPESampler(seed=seed)
        case "tpe-multivariate":
            return TPESampler(seed=seed, multivariate=True)
        case "nsga2":
            return NSGAIISampler(seed=seed)
        case "gp":
            return GPSampler(seed=seed, warn_independent_sampling=False)
        case "random":
            return RandomSampler(seed=seed)
    raise KeyError(name)


class DistinctSampler(BaseSampler):
    """Draws from `sampler` until the point decodes to a network that the study has not tried.

    Tried are all networks that trials have begun and that did not diverge: those might do better
    at another learning rate. Learning rates apart, points of different parameters may well decode
    to the same network. It draws the whole of SPACE at once.
    """

    def __init__(self, sampler: BaseSampler, budget: int) -> None:
        self._sampler = sampler
        self._budget = budget

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return SPACE

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        tried = {
            other.user_attrs.get("notation")
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and other.state != TrialState.FAIL
        }
        for _ in range(_DRAWS):
            point = self._draw(study, trial)
            if format_notation(sample_of(point).architecture(self._budget)) not in tried:
                break
        return point

    def _draw(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        space = self._sampler.infer_relative_search_space(study, trial)
        point = dict(self._sampler.sample_relative(study, trial, space))
        for name, distribution in SPACE.items():
            if name not in point:
                point[name] = self._sampler.sample_independent(study, trial, name, distribution)
        return point

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._sampler.reseed_rng()

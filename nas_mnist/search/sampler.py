"""What draws the points of a search."""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas_mnist.networks.notation import format_notation
from nas_mnist.search.front import on_log_scale
from nas_mnist.search.space import SPACE, sample_of, spread_fill
from nas_mnist.training.seeds import derived_seed

SAMPLERS = ("tpe-spread", "tpe-log", "tpe", "tpe-multivariate", "nsga2", "gp", "random")
SAMPLER = "tpe-spread"
"""what `search` draws with"""

# A sampler that has settled on a small network repeats it many times over; after so many draws
# the repeat is run, as a replicate with a seed of its own.
_DRAWS = 20


class SearchSampler(BaseSampler):
    """Draws whole points of SPACE for a study of (parameters, accuracy in percent).

    - What it draws for a trial depends on `seed`, on the trial's number and on the study so far,
      not on the process: a resumed search goes on as it would have.
    - `tpe-log` is Optuna's TPE on logarithms. TPE ranks trials by the hypervolume that they add,
      which on plain scales is nearly all at the large and the inaccurate end of the front.
    - `tpe-spread` is the same, but for the sizes, which are spread evenly over the budget's range
      instead: every size has its place on the front, and TPE settles on some.
    - A point that decodes to a network already tried is drawn again, unless `distinct` is False.
      Networks that diverged do not count as tried: another learning rate may do.
    """

    def __init__(self, name: str, seed: int, budget: int, *, distinct: bool = True) -> None:
        """`name`: one of SAMPLERS."""
        self._name = name
        self._seed = seed
        self._budget = budget
        self._distinct = distinct

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return SPACE

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        sampler = _optuna_sampler(self._name, derived_seed(self._seed, trial.number))
        tried = _tried(study, trial) if self._distinct else frozenset[str]()
        view = _log_view(study) if self._name in ("tpe-log", "tpe-spread") else study
        for _ in range(_DRAWS):
            point = _draw(sampler, view, trial)
            if self._name == "tpe-spread":
                point["fill"] = spread_fill(self._seed, trial.number)
            if format_notation(sample_of(point).architecture(self._budget)) not in tried:
                break
        return point

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        raise ValueError(f"{param_name} is not of the search space")


def _optuna_sampler(name: str, seed: int) -> BaseSampler:
    match name:
        case "tpe" | "tpe-log" | "tpe-spread":
            return TPESampler(seed=seed)
        case "tpe-multivariate":
            return TPESampler(seed=seed, multivariate=True)
        case "nsga2":
            return NSGAIISampler(seed=seed)
        case "gp":
            return GPSampler(seed=seed, warn_independent_sampling=False)
        case "random":
            return RandomSampler(seed=seed)
    raise ValueError(f"no sampler {name!r}")


def _draw(sampler: BaseSampler, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
    space = sampler.infer_relative_search_space(study, trial)
    point = dict(sampler.sample_relative(study, trial, space))
    for name, distribution in SPACE.items():
        if name not in point:
            point[name] = sampler.sample_independent(study, trial, name, distribution)
    return point


def _tried(study: optuna.Study, trial: FrozenTrial) -> Container[str]:
    """Notations of the networks that other trials have begun."""
    return {
        str(other.user_attrs.get("notation"))
        for other in study.get_trials(deepcopy=False)
        if other.number != trial.number and other.state != TrialState.FAIL
    }


def _log_view(study: optuna.Study) -> optuna.Study:
    """The study as it is now, with the logarithms of parameters and error to be minimized."""
    trials = [_scaled(trial) for trial in study.get_trials(deepcopy=False)]
    storage = _FixedTrials(trials)
    storage.create_new_study([StudyDirection.MINIMIZE, StudyDirection.MINIMIZE], "logarithms")
    return optuna.load_study(study_name="logarithms", storage=storage)


def _scaled(trial: FrozenTrial) -> FrozenTrial:
    if trial.state != TrialState.COMPLETE:
        return trial
    parameters, accuracy = trial.values
    scaled = copy.copy(trial)
    scaled.values = list(on_log_scale(parameters, accuracy))
    return scaled


class _FixedTrials(InMemoryStorage):
    """Shows a study trials that were made elsewhere."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        super().__init__()
        self._fixed = trials

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Sequence[TrialState] | None = None,  # type: ignore[override]
    ) -> list[FrozenTrial]:
        trials = [trial for trial in self._fixed if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

"""What draws the points of a search."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

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
from nas_mnist.search.prediction import expected_ends
from nas_mnist.search.space import Space
from nas_mnist.training.recipe import derived_seed

_DRAWS = 20  # after so many a repeat is run, as a replicate with a seed of its own

SAMPLERS: dict[str, Callable[..., BaseSampler]] = {  # what makes each of `seed=`
    "tpe-spread": TPESampler,
    "tpe-log": TPESampler,
    "tpe": TPESampler,
    "tpe-multivariate": partial(TPESampler, multivariate=True),
    "nsga2": NSGAIISampler,
    "gp-log": partial(GPSampler, warn_independent_sampling=False),
    "gp": partial(GPSampler, warn_independent_sampling=False),
    "random": RandomSampler,
}
# Hypervolume on plain scales is nearly all at the large and the inaccurate end of the front: these
# are shown logarithms. And TPE settles on some sizes, while every size has its place: "tpe-spread"
# spreads `fill` evenly over its range.
_ON_LOGARITHMS = ("tpe-spread", "tpe-log", "gp-log")
_SEEN = 300  # trials, the last, that "gp-log" is shown: with 1,000, a draw takes half a minute


def find_sampler(text: str) -> Any:
    """What makes, of `seed=`, the sampler of that name; or that of `module:attribute` or a given
    object, which may be an Optuna sampler itself. RequestError for others."""
    found: Any = find("--sampler", text, SAMPLERS)
    if isinstance(found, BaseSampler):
        return lambda seed: found
    try:
        made = found(seed=0)
        if not isinstance(made, BaseSampler):
            raise TypeError(f"it makes a {type(made).__name__}, not an Optuna sampler")
    except TypeError as error:
        raise RequestError(f"--sampler {text!r}: {' '.join(str(error).split())}") from None
    return found


@dataclass(eq=False)
class SearchSampler(BaseSampler):
    """Draws whole points of a space for a study of (parameters, accuracy in percent), by `seed`,
    the trial's number and the study so far: a resumed search goes on as it would have. If
    `distinct`, a network already tried is drawn again, unless it diverged: another learning rate
    may do. `means`: the mean accuracy of a trial's runs, by its number, where it has reruns."""

    name: str  # see `find_sampler`
    seed: int
    space: Space
    limit: Limit
    distinct: bool = True
    means: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._make = find_sampler(self.name)

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        return self.space.distributions

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        sampler = self._make(seed=derived_seed(self.seed, trial.number))
        others = [own for own in study.get_trials(deepcopy=False) if own.number != trial.number]
        begun = [own for own in others if own.state != TrialState.FAIL and self.distinct]
        tried = {own.user_attrs.get("notation") for own in begun}
        on_logarithms = self.name in _ON_LOGARITHMS
        if on_logarithms or self.means:
            view = _View(study, self.means, on_logarithms, self.name == "gp-log")
            study = optuna.load_study(study_name=_View.name, storage=view)
        for _ in range(_DRAWS):
            relative = sampler.infer_relative_search_space(study, trial)
            point = dict(sampler.sample_relative(study, trial, relative))
            for name, kind in self.space.distributions.items():
                if name not in point:  # TPE cannot draw from a range of one number
                    draws = RandomSampler() if kind.single() else sampler
                    point[name] = draws.sample_independent(study, trial, name, kind)
            if self.name == "tpe-spread":
                point["fill"] = self.space.spread_fill(self.seed, trial.number)
            if format_notation(self.space.decode(point, self.limit)) not in tried:
                break
        return point

    def sample_independent(self, study: Any, trial: Any, param_name: str, _: Any) -> Any:
        raise ValueError(f"{param_name} is not of the search space")


class _View(InMemoryStorage):
    """The trials of a study as they are now, with these mean accuracies in place of single runs',
    and the logarithms of parameters and error if that is asked for. A `process` is shown the last
    few, and where pruned ones would have ended, for it would draw the like again. It is not told
    that all keep the budget: it would learn to keep away from it."""

    name = "view"

    def __init__(self, study: Any, means: Mapping[int, float], logs: bool, process: bool) -> None:
        super().__init__()
        self._theirs = study._storage
        self._shown = [copy.copy(trial) for trial in study.get_trials(deepcopy=False)]
        if process:
            self._shown = self._shown[-_SEEN:]
            for trial, error, _ in [*expected_ends(self._shown)]:
                values = [trial.user_attrs["parameters"], 100 - math.exp(error)]
                trial.state, trial.values = TrialState.COMPLETE, values
        for trial in self._shown:
            kept = trial.system_attrs.items()
            trial.system_attrs = {key: value for key, value in kept if "constraints" not in key}
            if trial.state == TrialState.COMPLETE:
                parameters, accuracy = trial.values
                accuracy = means.get(trial.number, accuracy)
                pair = on_log_scale(parameters, accuracy), (parameters, accuracy)
                trial.values = list(pair[0 if logs else 1])
        directions = [StudyDirection.MINIMIZE] * 2 if logs else study.directions
        self.create_new_study(directions, self.name)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """What a sampler notes, such as a generation, is kept in the study."""
        self._theirs.set_trial_system_attr(trial_id, key, value)

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> Any:
        trials = [trial for trial in self._shown if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

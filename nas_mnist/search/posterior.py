"""What all runs together say of each network: its accuracy on average over seeds, and how sure that
is. A single run is as much luck as merit: the best of many single runs is mostly the luckiest."""

import math
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from scipy.linalg import cho_solve, solve_triangular
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel

from nas_mnist.search.front import on_log_scale

Floats: TypeAlias = NDArray[np.float64]

_FITTED = 200  # runs that the kernel is fitted to; of more, seconds become minutes
_KNOWN = 2000  # runs that the prediction rests on
_FEW = 6  # runs, below which the kernel keeps its start
_NETWORK, _FOLD = 0, 1  # columns of the process's inputs; then size and choices
_RUN_SD = 0.1  # between seeds, of the logarithm of the error: what the fit starts from


class Network(NamedTuple):
    """What a search knows of a network before it is trained."""

    key: int | str
    """runs of one network have the same"""
    point: Mapping[str, Any]
    """a value for each choice"""
    parameters: int


class Observation(NamedTuple):
    """A finished run of a network."""

    network: Network
    accuracy: float
    """percent, on the validation images"""
    fold: int = 0
    """which sixth of the training images that was"""
    variance: float = 0.0
    """of the logarithm of its error, beside the noise of a run: for one that was not finished"""


class Estimate(NamedTuple):
    """The accuracy of a network on average over seeds and folds, in percent."""

    mean: float
    sd: float


class Posterior:
    """A Gaussian process of the logarithm of the error. It sums what the choices and the logarithm
    of the parameters say (Matérn 5/2, a length for each), what is the network's own, what is the
    fold's, and the noise of a run (Rasmussen, Williams: Gaussian Processes for Machine Learning,
    2006, eq. 2.23 to 2.26, and 5.8 for the fit). An estimate is of the first two.
    """

    def __init__(
        self, observed: Sequence[Observation], distributions: Mapping[str, BaseDistribution]
    ) -> None:
        """ValueError if nothing is observed."""
        if not observed:
            raise ValueError("a posterior takes an observation at least")
        # `fill` says what the parameters say.
        self._distributions = {n: kind for n, kind in distributions.items() if n != "fill"}
        # Reruns are of the networks that matter; of the other runs the last count.
        observed = sorted(observed, key=lambda own: own.fold != 0)[-_KNOWN:]
        keys = dict.fromkeys(own.network.key for own in observed)
        self._numbers = {key: number for number, key in enumerate(keys)}
        self._observed = observed
        inputs = self._inputs(own.network for own in observed)
        inputs[:, _FOLD] = [own.fold for own in observed]
        errors = np.array([_log_error(own) for own in observed])
        self._mean, self._scale = float(errors.mean()), max(float(errors.std()), _RUN_SD)
        targets = (errors - self._mean) / self._scale
        # A millionth keeps the matrix regular.
        variances = np.array([own.variance for own in observed]) / self._scale**2 + 1e-6
        folds = {own.fold for own in observed}
        kernel = self._kernel(
            choices=inputs.shape[1] - 2, repeated=len(keys) < len(observed), folds=len(folds) > 1
        )
        some = slice(-_FITTED, None)
        if len(observed) >= _FEW:
            own = _fitted(kernel, variances[some], inputs[some], targets[some])
            kernel = own.kernel_
        self._process = _fitted(kernel, variances, inputs, targets, optimizer=None)
        # Of the sum an estimate leaves out what was added last: the fold, and the noise.
        fitted = self._process.kernel_.k1
        self._latent = fitted.k1 if len(folds) > 1 else fitted
        self.noise = float(self._process.kernel_.k2.noise_level) * self._scale**2
        """variance of the logarithm of a run's error around its network's"""

    def _kernel(self, choices: int, repeated: bool, folds: bool) -> Any:
        noise = (_RUN_SD / self._scale) ** 2
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * _Choices(
            np.full(choices, 2.0), (0.2, 100.0), nu=2.5
        )
        # Without reruns, what is the network's own cannot be told from noise.
        own = (1e-6, 10.0) if repeated else "fixed"
        kernel += ConstantKernel(noise / 16, own) * _Same(_NETWORK)
        if folds:
            kernel += ConstantKernel(noise / 4, (1e-6, 10.0)) * _Same(_FOLD)
        return kernel + WhiteKernel(noise, (noise / 10, 3.0))

    def estimates(self, networks: Sequence[Network]) -> list[Estimate]:
        """Of networks, observed or not."""
        inputs, means, told = self._predicted(networks)
        variances = (self._latent.diag(inputs) - (told**2).sum(axis=0)) * self._scale**2
        # The error is the exponential of a normal variable: its mean and standard deviation.
        variances = np.maximum(variances, 1e-12)
        errors = np.exp(means + variances / 2)
        found = zip(100 - errors, errors * np.sqrt(np.expm1(variances)), strict=True)
        return [Estimate(float(mean), float(sd)) for mean, sd in found]

    def moments(self, networks: Sequence[Network]) -> tuple[Floats, Floats]:
        """Means (networks,) and covariance (networks, networks) of the logarithms of the errors."""
        inputs, means, told = self._predicted(networks)
        return means, (self._latent(inputs) - told.T @ told) * self._scale**2

    def left_out(
        self, group: Callable[[Observation], Hashable | None]
    ) -> list[tuple[Observation, float]]:
        """Observations, and the accuracy in percent that the others predict of each. Those of one
        `group` are left out together, and those of None never (Rasmussen, Williams, eq. 5.12, of
        several at a time; the kernel stays as it was fitted to all)."""
        groups: dict[Hashable, list[int]] = {}
        for index, own in enumerate(self._observed):
            groups.setdefault(group(own), []).append(index)
        groups.pop(None, None)
        process, found = self._process, []
        inverse = cho_solve((process.L_, True), np.eye(len(self._observed)))
        for indices in groups.values():
            missed = np.linalg.solve(inverse[np.ix_(indices, indices)], process.alpha_[indices])
            for index, own in zip(indices, missed * self._scale, strict=True):
                error = math.exp(_log_error(self._observed[index]) - own)
                found.append((self._observed[index], 100 - error))
        return found

    def _predicted(self, networks: Sequence[Network]) -> tuple[Floats, Floats, Floats]:
        inputs, process = self._inputs(networks), self._process
        shared = self._latent(inputs, process.X_train_)
        means = shared @ process.alpha_ * self._scale + self._mean
        return inputs, means, solve_triangular(process.L_, shared.T, lower=True)

    def _inputs(self, networks: Iterable[Network]) -> Floats:
        """A row a network: its number, the fold, the logarithm of its parameters, its choices. One
        that was not observed has no number."""
        rows = []
        for network in networks:
            number = self._numbers.get(network.key, math.nan)
            values = [number, math.nan, math.log(network.parameters)]
            for name, kind in self._distributions.items():
                values += _unit(network.point[name], kind)
            rows.append(values)
        return np.array(rows)


class _Choices(Matern):  # type: ignore[misc]
    """Of all columns but the first two."""

    def __call__(self, X: Floats, Y: Floats | None = None, eval_gradient: bool = False) -> Any:
        return super().__call__(X[:, 2:], None if Y is None else Y[:, 2:], eval_gradient)


class _Same(Kernel):  # type: ignore[misc]
    """1 for two rows that have the same in this column, 0 for others."""

    def __init__(self, column: int) -> None:
        self.column = column

    def __call__(self, X: Floats, Y: Floats | None = None, eval_gradient: bool = False) -> Any:
        mine, theirs = X[:, self.column], (X if Y is None else Y)[:, self.column]
        same = (mine[:, None] == theirs[None]).astype(float)
        if Y is None:
            np.fill_diagonal(same, 1.0)  # a row that was not observed has nobody else's
        return (same, np.empty((*same.shape, 0))) if eval_gradient else same

    def diag(self, X: Floats) -> Floats:
        return np.ones(len(X))

    def is_stationary(self) -> bool:
        return True


def _fitted(kernel: Any, variances: Floats, inputs: Floats, targets: Floats, **how: Any) -> Any:
    with warnings.catch_warnings():  # a length at its bound: that choice does not matter
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianProcessRegressor(kernel, alpha=variances, **how).fit(inputs, targets)


def _log_error(own: Observation) -> float:
    return on_log_scale(own.network.parameters, own.accuracy)[1]


def _unit(value: Any, kind: Any) -> list[float]:
    """A choice's value within 0 to 1; of a category, one number for each."""
    if isinstance(kind, CategoricalDistribution):
        return [float(value == own) for own in kind.choices]
    scale = math.log if kind.log else float
    low, high = scale(kind.low), scale(kind.high)
    return [(scale(value) - low) / (high - low) if high > low else 0.0]

"""What a network that was never trained would have done: a model of the recorded curves."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from curves import Curve, CurveTable
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from nas_mnist.networks.architecture import Architecture, parse_notation
from nas_mnist.networks.layers.convolution import (
    Conv,
    DepthwiseConv,
    Dropout,
    GlobalAveragePool,
    MaxPool,
)
from nas_mnist.search.front import MIN_LOGGED_ERROR

_FOLDS = 10
# Of the networks trained with two seeds, those whose noise a predicted run may have.
_ALIKE = 15
# Blocks whose widths are told apart; behind the second pool no map is large enough for a third.
_BLOCKS = 3

Floats = npt.NDArray[np.float64]


class HeldOut(NamedTuple):
    """How well the surrogate predicts networks it was not fitted on (10 folds by network)."""

    networks: int
    log_error_rmse: float
    """of the final validation error's natural logarithm; 0.1 is about 10% of the error"""
    log_error_sd: float
    """of what is to be predicted"""
    noise_sd: float
    """of what no surrogate can predict: between seeds, likewise"""
    spearman: float
    """rank correlation of predicted and measured final validation error"""
    spearman_first_epoch: float


class Surrogate:
    """A Gaussian process on what the networks and their learning rates are, for the logarithm of
    the error after every epoch and on the test images; and the measured noise between seeds."""

    def __init__(self, table: CurveTable) -> None:
        self.table = table
        rows = table.runs.to_dict("records")
        self._inputs = np.array([_row_features(row) for row in rows])
        self._targets = _log_errors(table)
        self._model = _fitted(self._inputs, self._targets)
        self._noise_levels, self._noise = seed_noise(table)

    def expected(self, architecture: Architecture, learning_rate: float) -> Curve:
        """The curve without noise."""
        return _curve(self._predicted(architecture, learning_rate))

    def drawn(
        self, architecture: Architecture, learning_rate: float, random: np.random.Generator
    ) -> tuple[Curve, Curve]:
        """A run with one seed's noise, and the curve without."""
        expected = self._predicted(architecture, learning_rate)
        # Poor networks vary more from seed to seed: the noise is that of a network as good.
        distance = np.abs(self._noise_levels - expected[-1])
        alike = np.argsort(distance, kind="stable")[:_ALIKE]
        noise = self._noise[random.choice(alike)] * random.choice((-1.0, 1.0))
        return _curve(expected + noise), _curve(expected)

    def held_out(self) -> HeldOut:
        """Compare each network's measured curve with what a fit without it predicts."""
        groups = self.table.runs["notation"].to_numpy()
        folds = min(_FOLDS, len(set(groups)))
        predicted = np.empty_like(self._targets)
        for rest, held in GroupKFold(folds).split(self._inputs, groups=groups):
            # Each fold chooses its own lengths, from where the fit on all networks ended.
            start = self._model[-1].kernel_
            model = _fitted(self._inputs[rest], self._targets[rest], start)
            predicted[held] = model.predict(self._inputs[held])
        final, measured = predicted[:, -2], self._targets[:, -2]
        return HeldOut(
            networks=len(set(groups)),
            log_error_rmse=float(np.sqrt(np.mean((final - measured) ** 2))),
            log_error_sd=float(measured.std()),
            noise_sd=float(np.sqrt(np.mean(self._noise[:, -2] ** 2))),
            spearman=_rank_correlation(final, measured),
            spearman_first_epoch=_rank_correlation(predicted[:, 0], self._targets[:, 0]),
        )

    def _predicted(self, architecture: Architecture, learning_rate: float) -> Floats:
        inputs = np.array([features(architecture, learning_rate)])
        predicted: Floats = self._model.predict(inputs)[0]
        return predicted


def features(architecture: Architecture, learning_rate: float) -> list[float]:
    """What the surrogate knows of a run: its size, the depth and widths of each block, what
    kinds of layers it has, and the peak learning rate."""
    body: list[list[Conv]] = [[]]
    head: list[Conv] = []
    first_field = 0
    rates = [0.0]
    for cost in architecture.costs:
        match cost.layer:
            case MaxPool():
                first_field = first_field or cost.receptive_field
                body.append([])
            case Conv() as conv if not head:
                body[-1].append(conv)
            case GlobalAveragePool():
                head.append(Conv(body[-1][-1].out))
            case Conv() as conv:
                head.append(conv)
            case Dropout() as dropout:
                rates.append(dropout.p)
    blocks = []
    for block in body[:_BLOCKS] + [[]] * (_BLOCKS - len(body)):
        widths = [conv.out for conv in block]
        blocks += [len(block), math.log1p(max(widths, default=0)), math.log1p(sum(widths[:1]))]
    return [
        math.log(architecture.parameters),
        math.log(architecture.macs),
        math.log(architecture.receptive_field),
        math.log(learning_rate),
        max(rates),
        len(body),
        first_field,
        any(isinstance(layer, DepthwiseConv) for layer in architecture.layers),
        len(body) > 1 and body[1][0].kernel == 1,
        math.log(head[-2].out / head[0].out) + 1 if len(head) > 2 else 0.0,
        *blocks,
    ]


def seed_noise(table: CurveTable) -> tuple[Floats, Floats]:
    """Of the networks trained with two seeds, the mean logarithm of the test error (pairs,), and
    (pairs, epochs + 1) what one run's log errors differ from another's, scaled to the noise of a
    single run; the last column is the test error's."""
    targets = _log_errors(table)
    indices = table.runs.groupby("notation", sort=False).indices.values()
    pairs = [index[:2] for index in indices if len(index) > 1]
    levels = np.array([targets[pair, -1].mean() for pair in pairs])
    return levels, np.array([(targets[one] - targets[two]) / math.sqrt(2) for one, two in pairs])


def _row_features(row: Mapping[Any, Any]) -> list[float]:
    return features(parse_notation(row["notation"]), row["peak_learning_rate"])


def _log_errors(table: CurveTable) -> Floats:
    accuracies = table.runs[[*table.accuracy_columns, "test_accuracy"]].to_numpy(float)
    errors: Floats = np.log(np.maximum(100 - accuracies, MIN_LOGGED_ERROR))
    return errors


def _rank_correlation(one: Floats, other: Floats) -> float:
    """Spearman's."""
    return float(pd.Series(one).rank().corr(pd.Series(other).rank()))


def _curve(log_errors: Floats) -> Curve:
    accuracies = np.clip(100 - np.exp(log_errors), 0, 100).tolist()
    return Curve(accuracies[:-1], accuracies[-1])


def _fitted(inputs: Floats, targets: Floats, start: Kernel | None = None) -> Pipeline:
    kernel = start or (
        ConstantKernel() * Matern(np.ones(inputs.shape[1]), (0.1, 1e3), nu=2.5)
        + WhiteKernel(0.1, (1e-3, 10))
    )
    # A feature that tells nothing gets a length without bound, which is as it should be.
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), process).fit(inputs, targets)

"""Who is rerun: where the posterior is in doubt, and the front would gain by knowing better."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from nas_mnist.search.posterior import Floats

# Successive halving: of the reruns' total, what a rung spends, and the most that one network gets
# in it (16 × 1, 8 × 1, 4 × 2 and 2 × 4 of forty).
_RUNGS = ((0.4, 1), (0.2, 1), (0.2, 2), (0.2, 4))
_CONTENDERS = 300  # at most that many are weighed against each other
_DOUBT = 2.0  # standard deviations within which a network could still be on the front
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def rungs(reruns: int) -> list[tuple[int, int]]:
    """Runs of each rung, and how many of them one network may get (Karnin, Koren, Somekh: Almost
    optimal exploration in multi-armed bandits, 2013)."""
    found, left = [], reruns
    for share, most in _RUNGS:
        if runs := min(left, round(share * reruns) or 1):
            found.append((runs, most))
            left -= runs
    return [(runs + (left if at == 0 else 0), most) for at, (runs, most) in enumerate(found)]


def contenders(
    sizes: Floats, means: Floats, covariance: Floats, noise: float, runs: int, most: int
) -> list[int]:
    """The networks that the next `runs` reruns are best spent on, at most `most` on each: indices,
    as often as each is to be rerun.

    Each is the one whose rerun raises the front most on average, once those before it are known:
    the knowledge gradient (Frazier, Powell, Dayanik: The knowledge-gradient policy for correlated
    normal beliefs, 2009) of the area below the front, sizes and errors on logarithmic scales. What
    is undoubtedly on the front, or off it, gains nothing by a rerun.

    Args:
        sizes: logarithms of the parameters, (networks,).
        means, covariance: of the logarithms of the errors, (networks,) and (networks, networks).
        noise: variance of the logarithm of a run's error around its network's.
        runs, most: how many reruns in all, and of one network.
    """
    order = np.argsort(sizes, kind="stable")
    doubt = np.minimum.accumulate(means[order]) - means[order]
    doubt = doubt / np.sqrt(np.maximum(np.diag(covariance)[order], 1e-12))
    near = order[np.sort(np.argsort(-doubt, kind="stable")[:_CONTENDERS])]
    near = near[np.isin(near, order[doubt > -_DOUBT])]
    if len(near) == 0:
        return []
    # As if the largest had twice its size: else a better one of that size would gain nothing.
    widths = np.diff(sizes[near], append=sizes[near[-1]] + np.log(2))
    means, covariance = means[near], covariance[np.ix_(near, near)].copy()
    counts, chosen = np.zeros(len(near), int), list[int]()
    while len(chosen) < runs and counts.min() < most:
        gains = np.where(counts < most, _gains(widths, means, covariance, noise), -np.inf)
        best = int(gains.argmax())
        counts[best] += 1
        chosen.append(int(near[best]))
        told = covariance[best]
        covariance = covariance - np.outer(told, told) / (told[best] + noise)
    return chosen


def apart(means: Sequence[float], deviations: Sequence[float], probability: float) -> list[int]:
    """Of a front, by size: the first, each that is better than the last one taken with that
    `probability`, and the last, which is the best. Means and standard deviations of accuracies."""
    if not means:
        return []
    taken = [0]
    for index in range(1, len(means)):
        doubt = float(np.hypot(deviations[index], deviations[taken[-1]]))
        if norm.cdf((means[index] - means[taken[-1]]) / doubt) >= probability:
            taken.append(index)
    if taken[-1] != len(means) - 1:
        taken.append(len(means) - 1)
    return taken


def _gains(widths: Floats, means: Floats, covariance: Floats, noise: float) -> Floats:
    """By how much the area above the front, (networks,), would shrink by one rerun of each."""
    scales = covariance / np.sqrt(np.diag(covariance) + noise)[:, None]
    told = means + _NODES[:, None, None] * scales  # (nodes, networks, networks)
    areas = np.minimum.accumulate(told, axis=-1) @ widths
    now = np.minimum.accumulate(means) @ widths
    gains: Floats = now - _WEIGHTS @ areas
    return gains

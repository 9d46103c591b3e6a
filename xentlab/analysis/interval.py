"""Means and their 95 % intervals: one sample (`summarise`) and one sample per epoch (`band`).

The interval of a mean is the bias-corrected and accelerated bootstrap, taken at an expanded level. The plain bootstrap
resamples a spread that is too small by (n - 1) / n and reads normal instead of t quantiles, so that at n = 10 it covers
90 % where it promises 95; Hesterberg's expansion replaces z by sqrt(n / (n - 1)) * t and mends both.

A bootstrap interval cannot leave the range of its sample, which misses the centre of a symmetric distribution with
probability 2^(1-n). Below six seeds that alone is more than 5 %, so there the interval is Student's t, and says so.

References:
    Efron, Better bootstrap confidence intervals, 1987.
    Hesterberg, What teachers should know about the bootstrap, 2015.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xentlab.errors import UserError

Array = NDArray[np.float64]
Method = Literal["bca", "t", "constant", "none"]

LEVEL = 0.95
RESAMPLES = 9_999
SMALLEST_BOOTSTRAP = 6


@dataclass(frozen=True)
class Summary:
    """The mean of one sample with its 95 % interval.

    Attributes:
        mean: arithmetic mean, or nan for an empty sample.
        sd: sample standard deviation (n - 1), or nan below two values.
        n: the number of values.
        low, high: ends of the interval, or nan where there is none.
        method: `bca` (expanded BCa bootstrap), `t` (fewer than six values), `constant` (all values equal: the
            interval has no width, and no spread can be learned from it), `none` (fewer than two values).
    """

    mean: float
    sd: float
    n: int
    low: float
    high: float
    method: Method


@dataclass(frozen=True)
class Band:
    """The pointwise mean of several curves with its 95 % t-interval; every field is [E].

    Attributes:
        mean: mean over the curves that have a finite value there, or nan where none has.
        low, high: ends of the interval, or nan where fewer than two curves are finite.
        count: how many curves are finite there; where it drops, the band is that of the survivors.
    """

    mean: Array
    low: Array
    high: Array
    count: NDArray[np.int64]


def summarise(values: ArrayLike, *, seed: int = 0) -> Summary:
    """Mean, standard deviation and 95 % interval of `values` [n], one per seed; `seed` decides the resampling.

    Raises:
        UserError: a value is not finite, or `values` is not one-dimensional.
    """
    sample = finite_vector("values", values)
    n = sample.size
    if n == 0:
        return Summary(math.nan, math.nan, 0, math.nan, math.nan, "none")
    mean = float(sample.mean())
    if n == 1:
        return Summary(mean, math.nan, 1, math.nan, math.nan, "none")
    if is_constant(sample):
        value = float(sample[0])
        return Summary(value, 0.0, n, value, value, "constant")
    sd = float(sample.std(ddof=1))
    if n < SMALLEST_BOOTSTRAP:
        half = float(t_quantile(n - 1, (1 + LEVEL) / 2)) * sd / math.sqrt(n)
        return Summary(mean, sd, n, mean - half, mean + half, "t")
    low, high = bca(sample[None], level=expanded_level(n, LEVEL), seed=seed)
    return Summary(mean, sd, n, float(low[0]), float(high[0]), "bca")


def band(curves: Sequence[Sequence[float | None]] | Array) -> Band:
    """Pointwise mean and 95 % t-interval of `curves` [n, E], over the curves that are finite at each point.

    Args:
        curves: one row per seed, one column per epoch, [n, E]; None, nan and inf mark a trial that had diverged.
    """
    table = np.array(curves, dtype=np.float64).reshape(len(curves), -1)
    finite = np.isfinite(table)
    count = finite.sum(axis=0)
    kept = np.where(finite, table, 0.0)
    mean = np.where(count > 0, kept.sum(axis=0) / np.maximum(count, 1), np.nan)
    squares = (np.where(finite, table - mean, 0.0) ** 2).sum(axis=0)
    known = count > 1
    error = np.sqrt(squares / np.maximum(count - 1, 1) / np.maximum(count, 1))
    half = np.where(known, t_quantile(np.maximum(count - 1, 1), (1 + LEVEL) / 2) * error, np.nan)
    return Band(mean, mean - half, mean + half, count)


def expanded_level(n: int, level: float) -> float:
    """The level at which a bootstrap of `n` values is as wide as their t-interval at `level`."""
    from scipy.special import ndtr

    return float(1 - 2 * ndtr(-math.sqrt(n / (n - 1)) * t_quantile(n - 1, (1 + level) / 2)))


def bca(samples: Array, *, level: float, resamples: int = RESAMPLES, seed: int = 0) -> tuple[Array, Array]:
    """Bias-corrected and accelerated bootstrap interval of the mean of each row of `samples` [T, n].

    Args:
        samples: T samples of n values, none of them constant.
        level: nominal confidence, in (0, 1).
        resamples: bootstrap resamples; all rows share them.
        seed: decides the resampling.

    Returns:
        The lower and the upper ends, each [T].
    """
    from scipy.special import ndtr, ndtri

    n = samples.shape[1]
    mean = samples.mean(axis=1, keepdims=True)
    deviation = samples - mean
    means = mean + deviation @ _resampling(n, resamples, seed)
    # A resample that ties with the sample in exact arithmetic must not be split by rounding.
    slack = 1e-12 * np.abs(deviation).max(axis=1, keepdims=True)
    below = ((means < mean - slack).sum(axis=1) + (means <= mean + slack).sum(axis=1)) / (2 * resamples)
    bias = ndtri(below)
    # The jackknife of a mean leaves deviation / (n - 1); its scale cancels in the acceleration.
    acceleration = (deviation**3).sum(axis=1) / (6 * (deviation**2).sum(axis=1) ** 1.5)
    means.sort(axis=1)

    def quantile(z: float) -> Array:
        share = ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
        position = share * (resamples - 1)
        left = np.minimum(position.astype(np.int64), resamples - 2)
        rows = np.arange(len(samples))
        return means[rows, left] + (position - left) * (means[rows, left + 1] - means[rows, left])

    tail = float(ndtri((1 - level) / 2))
    return quantile(tail), quantile(-tail)


@functools.lru_cache(maxsize=16)
def _resampling(n: int, resamples: int, seed: int) -> Array:
    """Column b holds the share of each of the n values in resample b, [n, resamples]."""
    drawn = np.random.default_rng(seed).integers(0, n, (resamples, n))
    cells = drawn + n * np.arange(resamples)[:, None]
    shares = np.bincount(cells.ravel(), minlength=n * resamples).reshape(resamples, n).T / n
    shares.setflags(write=False)
    return shares


def t_quantile(freedom: ArrayLike, share: float) -> Array:
    """Quantile of Student's t at `share` for `freedom` degrees of freedom."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(np.asarray(freedom, dtype=np.float64), share))


def is_constant(sample: Array) -> bool:
    """Whether the values differ by no more than rounding."""
    return bool(np.ptp(sample) <= 1e-14 * np.abs(sample).max(initial=0.0))


def finite_vector(name: str, values: ArrayLike) -> Array:
    """`values` as a float64 vector; refuses other shapes and values that are not finite."""
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise UserError(f"{name} must be one-dimensional, got shape {vector.shape}.")
    if not np.isfinite(vector).all():
        raise UserError(f"{name} must be finite, got {vector[~np.isfinite(vector)][0]}; a failed trial is left out.")
    return vector

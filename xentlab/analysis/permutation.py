"""Tests and intervals that assume nothing but exchangeable signs.

If two losses were exchangeable within a seed, every paired difference could as well have had the other sign.
`sign_flip` turns that into a p-value (`sign_flips` for many at once), `flip_below` into a one-sided one against any
bound, and `flip_interval` into the interval of all shifts that the test does not reject, so that the three agree. Small
samples are enumerated; large ones draw from a stated seed.

References:
    Pitman, Significance tests which may be applied to samples from any populations, 1937.
    Hartigan, Using subsample values as typical values, 1969.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import ArrayLike

from xentlab.analysis.interval import LEVEL, Array, finite_vector

LARGEST_EXACT = 24
LARGEST_ENUMERATED = 16
DRAWS = 99_999
_CHUNK = 4096


def sign_flip(differences: ArrayLike, *, seed: int = 0) -> float:
    """Two-sided permutation p-value of mean 0 for paired `differences` [n], over all 2^n assignments of signs.

    p is the share of assignments whose absolute sum is at least that observed. Up to 24 seeds the share is exact;
    beyond, 99,999 random assignments, which `seed` decides, and the observed one are counted.

    Returns:
        p in (0, 1]; nan for n = 0. Its smallest value is 2^(1-k), k the number of differences that are not 0.
    """
    sample = finite_vector("differences", differences)
    return math.nan if sample.size == 0 else float(sign_flips(sample[None], seed=seed)[0])


def sign_flips(rows: Array, *, seed: int = 0) -> Array:
    """`sign_flip` of each of `rows` [T, n], n >= 1, which share their random assignments beyond 24 seeds; [T]."""
    return np.minimum(1.0, 2 * _upper_tails(rows, np.abs(rows.sum(axis=1)), seed))


def flip_below(differences: ArrayLike, bound: float, *, seed: int = 0) -> float:
    """One-sided permutation p-value of "the mean is at least `bound`": a small one says that it lies below.

    p is the share of sign assignments under which the sum of `differences - bound` [n] is at most that observed; bound
    and differences have one unit.

    Returns:
        p in (0, 1]; nan for n = 0. Its smallest value is 2^-k, k the number of differences that are not `bound`.
    """
    rows = bound - finite_vector("differences", differences)[None]
    return math.nan if rows.size == 0 else float(_upper_tails(rows, rows.sum(axis=1), seed)[0])


def _upper_tails(rows: Array, observed: Array, seed: int) -> Array:
    """The share of sign assignments under which the sum of each of `rows` [T, n] is at least `observed` [T]; [T]."""
    sizes = np.abs(rows)
    # Sums of one set of numbers in another order differ by rounding; equal ones must count as equal.
    thresholds = observed - 1e-12 * sizes.sum(axis=1)
    n = rows.shape[1]
    if n <= LARGEST_EXACT:
        return np.array([_exact_tail(row, bound) for row, bound in zip(sizes, thresholds, strict=True)])
    generator, count = np.random.default_rng(seed), np.ones(len(rows))
    for start in range(0, DRAWS, _CHUNK):
        signs = generator.integers(0, 2, (n, min(_CHUNK, DRAWS - start))) * 2.0 - 1.0
        count += (sizes @ signs >= thresholds[:, None]).sum(axis=1)
    return count / (DRAWS + 1)


def _exact_tail(sizes: Array, threshold: float) -> float:
    """The share of all 2^n sums of +-sizes that reach the threshold.

    Every sum is one sum of the first half plus one of the second, so that sorting the second half counts all of them in
    2^(n/2) steps.
    """
    sizes = sizes[sizes > 0]
    n = sizes.size
    first, second = _signed_sums(sizes[: n // 2]), _signed_sums(sizes[n // 2 :])
    second.sort()
    reached = second.size - np.searchsorted(second, threshold - np.sort(first)[::-1])
    return int(reached.sum()) / 2.0**n


def _signed_sums(values: Array) -> Array:
    """Every sum of +-values, [2^n]."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def smallest_conclusive(alpha: float) -> int:
    """The smallest n with 2^(1-n) < alpha: with fewer pairs no data can make a sign-flip test reject."""
    return math.floor(1 - math.log2(alpha)) + 1


def flip_interval(differences: ArrayLike, *, level: float = LEVEL, seed: int = 0) -> tuple[float, float]:
    """The interval of every shift that the sign-flip test does not reject, for paired `differences` [n].

    Flipping the signs of a subset of `differences - shift` raises their sum exactly where the subset's mean lies below
    the shift. So the one-sided p-value of a shift counts the subset means below it, and the interval's ends are order
    statistics of the 2^n - 1 subset means: for symmetric differences its coverage is exact, whatever their law. Up to
    16 seeds all subsets are taken, beyond, a random draw of them.

    Args:
        level: confidence, in (0, 1); the test rejects where p < 1 - level.
        seed: decides the subsets drawn beyond 16 seeds.

    Returns:
        Its two ends; nan where 2^(1-n) >= 1 - level, because no bounded interval has that level there.
    """
    sample = finite_vector("differences", differences)
    n = sample.size
    if n == 0 or n < smallest_conclusive(1 - level):
        return math.nan, math.nan
    centre = float(sample.mean())
    means = centre + _subset_means(sample - centre, seed)
    rank = max(1, math.ceil((1 - level) / 2 * (means.size + 1)) - 1)
    ends = np.partition(means, [rank - 1, means.size - rank])
    return float(ends[rank - 1]), float(ends[means.size - rank])


def _subset_means(values: Array, seed: int) -> Array:
    """The mean of every non-empty subset of `values` [n], or of many drawn ones, [K]."""
    n = values.size
    if n <= LARGEST_ENUMERATED:
        return _subset_sums(values)[1:] / _subset_sizes(n)
    means: Array = values @ _drawn_subsets(n, seed)
    return means


def _subset_sums(values: Array) -> Array:
    """The sum of every subset, the empty one first, [2^n]."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])
    return sums


@functools.lru_cache(maxsize=4)
def _subset_sizes(n: int) -> Array:
    """How many members each non-empty subset has, in the order of `_subset_sums`, [2^n - 1]."""
    sizes = _subset_sums(np.ones(n))[1:]
    sizes.setflags(write=False)
    return sizes


@functools.lru_cache(maxsize=2)
def _drawn_subsets(n: int, seed: int) -> Array:
    """Column k holds 1 / size for the members of the k-th drawn subset of n, [n, K]."""
    members = np.random.default_rng(seed).integers(0, 2, (n, DRAWS))
    members[0, ~members.any(axis=0)] = 1
    shares: Array = members / members.sum(axis=0)
    shares.setflags(write=False)
    return shares

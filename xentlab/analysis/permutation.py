"""Tests and intervals that assume nothing but exchangeable signs.

If two losses were exchangeable within a seed, every paired difference could as well have had the other sign.
`sign_flip` turns that into a p-value, `flip_interval` into the interval of all shifts that the test does not reject, so
that the two agree, and `sign_test` asks the same of counts. Small samples are enumerated; large ones draw from a stated
seed.

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

LARGEST_EXACT = 32
LARGEST_ENUMERATED = 16
SIGN_DRAWS = 99_999
SUBSET_DRAWS = 19_999


def sign_flip(differences: ArrayLike, *, seed: int = 0, draws: int = SIGN_DRAWS) -> float:
    """Two-sided permutation p-value of mean 0 for paired `differences` [n], over all 2^n assignments of signs.

    p is the share of assignments whose absolute sum is at least that observed. Up to 32 seeds the share is exact:
    every sum is one sum of the first half plus one of the second, so that sorting the second half counts all 2^n of
    them in 2^(n/2) steps. Beyond, `draws` random assignments and the observed one are counted.

    Args:
        differences: one per seed, [n], finite.
        seed: decides the random assignments beyond 32 seeds.
        draws: how many random assignments, >= 1.

    Returns:
        p in (0, 1]; nan for n = 0. Its smallest value is 2^(1-k), k the number of differences that are not 0.
    """
    flipped = finite_vector("differences", differences)
    if flipped.size == 0:
        return math.nan
    flipped = np.abs(flipped)
    scale = flipped.sum()
    observed = abs(float(np.asarray(differences, dtype=np.float64).sum()))
    # Sums of one set of numbers in another order differ by rounding; equal ones must count as equal.
    threshold = observed - 1e-12 * scale
    if threshold <= 0:
        return 1.0
    flipped = flipped[flipped > 0]
    n = flipped.size
    if n <= LARGEST_EXACT:
        first, second = _signed_sums(flipped[: n // 2]), _signed_sums(flipped[n // 2 :])
        second.sort()
        reached = second.size - np.searchsorted(second, threshold - np.sort(first)[::-1])
        return float(min(1.0, 2.0 * int(reached.sum()) / 2.0**n))
    generator = np.random.default_rng(seed)
    count = 1
    for start in range(0, draws, 8192):
        signs = generator.integers(0, 2, (min(8192, draws - start), n)) * 2.0 - 1.0
        count += int((np.abs(signs @ flipped) >= threshold).sum())
    return count / (draws + 1)


def _signed_sums(values: Array) -> Array:
    """Every sum of +-values, [2^n]."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided sign test: the chance of a split at least as uneven as `wins` to `losses` under fair coins."""
    total = wins + losses
    tail = sum(math.comb(total, k) for k in range(min(wins, losses) + 1)) / 2**total
    return min(1.0, 2 * tail)


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
        differences: one per seed, [n], finite.
        level: confidence, in (0, 1).
        seed: decides the subsets drawn beyond 16 seeds.

    Returns:
        Its two ends; nan where 2^(1-n) > 1 - level, because no bounded interval has that level there.

    Reference:
        Hartigan, Using subsample values as typical values, 1969.
    """
    sample = finite_vector("differences", differences)
    n = sample.size
    if n == 0 or 2.0 ** (1 - n) > 1 - level:
        return math.nan, math.nan
    centre = sample.mean()
    means = centre + (sample - centre) @ _subsets(n, seed)
    rank = int((1 - level) / 2 * (means.size + 1))
    ends = np.partition(means, [rank - 1, means.size - rank])
    return float(ends[rank - 1]), float(ends[means.size - rank])


@functools.lru_cache(maxsize=8)
def _subsets(n: int, seed: int) -> Array:
    """Column k holds 1 / size for the members of the k-th non-empty subset of n, [n, K]."""
    if n <= LARGEST_ENUMERATED:
        members = np.arange(1, 2**n) >> np.arange(n)[:, None] & 1
    else:
        members = np.random.default_rng(seed).integers(0, 2, (n, SUBSET_DRAWS))
        members[0, ~members.any(axis=0)] = 1
    shares = members / members.sum(axis=0)
    shares.setflags(write=False)
    return shares

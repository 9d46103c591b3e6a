"""Two losses over the same seeds: the paired difference, its tests and its interval.

Everything works on differences `loss - baseline` [n], one per seed that both ran. The test of "no difference" is the
sign-flip permutation test and the interval is its inversion (see `permutation`): both are exact where the two losses of
a seed are exchangeable, which they are wherever there is no difference at all. Differences that are skewed around a
mean of zero are not of that kind; `skew` says how far a sample is from it.

References:
    Holm, A simple sequentially rejective multiple test procedure, 1979.
    Schuirmann, A comparison of the two one-sided tests procedure and the power approach, 1987.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from xentlab.analysis.interval import LEVEL, Array, finite_vector, is_constant
from xentlab.analysis.permutation import flip_below, flip_interval, sign_flip
from xentlab.errors import UserError

Direction = Literal["min", "max"]

# So many standard errors of a normal sample's skewness are a strong skew: 1 in 100 normal samples shows it.
_STRONG = 2.58


@dataclass(frozen=True)
class Paired:
    """How `values` differ from `baseline` over the seeds that both ran.

    Attributes:
        n: the number of pairs.
        difference: mean of `values - baseline`, in the metric's unit.
        sd: standard deviation of the differences; nan below two pairs.
        low, high: the inverted sign-flip test's interval; nan where n is too small for its level.
        p: two-sided sign-flip permutation test of no difference, in (0, 1]; nan without pairs.
        effect: mean difference / standard deviation of the differences; inf where they are constant and not 0.
        improvement: share of the seeds on which `values` is on the better side, ties counted half, in [0, 1].
        distinct: the number of pairs that differ at all: ties cannot speak for either side.
        skew: sample skewness of the differences; nan below three pairs and for constant ones.
    """

    n: int
    difference: float
    sd: float
    low: float
    high: float
    p: float
    effect: float
    improvement: float
    distinct: int
    skew: float

    @property
    def strongly_skewed(self) -> bool:
        """Whether the skewness is larger than 99 in 100 normal samples of this size show."""
        n = self.n
        if n < 3 or math.isnan(self.skew):
            return False
        return abs(self.skew) > _STRONG * math.sqrt(6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3)))


def paired(
    values: ArrayLike, baseline: ArrayLike, *, direction: Direction = "min", level: float = LEVEL, seed: int = 0
) -> Paired:
    """Difference, interval, test and effect size of `values` [n] against `baseline` [n], finite, paired by position.

    Args:
        level: confidence of the interval, in (0, 1); 1 - alpha / m where m intervals shall hold together.
        seed: decides the sign draws beyond 24 seeds and the interval's beyond 16.

    Raises:
        UserError: the two differ in length or a value is not finite.
    """
    differences = paired_differences(values, baseline)
    n = differences.size
    if n == 0:
        return Paired(0, *(math.nan,) * 7, 0, math.nan)
    mean, sd = float(differences.mean()), float(differences.std(ddof=1)) if n > 1 else math.nan
    if is_constant(differences):
        mean, sd = float(differences[0]), 0.0 if n > 1 else math.nan
    low, high = flip_interval(differences, level=level, seed=seed)
    gain = np.sign(differences) * (1 if direction == "max" else -1)
    return Paired(
        n=n,
        difference=mean,
        sd=sd,
        low=low,
        high=high,
        p=sign_flip(differences, seed=seed),
        effect=standardised(mean, sd),
        improvement=float((gain + 1).mean() / 2),
        distinct=int(np.count_nonzero(differences)),
        skew=_skewness(differences),
    )


def paired_differences(values: ArrayLike, baseline: ArrayLike) -> Array:
    """`values - baseline` [n], exactly 0 where the two agree to the last bits: rounding is no evidence.

    Raises:
        UserError: the two differ in length or a value is not finite.
    """
    ours, theirs = finite_vector("values", values), finite_vector("baseline", baseline)
    if ours.size != theirs.size:
        raise UserError(f"values and baseline must have one number per seed each, got {ours.size} and {theirs.size}.")
    differences = ours - theirs
    differences[np.abs(differences) <= 1e-12 * np.maximum(np.abs(ours), np.abs(theirs))] = 0.0
    return differences


def holm(p_values: ArrayLike) -> Array:
    """Holm-adjusted p-values [m]: comparing them with alpha keeps the chance of any false claim at most alpha.

    In ascending order of p, adjusted_(i) = max over j <= i of min(1, (m - j + 1) p_(j)).

    Args:
        p_values: one per claim, [m]; nan marks a claim that could not be tested and counts as p = 1.

    Returns:
        Adjusted p-values in the given order, [m].
    """
    p = np.nan_to_num(np.asarray(p_values, dtype=np.float64), nan=1.0)
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1.0, p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted


def equivalence(differences: ArrayLike, margin: float, *, seed: int = 0) -> float:
    """p-value of two one-sided sign-flip tests that the mean of `differences` [n] lies within (-margin, margin).

    Small p means equivalent: both "at most -margin" and "at least margin" are rejected. At the margin itself the chance
    of p < alpha is at most alpha wherever the differences are symmetric around their mean.

    Args:
        margin: the largest difference that would not matter, > 0, in the metric's unit.
        seed: decides the random assignments beyond 24 seeds.

    Returns:
        The larger of the two one-sided p-values; nan for n = 0.
    """
    sample = finite_vector("differences", differences)
    if sample.size == 0:
        return math.nan
    return max(flip_below(sample, margin, seed=seed), flip_below(-sample, margin, seed=seed))


def standardised(difference: float, sd: float) -> float:
    """`difference / sd`: inf where there is no spread and a difference, 0 where there is neither."""
    if math.isnan(sd):
        return math.nan
    if sd == 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / sd


def _skewness(sample: Array) -> float:
    """The adjusted Fisher-Pearson skewness, as most packages print it."""
    n = sample.size
    if n < 3 or is_constant(sample):
        return math.nan
    deviation = sample - sample.mean()
    plain = float((deviation**3).mean() / (deviation**2).mean() ** 1.5)
    return plain * math.sqrt(n * (n - 1)) / (n - 2)

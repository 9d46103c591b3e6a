"""Two losses over the same seeds: the paired difference, its tests, and the seeds that a question needs.

Everything works on differences `loss - baseline` [n], one per seed that both finished. The test of "no difference" is
the sign-flip permutation test and the interval is its inversion (see `permutation`): both hold whatever the law of the
differences, as long as it is symmetric, which it is wherever there is no difference.

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

from xentlab.analysis.interval import Array, Method, finite_vector, is_constant, summarise, t_quantile
from xentlab.analysis.permutation import flip_interval, sign_flip, smallest_conclusive
from xentlab.errors import UserError

Direction = Literal["min", "max"]

MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Paired:
    """How `values` differ from `baseline` over the seeds that both finished.

    Attributes:
        n: the number of pairs.
        difference: mean of `values - baseline`, in the metric's unit.
        low: lower end of its 95 % interval.
        high: upper end.
        method: how the interval was made: `flip` (inverted sign-flip test), or as in `Summary` below six pairs and
            for constant differences.
        p: two-sided sign-flip permutation test of no difference, in (0, 1]; nan without pairs.
        effect: mean difference / standard deviation of the differences; inf where they are constant and not 0.
        improvement: share of the seeds on which `values` is on the better side, ties counted half, in [0, 1].
        seeds_needed: how many seeds find the difference in question with 80 % power, or None where no number
            up to 10,000 does.
        distinct: the number of pairs that differ at all: ties cannot speak for either side.
    """

    n: int
    difference: float
    low: float
    high: float
    method: Method
    p: float
    effect: float
    improvement: float
    seeds_needed: int | None
    distinct: int


def paired(
    values: ArrayLike,
    baseline: ArrayLike,
    *,
    direction: Direction = "min",
    alpha: float = 0.05,
    smallest: float | None = None,
    seed: int = 0,
) -> Paired:
    """Difference, interval, test and effect size of `values` [n] against `baseline` [n], paired by position.

    Args:
        values: one finite number per seed, [n].
        baseline: the baseline's numbers on the same seeds, [n].
        direction: whether smaller (`min`) or larger (`max`) is better.
        alpha: level of the test that `seeds_needed` plans for, in (0, 1).
        smallest: the difference that `seeds_needed` should find, > 0; None takes the one observed.
        seed: decides the bootstrap, and the sign draws beyond 32 seeds.

    Returns:
        The comparison; its numbers are nan where there are too few pairs.

    Raises:
        UserError: the two differ in length or a value is not finite.
    """
    ours, theirs = finite_vector("values", values), finite_vector("baseline", baseline)
    if ours.size != theirs.size:
        raise UserError(f"values and baseline must have one number per seed each, got {ours.size} and {theirs.size}.")
    differences = ours - theirs
    # Losses that agree to the last bits of their values do not differ: rounding is no evidence.
    differences[np.abs(differences) <= 1e-12 * np.maximum(np.abs(ours), np.abs(theirs))] = 0.0
    summary = summarise(differences, seed=seed)
    if summary.n == 0:
        return Paired(0, math.nan, math.nan, math.nan, "none", math.nan, math.nan, math.nan, None, 0)
    low, high, method = summary.low, summary.high, summary.method
    if method == "bca":
        (low, high), method = flip_interval(differences, seed=seed), "flip"
    gain = np.sign(differences) * (1 if direction == "max" else -1)
    wanted = abs(summary.mean) if smallest is None else smallest
    return Paired(
        n=summary.n,
        difference=summary.mean,
        low=low,
        high=high,
        method=method,
        p=sign_flip(differences, seed=seed),
        effect=_standardised(summary.mean, summary.sd),
        improvement=float((gain + 1).mean() / 2),
        seeds_needed=seeds_needed(_standardised(wanted, summary.sd), alpha=alpha),
        distinct=int(np.count_nonzero(differences)),
    )


def holm(p_values: ArrayLike) -> Array:
    """Holm-adjusted p-values [m]: comparing them with alpha keeps the chance of any false claim at most alpha.

    adjusted_(i) = max over j <= i of min(1, (m - j + 1) p_(j)), with p in ascending order.

    Args:
        p_values: one per claim, [m]; nan marks a claim that could not be tested and counts as p = 1.

    Returns:
        Adjusted p-values in the given order, [m].

    Reference:
        Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    p = np.nan_to_num(np.asarray(p_values, dtype=np.float64), nan=1.0)
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1.0, p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted


def equivalence(differences: ArrayLike, margin: float) -> float:
    """p-value of two one-sided t-tests that the mean of `differences` [n] lies within (-margin, margin).

    Small p means equivalent: both "at most -margin" and "at least margin" are rejected.

    Args:
        differences: one per seed, [n], finite.
        margin: the largest difference that would not matter, > 0, in the metric's unit.

    Returns:
        The larger of the two one-sided p-values; nan for n < 3, where a spread cannot be told. Constant differences
        give 0 inside the margin and 1 outside.

    Raises:
        UserError: the margin is not positive and finite.

    Reference:
        Schuirmann, A comparison of the two one-sided tests procedure and the power approach, 1987.
    """
    from scipy.special import stdtr

    if not (math.isfinite(margin) and margin > 0):
        raise UserError(f"margin must be a number > 0, got {margin}.")
    sample = finite_vector("differences", differences)
    if sample.size < 3:
        return math.nan
    slack = margin - abs(float(sample.mean()))
    if is_constant(sample):
        return 0.0 if slack > 0 else 1.0
    error = float(sample.std(ddof=1)) / math.sqrt(sample.size)
    return float(stdtr(sample.size - 1, -slack / error))


def seeds_needed(effect: float, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """The smallest number of seeds with which a paired test at `alpha` finds a true `effect` with `power`.

    Planned with the two-sided paired t-test, whose power the sign-flip test shares closely, but never below the
    number of seeds at which 2^(1-n) < alpha, where the sign-flip test can first reject.

    Args:
        effect: mean difference / standard deviation of the differences; its sign does not matter.
        alpha: level of the test, in (0, 1); divide by the number of losses to plan for Holm's first step.
        power: chance of finding the effect, in (0, 1).

    Returns:
        The number of seeds, or None where 10,000 would not do.
    """
    floor = smallest_conclusive(alpha)
    if math.isnan(effect) or _power(abs(effect), MOST_SEEDS, alpha) < power:
        return None
    below, enough = floor - 1, MOST_SEEDS
    while enough - below > 1:
        middle = (below + enough) // 2
        below, enough = (below, middle) if _power(abs(effect), middle, alpha) >= power else (middle, enough)
    return enough


def _power(effect: float, n: int, alpha: float) -> float:
    """Chance that the two-sided test rejects on the side of the effect; a rejection on the other side finds nothing."""
    from scipy.special import nctdtr, ndtr

    critical = float(t_quantile(n - 1, 1 - alpha / 2))
    shift = effect * math.sqrt(n)
    if shift - critical > 8:
        return 1.0
    if n > 1_000:  # the noncentral t is normal by then, and its series slow
        return float(ndtr(shift - critical))
    return float(1 - nctdtr(n - 1, shift, critical))


def _standardised(difference: float, sd: float) -> float:
    if math.isnan(sd):
        return math.nan
    if sd == 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / sd

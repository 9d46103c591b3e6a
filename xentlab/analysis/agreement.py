"""Whether our numbers agree with published ones: by equivalence within a stated margin, never by a failure to differ.

A test that does not reject says nothing: noise alone would buy agreement. Two means agree where both one-sided tests
place their difference inside the margin, and disagree where it is shown to lie beyond 0 and not inside; the rest cannot
be decided by these seeds.

References:
    Welch, The generalization of Student's problem when several different population variances are involved, 1947.
    Schuirmann, A comparison of the two one-sided tests procedure and the power approach, 1987.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from xentlab.analysis.interval import LEVEL, t_quantile


@dataclass(frozen=True)
class Sample:
    """What is known of some runs: their mean, their standard deviation (n - 1), and how many they are.

    `rounding` is half a unit of the mean's last digit: it may lie anywhere within.
    """

    mean: float
    sd: float
    n: int
    rounding: float = 0.0


@dataclass(frozen=True)
class Agreement:
    """How far ours lies from theirs.

    Attributes:
        difference: ours - theirs.
        low, high: its 95 % Welch interval.
        p_within: the larger p of the two one-sided Welch t-tests against the margin; nan without a margin.
    """

    difference: float
    low: float
    high: float
    p_within: float


def welch(ours: Sample, theirs: Sample, *, margin: float | None = None) -> Agreement:
    """Compare two means whose spreads may differ.

    A published mean of one run has no spread of its own: the caller states one (such as ours), and it then lends its
    degrees of freedom to none.

    Args:
        ours: our runs, two or more.
        theirs: the published ones.
        margin: the largest difference at which the two agree, > 0; None tests no agreement.
    """
    from scipy.special import stdtr

    a, b = ours.sd**2 / ours.n, theirs.sd**2 / max(1, theirs.n)
    rounded = (ours.rounding**2 + theirs.rounding**2) / 3
    freedom = float(ours.n - 1)
    if theirs.n > 1 and a + b > 0:
        freedom = (a + b) ** 2 / (a**2 / (ours.n - 1) + b**2 / (theirs.n - 1))
    error, difference = math.sqrt(a + b + rounded), ours.mean - theirs.mean
    half = float(t_quantile(freedom, (1 + LEVEL) / 2)) * error
    within = math.nan
    if margin is not None:
        inside = margin - abs(difference)  # the nearer margin has the larger p
        within = float(stdtr(freedom, -inside / error)) if error else float(inside <= 0)
    return Agreement(difference, difference - half, difference + half, within)

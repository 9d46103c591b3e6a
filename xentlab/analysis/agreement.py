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
from xentlab.errors import UserError

SMALLEST_AGREEMENT = 3


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
        p_differs: two-sided Welch t-test of no difference.
    """

    difference: float
    low: float
    high: float
    p_within: float
    p_differs: float


def welch(ours: Sample, theirs: Sample, *, margin: float | None = None, level: float = LEVEL) -> Agreement | None:
    """Compare two means whose spreads may differ; None where ours are fewer than three.

    A published mean of one run has no spread of its own: the caller states one (such as ours), and it then lends its
    degrees of freedom to none.

    Args:
        ours: our runs.
        theirs: the published ones.
        margin: the largest difference at which the two agree, > 0; None tests no agreement.
        level: confidence of the interval.

    Raises:
        UserError: the margin is not positive and finite.
    """
    from scipy.special import stdtr

    if margin is not None and not (math.isfinite(margin) and margin > 0):
        raise UserError(f"margin must be a number > 0, got {margin}.")
    if ours.n < SMALLEST_AGREEMENT:
        return None
    a, b = ours.sd**2 / ours.n, theirs.sd**2 / max(1, theirs.n)
    rounded = (ours.rounding**2 + theirs.rounding**2) / 3
    freedom = float(ours.n - 1)
    if theirs.n > 1 and a + b > 0:
        freedom = (a + b) ** 2 / (a**2 / (ours.n - 1) + b**2 / (theirs.n - 1))
    error, difference = math.sqrt(a + b + rounded), ours.mean - theirs.mean
    half = float(t_quantile(freedom, (1 + level) / 2)) * error

    def beyond(distance: float) -> float:
        """One-sided p of "the difference is at most 0", for a difference `distance` above."""
        if error == 0:
            return 0.0 if distance > 0 else 1.0
        return float(stdtr(freedom, -distance / error))

    within = math.nan if margin is None else max(beyond(margin - difference), beyond(margin + difference))
    return Agreement(difference, difference - half, difference + half, within, min(1.0, 2 * beyond(abs(difference))))

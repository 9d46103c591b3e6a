"""What a number of seeds can decide, asked before anything trains.

Two limits bind. A sign-flip test over n pairs has no p below 2^(1-n), and Holm multiplies it by the number of
comparisons: `seeds_for` is the n at which that leaves room. And a difference must stand out from the spread of the
paired differences: `power`, `detectable` and `seeds_needed` answer for a difference that is named beforehand. None of
them takes a difference that was observed: power for that only repeats its p-value.

Power is planned with the two-sided paired t-test, which the sign-flip test follows closely, but is 0 with fewer seeds
than the sign-flip test needs to reject at all.

Reference:
    Hoenig, Heisey, The abuse of power: the pervasive fallacy of power calculations for data analysis, 2001.
"""

from __future__ import annotations

import math

from xentlab.analysis.interval import t_quantile
from xentlab.analysis.permutation import smallest_conclusive

SMALLEST_VERDICT = 6
"""With fewer pairs there is no verdict: no sign-flip test of them rejects at 5 %."""

_ALPHA, _WANTED = 0.05, 0.8  # level of a whole family, and the power that is planned for
_FEWEST_PLANNED = 10
_ROOM = 4
_MOST_SEEDS = 10_000


def seeds_for(compared: int) -> int:
    """The fewest final seeds, 10 or more, with which Holm over `compared` tests has room.

    That is 2^(1-n) compared <= 0.05 / 4: a quarter, so that a loss is found that wins on nearly every seed, and not
    only one that wins on all.

    Args:
        compared: how many comparisons share alpha, such as the number of losses beside the baseline; >= 1.
    """
    return max(_FEWEST_PLANNED, math.ceil(1 + math.log2(_ROOM * compared / _ALPHA) - 1e-9))


def power(effect: float, n: int, *, alpha: float = 0.05) -> float:
    """The chance that `n` seeds find a true `effect`; a rejection on the other side finds nothing.

    Args:
        effect: the named difference / standard deviation of the paired differences; its sign does not matter.
        alpha: level of the test, in (0, 1); divide by the number of comparisons to plan for Holm's first step.
    """
    return 0.0 if n < smallest_conclusive(alpha) else _t_power(abs(effect), n, alpha)


def seeds_needed(effect: float, *, alpha: float = 0.05) -> int | None:
    """The smallest number of seeds that find a true `effect` (see `power`) with a chance of 80 %; None above 10,000."""
    floor = smallest_conclusive(alpha)
    if math.isnan(effect) or _t_power(abs(effect), _MOST_SEEDS, alpha) < _WANTED:
        return None
    below, enough = floor - 1, _MOST_SEEDS
    while enough - below > 1:
        middle = (below + enough) // 2
        below, enough = (below, middle) if _t_power(abs(effect), middle, alpha) >= _WANTED else (middle, enough)
    return enough


def detectable(sd: float, n: int, *, compared: int = 1) -> float:
    """The smallest difference that `n` seeds find with a chance of 80 %; inf where they can find none.

    Args:
        sd: standard deviation of the paired differences, in whose unit the answer is; >= 0.
        compared: how many comparisons share a level of 5 %.
    """
    level = _ALPHA / compared
    if n < smallest_conclusive(level):
        return math.inf
    low, high = 0.0, 100.0
    while low < (effect := (low + high) / 2) < high:  # scipy.optimize takes a fifth of a second to import
        low, high = (low, effect) if _t_power(effect, n, level) >= _WANTED else (effect, high)
    return high * sd


def _t_power(effect: float, n: int, alpha: float) -> float:
    """Power of the two-sided paired t-test on the side of the effect."""
    from scipy.special import nctdtr, ndtr

    critical = float(t_quantile(n - 1, 1 - alpha / 2))
    shift = effect * math.sqrt(n)
    if shift - critical > 8:
        return 1.0
    if n > 1_000:  # the noncentral t is normal by then, and its series slow
        return float(ndtr(shift - critical))
    return float(1 - nctdtr(n - 1, shift, critical))

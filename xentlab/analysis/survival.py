"""Time to a target, with censoring: a trial that never gets there says "later than the horizon", not "missing"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xentlab.analysis.interval import LEVEL, summarise
from xentlab.analysis.judgement import known
from xentlab.errors import UserError


@dataclass(frozen=True)
class TimeToTarget:
    """When the trials of one loss first reached the target.

    Attributes:
        loss: its name.
        n: how many trials ran, diverged ones included.
        reached: how many got there within the horizon.
        fraction: reached / n.
        low, high: the fraction's exact 95 % interval (Clopper-Pearson).
        median: Kaplan-Meier median, in epochs; None where fewer than half got there, which reads "> horizon".
        mean: restricted mean, in epochs: the mean of min(time, horizon), a lower bound of the mean time.
        mean_low, mean_high: its 95 % interval.
    """

    loss: str
    n: int
    reached: int
    fraction: float | None
    low: float | None = None
    high: float | None = None
    median: float | None = None
    mean: float | None = None
    mean_low: float | None = None
    mean_high: float | None = None


def time_to_target(table: Mapping[str, Mapping[int, float | None]], horizon: float) -> list[TimeToTarget]:
    """When each loss first reached its target, in the table's order.

    Every trial that did not reach the target, stuck or diverged, is censored at the horizon: a diverged trial would
    have stayed diverged. With this one censoring time the Kaplan-Meier curve is the empirical survival function up to
    the horizon, and its median the smallest time by which at least half of the trials have arrived.

    Args:
        table: loss -> seed -> the first epoch at the target, > 0, or None where it was never reached.
        horizon: the last epoch of every trial, > 0.

    Raises:
        UserError: a time lies beyond the horizon or is not positive.

    Reference:
        Kaplan and Meier, Nonparametric estimation from incomplete observations, 1958.
    """
    rows = []
    for loss, trials in table.items():
        times = []
        for name in sorted(trials):
            epoch = trials[name]
            if epoch is not None and not math.isnan(epoch) and not 0 < epoch <= horizon:
                raise UserError(f"The time of {loss} at seed {name} must be in (0, {horizon:g}], got {epoch:g}.")
            times.append(math.inf if epoch is None or math.isnan(epoch) else float(epoch))
        n, reached = len(times), sum(map(math.isfinite, times))
        low, high = _binomial_interval(reached, n)
        middle = sorted(times)[(n - 1) // 2] if n else math.nan
        restricted = summarise(np.minimum(times, horizon) if n else [])
        rows.append(
            TimeToTarget(
                loss=loss,
                n=n,
                reached=reached,
                fraction=reached / n if n else None,
                low=known(low),
                high=known(high),
                median=known(middle),
                mean=known(restricted.mean),
                mean_low=known(restricted.low),
                mean_high=known(min(restricted.high, horizon)),
            )
        )
    return rows


def _binomial_interval(successes: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's exact 95 % interval of a proportion."""
    from scipy.special import betaincinv

    tail = (1 - LEVEL) / 2
    if n == 0:
        return math.nan, math.nan
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return low, high

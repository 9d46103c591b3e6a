"""What a source claims, and whether our numbers agree: numbers in, a verdict with its interval out.

A claim is of one of five kinds.

value      the mean (or the best of some runs) of an arm is the published number, to within the margin
order      one arm beats another, by as much as counts; the paired difference over the seeds decides
at_least   the mean of an arm reaches the published number
within     two arms differ by no more than the margin; the paired difference decides
range      an exact quantity, without spread, lies between two numbers

All intervals are 95 %. Claims were stated before any training, one by one, so nothing is corrected for their number: of
many true ones about one in twenty is called wrong by chance. To add a kind: its function here, its name in
`xentlab.report.reproduction.ClaimKind`, its line in `xentlab.published.verdicts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from xentlab import analysis
from xentlab.analysis.interval import LEVEL, t_quantile
from xentlab.report.reproduction import ClaimKind, ClaimVerdict, MeanDifference
from xentlab.schema import PositiveFloat

_DRAWS = 40_000
_FEWEST = 3  # values whose spread says something


@dataclass(frozen=True)
class Claim:
    """One published claim, as its file says it. All numbers are in the unit of the metric as it is shown.

    Attributes:
        about: the claim in words, one sentence.
        kind: see the module.
        source: who says so, and where.
        of: the experiment that it is of, where no size of ours is that: it is not judged then.
        metric: what is compared, such as `test/accuracy`; or the name of an exact quantity.
        values: value: arm -> published number; at_least: arm -> the number to be reached.
        sds: value: arm -> published standard deviation over runs, where there is one.
        runs: value: how many runs stand behind a published mean; 1 for a single training.
        best_of: value: the published number is the best of that many runs.
        rounding: value: half a unit of the last published digit.
        margin: value, within: the largest difference that is still agreement.
        smallest: order: the smallest effect that counts.
        better, worse: order, within: the arm that is claimed to be better, and the other one.
        published: order, within, range: what the source says, in its own numbers.
        low, high: range: the smallest value that agrees, and the largest.
    """

    about: str
    kind: ClaimKind
    source: str
    metric: str
    of: str = ""
    values: dict[str, float] = field(default_factory=dict)
    sds: dict[str, float] = field(default_factory=dict)
    runs: int = 1
    best_of: int = 1
    rounding: float = 0.0
    margin: PositiveFloat | None = None
    smallest: float = 0.0
    better: str = ""
    worse: str = ""
    published: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Judged:
    """A verdict: ours minus published (or better minus worse, signed so that positive supports the claim)."""

    verdict: ClaimVerdict
    why: str
    difference: MeanDifference | None = None


def against_value(
    ours: Sequence[float],
    published: float,
    *,
    sd: float | None = None,
    runs: int = 1,
    best_of: int = 1,
    rounding: float = 0.0,
    margin: float | None = None,
) -> Judged:
    """Whether the published number agrees with ours: within the margin, by two one-sided tests.

    A published number without a spread is taken as a mean of `runs` (or the best of `best_of`) further trainings like
    ours, normal and of unknown spread. One with a spread is compared by Welch's tests of the difference of means. That
    no difference is seen is no agreement: noise would buy it.

    Args:
        ours: our n values, one per seed, three or more.
        published: the number.
        sd: its published standard deviation over runs, or None.
        runs: how many runs stand behind the published mean.
        best_of: the published number is the best of that many runs.
        rounding: half a unit of its last digit; the published number may lie anywhere within.
        margin: the largest difference that is still agreement; None can only disagree.
    """
    n = len(ours)
    if n < _FEWEST:
        difference = MeanDifference(sum(ours) / n - published) if n else None
        return Judged("not decidable", f"{n} finished seed{'' if n == 1 else 's'}: no spread of ours", difference)
    sample = np.asarray(ours, dtype=np.float64)
    mean, spread = float(sample.mean()), float(sample.std(ddof=1))
    if best_of > 1:
        draws = _best_draws(mean, spread, n, best_of) - published
        if rounding:
            draws = draws + np.random.default_rng(1).uniform(-rounding, rounding, len(draws))
        low, lower, middle, upper, high = (float(q) for q in np.quantile(draws, [0.025, 0.05, 0.5, 0.95, 0.975]))
        within = margin is not None and -margin < lower and upper < margin
        return _value(MeanDifference(middle, low, high), within=within, margin=margin)
    # A mean without a spread has ours, and no degrees of freedom of its own.
    theirs = (
        analysis.Sample(published, spread / math.sqrt(runs), 1, rounding)
        if sd is None
        else analysis.Sample(published, sd, runs, rounding)
    )
    found = analysis.welch(analysis.Sample(mean, spread, n), theirs, margin=margin)
    within = margin is not None and found.p_within < 1 - LEVEL
    return _value(MeanDifference(found.difference, found.low, found.high), within=within, margin=margin)


def _value(found: MeanDifference, *, within: bool, margin: float | None) -> Judged:
    """Agreement where the difference is shown to lie within the margin, disagreement where one is shown at all."""
    if within:
        return Judged("agrees", f"shown to lie within {margin:g}", found)
    if found.low is not None and found.high is not None and not found.low <= 0 <= found.high:
        return Judged("disagrees", "the interval leaves out zero", found)
    words = "no margin is stated" if margin is None else f"not shown to lie within {margin:g}"
    return Judged("not decidable", f"{words}, nor to differ", found)


def _best_draws(mean: float, spread: float, n: int, best_of: int) -> np.ndarray:
    """The best of `best_of` further runs, drawn from what `n` normal values say of their mean and spread."""
    generator = np.random.default_rng(0)
    sigma = spread * np.sqrt((n - 1) / generator.chisquare(n - 1, _DRAWS))
    centre = mean + sigma * generator.standard_normal(_DRAWS) / math.sqrt(n)
    return centre + sigma * generator.standard_normal((best_of, _DRAWS)).max(axis=0)


def against_order(differences: Sequence[float], smallest: float = 0.0) -> Judged:
    """Whether one arm beats the other, by their differences over paired seeds; positive is as claimed.

    Args:
        differences: better minus worse.
        smallest: the smallest effect that counts, >= 0.
    """
    found = _interval(differences)
    if found is None:
        return Judged("not decidable", f"{len(differences)} seeds finished under both")
    middle, low, high = found
    if low > 0 and middle >= smallest:
        return Judged("agrees", "the interval lies on the claimed side", MeanDifference(*found))
    if high < 0:
        return Judged("disagrees", "the interval lies on the other side", MeanDifference(*found))
    if smallest and high < smallest:
        return Judged("disagrees", f"the effect is smaller than {smallest:g}, which counts", MeanDifference(*found))
    words = "the interval holds zero" if low <= 0 else f"the effect may be smaller than {smallest:g}"
    return Judged("not decidable", words, MeanDifference(*found))


def against_margin(differences: Sequence[float], margin: float) -> Judged:
    """Whether two arms differ by no more than `margin`, by their differences over paired seeds."""
    found = _interval(differences)
    if found is None:
        return Judged("not decidable", f"{len(differences)} seeds finished under both")
    _, low, high = found
    if -margin <= low and high <= margin:
        return Judged("agrees", f"the interval lies within ±{margin:g}", MeanDifference(*found))
    if low > margin or high < -margin:
        return Judged("disagrees", f"the interval lies outside ±{margin:g}", MeanDifference(*found))
    return Judged("not decidable", f"the interval crosses ±{margin:g}", MeanDifference(*found))


def against_bound(ours: Sequence[float], bound: float) -> Judged:
    """Whether the mean reaches `bound`, by its interval."""
    found = _interval([v - bound for v in ours])
    if found is None:
        return Judged("not decidable", f"{len(ours)} finished seeds")
    _, low, high = found
    if low >= 0:
        return Judged("agrees", "the interval reaches it", MeanDifference(*found))
    if high < 0:
        return Judged("disagrees", "the interval stays below", MeanDifference(*found))
    return Judged("not decidable", "the interval holds it", MeanDifference(*found))


def against_range(ours: float | None, low: float | None, high: float | None) -> Judged:
    """Whether an exact quantity lies in [low, high]; a bound that is None is no bound."""
    if ours is None:
        return Judged("disagrees", "it was never reached")
    below = low is not None and ours < low
    above = high is not None and ours > high
    if below or above:
        return Judged("disagrees", "outside the published range", MeanDifference(ours - (low if below else high)))  # type: ignore[operator]
    return Judged("agrees", "inside the published range")


def _interval(values: Sequence[float]) -> tuple[float, float, float] | None:
    """Mean and 95 % interval: by sign flips from six values on, Student's t below; None under two."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.size < 2:
        return None
    if sample.size >= 6:
        low, high = analysis.flip_interval(sample)
        if math.isfinite(low) and math.isfinite(high):
            return float(sample.mean()), float(low), float(high)
    half = float(t_quantile(sample.size - 1, (1 + LEVEL) / 2)) * float(sample.std(ddof=1)) / math.sqrt(sample.size)
    return float(sample.mean()), float(sample.mean()) - half, float(sample.mean()) + half

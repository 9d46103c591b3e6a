"""Trials that failed: what counts as one, which seeds are left to compare, and what failing itself says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from xentlab.analysis.permutation import sign_test, smallest_conclusive

Trials = Mapping[int, float | None]


def finished_or_none(trials: Trials) -> dict[int, float | None]:
    """The trials in ascending order of their seeds, with every value that is not finite as None."""
    return {s: float(v) if (v := trials[s]) is not None and math.isfinite(v) else None for s in sorted(trials)}


def count_failed(trials: Trials) -> int:
    """How many of the trials failed."""
    return sum(v is None for v in trials.values())


def common(ours: Trials, theirs: Trials) -> tuple[list[float], list[float]]:
    """The values of both on the seeds that both finished, in ascending order of the seeds."""
    shared = [(a, b) for s in sorted(ours) if (a := ours[s]) is not None and (b := theirs.get(s)) is not None]
    return [a for a, _ in shared], [b for _, b in shared]


@dataclass(frozen=True)
class FailureTest:
    """Whether failing tells two losses apart.

    Attributes:
        p: sign test over the seeds on which exactly one of the two failed; nan where there is none.
        counts: whether those seeds are enough for the test to reject at half the level it is given.
        worse: whether ours failed on more of them.
    """

    p: float
    counts: bool
    worse: bool


def failure_test(ours: Trials, theirs: Trials, level: float) -> FailureTest:
    """The sign test of equal failing on the seeds that both ran."""
    shared = [s for s in ours if s in theirs]
    only_ours = sum(ours[s] is None and theirs[s] is not None for s in shared)
    only_theirs = sum(ours[s] is not None and theirs[s] is None for s in shared)
    discordant = only_ours + only_theirs
    p = sign_test(only_ours, only_theirs) if discordant else math.nan
    return FailureTest(p, discordant >= smallest_conclusive(level / 2), only_ours > only_theirs)


def combined(p: float, failure: FailureTest) -> float:
    """The p-value of "no difference in values and none in failing": Bonferroni over the two where both can reject."""
    if not failure.counts:
        return p
    return min(1.0, 2 * min(failure.p, 1.0 if math.isnan(p) else p))

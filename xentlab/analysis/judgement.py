"""What is asked of one metric, and what is answered of one loss on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from xentlab.analysis.failures import ValueTable
from xentlab.analysis.paired import Direction

Verdict = Literal["better", "worse", "equivalent", "inconclusive", "baseline"]


@dataclass(frozen=True)
class Question:
    """One metric's table, and how it is to be read.

    Attributes:
        table: loss -> seed -> value on one metric; None, nan and inf are trials that failed, and a seed that a loss
            does not name was not run.
        direction: whether smaller (`min`) or larger (`max`) is better.
        margin: the largest difference that would not matter, > 0, in the metric's unit; None tests no equivalence.
        trivial: what the task's trivial predictor scores, and with it a failed trial; None for the worst of the table.
        lost: losses that were asked about and could not be trained at all: each counts in Holm as p = 1.
        edge: losses that too often chose the outermost value tried: nothing is decided of them, or beside them where
            the baseline is one.
    """

    table: ValueTable
    direction: Direction
    margin: float | None = None
    trivial: float | None = None
    lost: int = 0
    edge: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Judgement:
    """One loss on one metric: what it reached, how it differs from the baseline, and what follows.

    Attributes:
        loss: its name.
        values: seed -> value, None where the trial failed.
        mean: mean over the seeds, failed ones at `failure_score`; sd and its own 95 % interval as in `Summary`.
        sd: standard deviation over the seeds.
        low, high: the mean's interval.
        n: how many seeds finished.
        failed: how many did not.
        pairs: how many seeds both this loss and the baseline ran; the fields below rest on these.
        difference: mean of loss - baseline, in the metric's unit.
        diff_low, diff_high: its interval, which holds together with those of the whole family and agrees with the
            verdict; None where the seeds allow none.
        p: sign-flip test of no difference, before any adjustment.
        p_holm: Holm-adjusted over the family: the one that decides.
        p_equivalence: Holm-adjusted p of the equivalence test, at alpha / 2 a side; None without a margin.
        effect: mean difference / standard deviation of the differences.
        improvement: share of seeds on the better side, ties half.
        seeds_needed: seeds that find a difference of the margin with 80 % power; None once decided or without a margin.
        skew: skewness of the differences.
        family: how many comparisons share alpha.
        failure_score: what each failed trial of the table scored; None where none failed.
        best: whether no other loss of the table is shown to beat it (see `marked`).
        verdict: better, worse, equivalent, inconclusive; baseline for the baseline itself.
        note: what the verdict rests on or lacks, in words; empty where there is nothing to say.

    Numbers that do not exist are None.
    """

    loss: str
    values: dict[int, float | None]
    mean: float | None
    low: float | None
    high: float | None
    n: int
    failed: int
    sd: float | None = None
    pairs: int = 0
    difference: float | None = None
    diff_low: float | None = None
    diff_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    p_equivalence: float | None = None
    effect: float | None = None
    improvement: float | None = None
    seeds_needed: int | None = None
    skew: float | None = None
    family: int = 1
    failure_score: float | None = None
    best: bool = False
    verdict: Verdict = "baseline"
    note: str = ""


def known(value: float) -> float | None:
    """A number that may not exist: None where it is not finite."""
    return value if math.isfinite(value) else None

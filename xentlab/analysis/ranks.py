"""Ranks over several datasets: does one loss tend to come before another, and by how much must mean ranks differ?

A table here is `block -> loss -> value`: a block is a dataset (or a dataset with a model), its values are one figure
for each loss, such as the mean over seeds. A loss without a figure in a block comes last there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from xentlab.analysis.paired import Direction
from xentlab.errors import UserError


@dataclass(frozen=True)
class Friedman:
    """Friedman's test over n blocks of k losses.

    Attributes:
        ranks: loss -> mean rank, 1 the best; equal values share the mean of their ranks.
        statistic: chi-squared, corrected for ties; nan where every block is one tie.
        p: of the hypothesis that all losses rank alike, by chi-squared with k - 1 degrees of freedom.
    """

    ranks: dict[str, float]
    n: int
    k: int
    statistic: float
    p: float


def friedman(table: Mapping[str, Mapping[str, float | None]], *, direction: Direction = "min") -> Friedman:
    """Rank the losses within every block, and test whether their mean ranks differ.

    Args:
        table: block -> loss -> value or None, the same losses (at least 2) in every block (at least 1).
        direction: whether smaller (`min`) or larger (`max`) is better.

    Returns:
        Mean ranks and the test, losses in the order of the first block.

    Raises:
        UserError: there is no block, fewer than two losses, or blocks with different losses.

    Reference:
        Friedman, The use of ranks to avoid the assumption of normality implicit in the analysis of variance, 1937.
    """
    from scipy import stats

    if not table:
        raise UserError("table must hold at least one block, got none.")
    names = list(next(iter(table.values())))
    if len(names) < 2:
        raise UserError(f"table must hold at least two losses, got {len(names)}.")
    for block, values in table.items():
        if set(values) != set(names):
            raise UserError(f"table must have the same losses in every block, got {sorted(values)} in {block}.")
    sign = 1.0 if direction == "min" else -1.0
    figures = np.array([[_figure(values[name], sign) for name in names] for values in table.values()])
    ranks = stats.rankdata(figures, axis=1)
    n, k = ranks.shape
    mean = ranks.mean(0)
    ties = sum(float((c**3 - c).sum()) for c in (np.unique(row, return_counts=True)[1] for row in ranks))
    spread = 1 - ties / (n * (k**3 - k))
    between = 12 * n / (k * (k + 1)) * float(((mean - (k + 1) / 2) ** 2).sum())
    statistic = between / spread if spread > 0 else math.nan
    p = float(stats.chi2.sf(statistic, k - 1)) if spread > 0 else 1.0
    return Friedman(dict(zip(names, mean.tolist(), strict=True)), n, k, statistic, p)


def critical_difference(k: int, n: int, *, alpha: float = 0.05) -> float:
    """By how much the mean ranks of two among k losses over n blocks must differ to be told apart (Nemenyi's test).

    `q sqrt(k (k + 1) / (6 n))`, with `q` the upper alpha quantile of the studentized range of k, over sqrt 2.

    Args:
        k: number of losses, >= 2.
        n: number of blocks, >= 1.
        alpha: family-wise level over all pairs, in (0, 1).

    Raises:
        UserError: k < 2 or n < 1.

    Reference:
        Demsar, Statistical comparisons of classifiers over multiple data sets, 2006.
    """
    from scipy import stats

    if k < 2 or n < 1:
        raise UserError(f"a critical difference needs k >= 2 losses and n >= 1 blocks, got {k} and {n}.")
    quantile = float(stats.studentized_range.ppf(1 - alpha, k, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(k * (k + 1) / (6 * n))


def inseparable(ranks: Mapping[str, float], difference: float) -> list[list[str]]:
    """The largest groups of losses whose mean ranks all lie within `difference` of each other, the best group first.

    Args:
        ranks: loss -> mean rank.
        difference: what `critical_difference` gave.

    Returns:
        Groups of two or more names in the order of their ranks; a loss may be in several, or in none.
    """
    names = sorted(ranks, key=lambda name: ranks[name])
    spans: list[Sequence[str]] = []
    for start, end in combinations(range(len(names)), 2):
        wide = ranks[names[end]] - ranks[names[start]] <= difference
        grows = any(
            a >= 0 and b < len(names) and ranks[names[b]] - ranks[names[a]] <= difference
            for a, b in ((start - 1, end), (start, end + 1))
        )
        if wide and not grows:
            spans.append(names[start : end + 1])
    return [list(span) for span in spans]


def _figure(value: float | None, sign: float) -> float:
    return math.inf if value is None or not math.isfinite(value) else sign * value

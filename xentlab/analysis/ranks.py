"""Ranks over several datasets: does one loss tend to come before another, and which can be told apart?

A table here is `block -> loss -> value`: a block is a dataset (or a dataset with a model), its values are one figure
for each loss, such as the mean over seeds. A loss without a figure in a block comes last there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from xentlab.analysis.paired import holm
from xentlab.analysis.permutation import sign_flip

FEWEST_BLOCKS = 5
"""Ranks over fewer blocks are described and not tested."""


@dataclass(frozen=True)
class Friedman:
    """Friedman's test over n blocks of k losses.

    Attributes:
        ranks: loss -> mean rank, 1 the best; equal values share the mean of their ranks.
        statistic: chi-squared, corrected for ties; None where every block is one tie.
        p: of the hypothesis that all losses rank alike, by chi-squared with k - 1 degrees of freedom.
    """

    ranks: dict[str, float]
    n: int
    k: int
    statistic: float | None
    p: float


def friedman(table: Mapping[str, Mapping[str, float | None]]) -> Friedman:
    """Rank the losses within every block, and test whether their mean ranks differ.

    Args:
        table: block -> loss -> value or None, the same losses (at least 2) in every block (at least 1); less is better.

    Reference:
        Friedman, The use of ranks to avoid the assumption of normality implicit in the analysis of variance, 1937.
    """
    from scipy import stats

    names = list(next(iter(table.values())))
    figures = np.array([[_figure(values[name]) for name in names] for values in table.values()])
    ranks = stats.rankdata(figures, axis=1)
    n, k = ranks.shape
    mean = ranks.mean(0)
    ties = sum(float((c**3 - c).sum()) for c in (np.unique(row, return_counts=True)[1] for row in ranks))
    spread = 1 - ties / (n * (k**3 - k))
    between = 12 * n / (k * (k + 1)) * float(((mean - (k + 1) / 2) ** 2).sum())
    statistic = between / spread if spread > 0 else None
    p = float(stats.chi2.sf(statistic, k - 1)) if statistic is not None else 1.0
    return Friedman(dict(zip(names, mean.tolist(), strict=True)), n, k, statistic, p)


def inseparable(table: Mapping[str, Mapping[str, float | None]]) -> list[list[str]] | None:
    """The longest runs of losses, in the order of their mean ranks, of which no two are told apart over the blocks.

    Two losses are told apart by Wilcoxon's signed-rank test over the blocks, exact by sign flips, at 5 % with Holm over
    all pairs. No test is made on mean ranks: whether two losses differ would depend on which others stand beside.

    Args:
        table: as `friedman` takes it.

    Returns:
        Groups of two or more names, the best first; a loss may be in several, or in none. None below five blocks, where
        nothing is tested.

    Reference:
        Benavoli, Corani, Mangili, Should we really use post-hoc tests based on mean-ranks?, 2016.
    """
    mean = friedman(table).ranks
    if len(table) < FEWEST_BLOCKS:
        return None
    names = sorted(mean, key=lambda name: mean[name])
    pairs = list(combinations(range(len(names)), 2))
    adjusted = holm([_signed_rank(table, names[i], names[j]) for i, j in pairs])
    apart = {pair for pair, p in zip(pairs, adjusted, strict=True) if p < 0.05}
    joined = [(i, j) for i, j in pairs if not any(i <= a and b <= j for a, b in apart)]
    longest = [(i, j) for i, j in joined if (i - 1, j) not in joined and (i, j + 1) not in joined]
    return [names[i : j + 1] for i, j in longest]


def _signed_rank(table: Mapping[str, Mapping[str, float | None]], ours: str, theirs: str) -> float:
    """Wilcoxon's exact two-sided signed-rank p of two losses over the blocks; ties share ranks, zeros are dropped."""
    from scipy import stats

    pairs = [(_figure(row[ours]), _figure(row[theirs])) for row in table.values()]
    differences = np.array([0.0 if a == b else a - b for a, b in pairs])
    kept = differences[differences != 0]
    return sign_flip(np.sign(kept) * stats.rankdata(np.abs(kept))) if kept.size else 1.0


def _figure(value: float | None) -> float:
    return math.inf if value is None or not math.isfinite(value) else value

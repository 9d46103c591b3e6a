"""The chance of the test examples beside that of the seeds, and two models on the same examples.

A verdict and its interval are for new seeds on this test set. `crossed` is for new seeds *and* new examples: in a table
seed x example the mean moves with both, and with what a seed does to single examples.

References:
    Owen, The pigeonhole bootstrap, 2007.
    McNemar, Note on the sampling error of the difference between correlated proportions or percentages, 1947.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from xentlab.analysis.interval import LEVEL, Array, t_quantile

# Example resamples that are held in memory at once, times examples.
_CELLS = 2**22
_TAIL = 0.025


@dataclass(frozen=True)
class McNemar:
    """Two models on the same examples: how many each alone gets right, and the exact two-sided p of no difference."""

    ours: int
    theirs: int
    p: float


def mcnemar(ours: ArrayLike, theirs: ArrayLike) -> McNemar:
    """Compare two models by the examples that one of them alone answers wrong.

    It speaks of these two trained models and new examples. Of two losses it says nothing, whose seeds vary.

    Args:
        ours: whether each example is wrong, [N].
        theirs: the same of the other model, on the same examples.
    """
    from scipy.stats import binomtest

    a, b = np.asarray(ours, dtype=bool), np.asarray(theirs, dtype=bool)
    only_ours, only_theirs = int((b & ~a).sum()), int((a & ~b).sum())
    differ = only_ours + only_theirs
    return McNemar(only_ours, only_theirs, float(binomtest(only_ours, differ).pvalue) if differ else 1.0)


def rooted(squares: Array) -> Array:
    """Squared errors [S, N] as what each contributes to its seed's root mean square, to first order, [S, N]."""
    root = np.sqrt(squares.mean(axis=1, keepdims=True))
    return np.divide(squares + root**2, 2 * root, out=np.zeros_like(squares), where=root > 0)


def crossed(
    tables: Array, *, levels: Sequence[float] | float = LEVEL, resamples: int = 1_999, seed: int = 0
) -> tuple[Array, Array]:
    """Interval of the mean of each table seed x example, for new seeds and new examples.

    Seeds and examples are resampled each by themselves, and the two are added. Resampling them at once would count what
    a seed does to single examples three times, adding counts it twice: the examples' part is shrunk to what is theirs
    alone, by the two-way analysis of variance. From the resamples comes the middle 95 %, which some thousand show well;
    from there to the level the ends are stretched as Student's t is.

    Args:
        tables: [T, S, N], S >= 2 seeds, N >= 2 examples.
        levels: confidence of each table's interval, in (0, 1), or of all.
        resamples: of seeds, and of examples; all tables share them.
        seed: decides the resampling.

    Returns:
        The lower and the upper ends, each [T].
    """
    from scipy.special import ndtri

    count, seeds, examples = tables.shape
    mean = tables.mean(axis=(1, 2))
    of_seeds, of_examples = tables.mean(axis=2) - mean[:, None], tables.mean(axis=1) - mean[:, None]
    squares = ((tables - mean[:, None, None]) ** 2).sum(axis=(1, 2))
    by_seed, by_example = examples * (of_seeds**2).sum(axis=1), seeds * (of_examples**2).sum(axis=1)
    both = np.maximum(squares - by_seed - by_example, 0.0) / ((seeds - 1) * (examples - 1))
    by_seed, by_example = by_seed / (seeds - 1), by_example / (examples - 1)
    own = np.maximum(by_example - both, 0.0)
    share = np.divide(own, by_example, out=np.zeros(count), where=by_example > 0)
    generator = np.random.default_rng(seed)
    moved = math.sqrt(seeds / (seeds - 1)) * _resampled(of_seeds, resamples, generator)
    moved += np.sqrt(share)[:, None] * _resampled(of_examples, resamples, generator)
    # Satterthwaite's degrees of freedom of the sum of both variances.
    whole, parts = (by_seed + own) ** 2, by_seed**2 / (seeds - 1) + own**2 / (examples - 1)
    freedom = np.divide(whole, parts, out=np.ones(count), where=parts > 0)
    level = np.broadcast_to(levels, count).tolist()
    stretch = [t_quantile(df, (1 + at) / 2) / ndtri(1 - _TAIL) for df, at in zip(freedom, level, strict=True)]
    low, high = np.quantile(moved, [_TAIL, 1 - _TAIL], axis=1) * np.array(stretch)
    return mean + low, mean + high


def _resampled(rows: Array, resamples: int, generator: np.random.Generator) -> Array:
    """The means of resamples of each of `rows` [T, n], which share them, [T, resamples]."""
    n, parts = rows.shape[1], []
    for start in range(0, resamples, step := max(1, _CELLS // n)):
        size = min(step, resamples - start)
        cells = generator.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        times = np.bincount(cells.ravel(), minlength=n * size).reshape(size, n)
        parts.append(rows @ times.T / n)
    return np.concatenate(parts, axis=1)

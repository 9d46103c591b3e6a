"""Who shares the first place: every loss against every other, corrected over all pairs.

A comparison of all losses with the one that happens to lead would be made with the data that chose it, and is not made.
`leader` says what that choice is worth on seeds that had no part in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from xentlab.analysis.failures import ValueTable, common, finished_or_none, score_of_failures, scored
from xentlab.analysis.interval import Array
from xentlab.analysis.paired import Direction, holm, paired_differences
from xentlab.analysis.permutation import sign_flips
from xentlab.analysis.planning import SMALLEST_VERDICT
from xentlab.errors import unknown


def first_places(
    table: ValueTable,
    *,
    direction: Direction,
    baseline: str | None = None,
    trivial: float | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> set[str]:
    """The losses that no other is shown to beat, by sign flips over all pairs with Holm.

    The chance that a loss is left out which is as good as every other is at most alpha over the whole table. With a
    baseline, half of alpha goes to the pairs that hold it: those were planned, and the pairs of fifty losses alone
    would leave none room to be told apart.

    Args:
        table: loss -> seed -> value; None, nan and inf are trials that failed.
        direction: whether smaller (`min`) or larger (`max`) is better.
        baseline: the loss that the others are compared with, if there is one.
        trivial: what a failed trial scores; None for the worst value of the table.
        alpha: level over all pairs, in (0, 1).
        seed: decides the sign draws beyond 24 seeds.

    Returns:
        Their names; a loss of which no trial finished is never among them.
    """
    if baseline is not None and baseline not in table:
        raise unknown("baseline", baseline, table)
    clean = {loss: finished_or_none(trials) for loss, trials in table.items()}
    score = score_of_failures(clean, direction=direction, trivial=trivial)
    values = {loss: found for loss, trials in clean.items() if (found := scored(trials, score))}
    pairs = list(combinations(values, 2))
    differences = [paired_differences(*common(values[a], values[b])) for a, b in pairs]
    adjusted = holm(_tests(differences, seed), _weights(pairs, baseline)) if pairs else ()
    sign = 1 if direction == "min" else -1
    beaten = {
        a if sign * float(d.mean()) > 0 else b
        for (a, b), d, p in zip(pairs, differences, adjusted, strict=True)
        if p < alpha
    }
    return {loss for loss in values if any(v is not None for v in clean[loss].values())} - beaten


@dataclass(frozen=True)
class Leader:
    """The loss with the best mean, and what choosing it is worth.

    Attributes:
        loss: its name.
        mean: its mean over the seeds, which is overestimated: it was chosen for being the best.
        held_out: the mean over the seeds of the value that the leader of all other seeds has on the one left out.
        times: how often that leader was this loss.
        n: the number of seeds, those that every loss ran.
    """

    loss: str
    mean: float
    held_out: float
    times: int
    n: int


def leader(table: ValueTable, *, direction: Direction, trivial: float | None = None) -> Leader | None:
    """The leader of a table; arguments as `best` takes them. None below two losses or two common seeds."""
    clean = {loss: finished_or_none(trials) for loss, trials in table.items()}
    score = score_of_failures(clean, direction=direction, trivial=trivial)
    rows = [scored(trials, score) for trials in clean.values()]
    seeds = sorted(set(rows[0]).intersection(*rows[1:])) if rows else []
    if len(rows) < 2 or len(seeds) < 2:
        return None
    values = np.array([[row[seed] for seed in seeds] for row in rows])
    sign = 1 if direction == "min" else -1
    first = int(np.argmin(sign * values.mean(axis=1)))
    chosen = np.argmin(sign * (values.sum(axis=1, keepdims=True) - values), axis=0)
    held_out = float(values[chosen, np.arange(len(seeds))].mean())
    return Leader(list(clean)[first], float(values[first].mean()), held_out, int((chosen == first).sum()), len(seeds))


def _tests(differences: list[Array], seed: int) -> Array:
    """The p-value of every pair, those of one number of seeds at once; 1 where there are too few."""
    sizes, found = np.array([d.size for d in differences]), np.ones(len(differences))
    for size in {n for n in sizes.tolist() if n >= SMALLEST_VERDICT}:
        (where,) = np.nonzero(sizes == size)
        found[where] = sign_flips(np.stack([differences[i] for i in where]), seed=seed)
    return found


def _weights(pairs: list[tuple[str, str]], baseline: str | None) -> list[float]:
    planned = [baseline in pair for pair in pairs]
    counts: Mapping[bool, int] = {True: sum(planned), False: len(pairs) - sum(planned)}
    return [1 / counts[is_planned] if all(counts.values()) else 1.0 for is_planned in planned]

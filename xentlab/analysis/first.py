"""Who shares the first place: the losses that no other is shown to beat.

A comparison of all losses with the one that happens to lead would be made with the data that chose it, and is not made.
`leader` says what that choice is worth on seeds that had no part in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from xentlab.analysis.failures import ValueTable, common, finished_or_none, score_of_failures, scored
from xentlab.analysis.interval import Array
from xentlab.analysis.judgement import Judgement, Question
from xentlab.analysis.paired import Direction, holm, paired_differences
from xentlab.analysis.permutation import sign_flips
from xentlab.analysis.planning import SMALLEST_VERDICT


def marked(rows: Sequence[Judgement], question: Question, *, alpha: float, seed: int = 0) -> list[Judgement]:
    """The rows, `best` where no other loss is shown to beat that one: alpha is spent on the verdicts, and passed on.

    A loss that is worse than the baseline is beaten by it. Only where a loss is better, which beats the baseline, all
    pairs of the others that are not worse are compared (`first_places`). The chance that a loss is left out which is as
    good as every other stays at most alpha: if the baseline is such a loss, this second step follows a false verdict
    only; if not, a verdict leaves such a loss out by the wrong direction only.

    Args:
        rows: the judgements of one metric, of all its losses.
        question: what was judged; the losses at an edge neither beat nor are beaten.
        alpha: level of the pairs, that of the verdicts; 0 where these answer more than one metric, and leave none over.
        seed: decides the sign draws beyond 24 seeds.
    """
    beaten = {row.loss for row in rows if row.verdict == "worse" or not row.n}
    if any(row.verdict == "better" for row in rows):
        clean = {loss: finished_or_none(trials) for loss, trials in question.table.items()}
        score = score_of_failures(clean, direction=question.direction, trivial=question.trivial)
        baseline = {row.loss for row in rows if row.verdict == "baseline"}
        others = {loss: trials for loss, trials in clean.items() if loss not in baseline | beaten | question.edge}
        first = first_places(others, direction=question.direction, trivial=score, alpha=alpha, seed=seed)
        beaten |= baseline | (others.keys() - first)
    return [dataclasses.replace(row, best=row.loss not in beaten) for row in rows]


def first_places(
    table: ValueTable,
    *,
    direction: Direction,
    trivial: float | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> set[str]:
    """The losses that no other is shown to beat, by sign flips over all pairs with Holm.

    The chance that a loss is left out which is as good as every other is at most alpha, in (0, 1), over the whole
    table. A loss of which no trial finished is never among them. Table, direction and trivial are as in `Question`;
    `seed` decides the sign draws beyond 24 seeds.
    """
    clean = {loss: finished_or_none(trials) for loss, trials in table.items()}
    score = score_of_failures(clean, direction=direction, trivial=trivial)
    values = {loss: found for loss, trials in clean.items() if (found := scored(trials, score))}
    pairs = list(combinations(values, 2))
    differences = [paired_differences(*common(values[a], values[b])) for a, b in pairs]
    sign = 1 if direction == "min" else -1
    beaten = {
        a if sign * float(d.mean()) > 0 else b
        for (a, b), d, p in zip(pairs, differences, holm(_tests(differences, seed)), strict=True)
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
    """The leader of a table; arguments as `first_places` takes them. None below two losses or two common seeds."""
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

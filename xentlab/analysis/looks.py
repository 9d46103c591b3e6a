"""Looking again: a comparison that is judged at several numbers of seeds, with alpha split over the looks.

Each look judges the whole table at an equal share of alpha, Holm within. A loss keeps the first verdict that is not
inconclusive. The chance of any false verdict over all looks is at most the sum of the shares, which is alpha, whatever
makes anyone stop early. Seeds that are added without such a plan have no error rate that could be stated.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from xentlab.analysis.failures import ValueTable
from xentlab.analysis.first import marked
from xentlab.analysis.judgement import Judgement, Question
from xentlab.analysis.verdict import judge_family
from xentlab.errors import UserError


@dataclass(frozen=True)
class Looks:
    """When a comparison is judged: `seeds`, the number of seeds at each look, ascending."""

    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.seeds or list(self.seeds) != sorted(set(self.seeds)) or self.seeds[0] < 2:
            raise UserError(f"looks must be ascending numbers of seeds, at least 2, got {list(self.seeds)}.")

    @property
    def level(self) -> float:
        """alpha of each look: an equal share of 5 %."""
        return 0.05 / len(self.seeds)


@dataclass(frozen=True)
class Looked:
    """What the looks have brought so far.

    Attributes:
        rows: one judgement for each loss: of the look that decided it, or of the last one taken.
        seeds: loss -> how many seeds its judgement rests on.
        done: whether every loss is decided or no look is left.
    """

    rows: list[Judgement]
    seeds: dict[str, int]
    done: bool


def judge_looks(question: Question, looks: Looks, *, baseline: str) -> Looked:
    """Judge a table at every look for which all its losses have seeds, until each is decided.

    The chance of any false better or worse, and of any false equivalent, is 5 % over all looks.

    Args:
        question: the table with all seeds so far; a look takes the first of them in ascending order.
        looks: the plan, stated before the first seed.
        baseline: the loss that the others are compared with.

    Raises:
        UserError: there are fewer seeds than the first look needs.
    """
    have = min(len(trials) for trials in question.table.values())
    if have < looks.seeds[0]:
        raise UserError(f"the first look needs {looks.seeds[0]} seeds, got {have}.")
    rows: dict[str, Judgement] = {}
    seeds: dict[str, int] = {}
    done = False
    for n in looks.seeds:
        if n > have or done:
            break
        so_far = dataclasses.replace(question, table=_first(question.table, n))
        for row in judge_family({"": so_far}, baseline=baseline, alpha=looks.level)[""]:
            if row.loss not in rows or rows[row.loss].verdict in ("inconclusive", "baseline"):
                rows[row.loss], seeds[row.loss] = row, n
        done = n == looks.seeds[-1] or all(row.verdict != "inconclusive" for row in rows.values())
    return Looked(marked([rows[loss] for loss in question.table], so_far, alpha=looks.level), seeds, done)


def _first(table: ValueTable, n: int) -> dict[str, dict[int, float | None]]:
    return {loss: {seed: trials[seed] for seed in sorted(trials)[:n]} for loss, trials in table.items()}

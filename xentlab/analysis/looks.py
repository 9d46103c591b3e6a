"""Looking again: a comparison that is judged at several numbers of seeds, with alpha split over the looks.

Each look judges the whole table at its own share of alpha, Holm within. A loss keeps the first verdict that is not
inconclusive. The chance of any false verdict over all looks is at most the sum of the shares, which is alpha, whatever
makes anyone stop early. Seeds that are added without such a plan have no error rate that could be stated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xentlab.analysis.first import marked
from xentlab.analysis.judgement import Judgement, Question
from xentlab.analysis.verdict import judge_family
from xentlab.errors import UserError


@dataclass(frozen=True)
class Looks:
    """When a comparison is judged, and at what share of alpha.

    Attributes:
        seeds: the number of seeds at each look, ascending.
        shares: of alpha, one for each look, > 0, 1 together; none given splits it equally.
    """

    seeds: tuple[int, ...]
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.seeds or list(self.seeds) != sorted(set(self.seeds)) or self.seeds[0] < 2:
            raise UserError(f"looks must be ascending numbers of seeds, at least 2, got {list(self.seeds)}.")
        if self.shares and (
            len(self.shares) != len(self.seeds) or min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-9
        ):
            raise UserError(f"the shares of alpha must be > 0 and 1 together, one for each look, got {self.shares}.")

    def levels(self, alpha: float) -> tuple[float, ...]:
        """alpha of each look."""
        return tuple(alpha * share for share in self.shares or (1 / len(self.seeds),) * len(self.seeds))


@dataclass(frozen=True)
class Looked:
    """What the looks have brought so far.

    Attributes:
        rows: one judgement for each loss: of the look that decided it, or of the last one taken.
        seeds: loss -> how many seeds its judgement rests on.
        taken: how many looks were taken, the last one at `level`.
        done: whether every loss is decided or no look is left.
    """

    rows: list[Judgement]
    seeds: dict[str, int]
    taken: int
    level: float
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
    taken, levels = 0, looks.levels(0.05)
    for n, level in zip(looks.seeds, levels, strict=True):
        if n > have or (taken and _decided(rows, baseline)):
            break
        taken += 1
        so_far = dataclasses.replace(question, table=_first(question.table, n))
        for row in judge_family({"": so_far}, baseline=baseline, alpha=level)[""]:
            if row.loss not in rows or rows[row.loss].verdict in ("inconclusive", "baseline"):
                rows[row.loss], seeds[row.loss] = row, n
    done = taken == len(looks.seeds) or _decided(rows, baseline)
    last = levels[taken - 1]
    return Looked(marked([rows[loss] for loss in question.table], so_far, alpha=last), seeds, taken, last, done)


def _first(table: Mapping[str, Mapping[int, float | None]], n: int) -> dict[str, dict[int, float | None]]:
    def cut(seeds: Sequence[int], trials: Mapping[int, float | None]) -> dict[int, float | None]:
        return {seed: trials[seed] for seed in seeds[:n]}

    return {loss: cut(sorted(trials), trials) for loss, trials in table.items()}


def _decided(rows: Mapping[str, Judgement], baseline: str) -> bool:
    return all(row.verdict != "inconclusive" for loss, row in rows.items() if loss != baseline)

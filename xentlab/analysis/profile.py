"""Performance profiles: over many problems, how often does each loss come within a factor of the best?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """The performance profile of one loss: the share of problems on which its ratio to the best is at most `tau`.

    Attributes:
        loss: its name.
        n: number of problems.
        ratios: its finite ratios to the best value of their problem, ascending, each >= 1.
    """

    loss: str
    n: int
    ratios: tuple[float, ...]

    def at(self, tau: float) -> float:
        """The share of problems within the factor `tau` >= 1 of the best; at 1, the share on which it was the best."""
        return sum(ratio <= tau for ratio in self.ratios) / self.n


def performance_profiles(table: Mapping[str, Mapping[str, float | None]]) -> list[Profile]:
    """The profile of every loss over the problems of a table, in the order of the first one.

    A ratio is value / best value of the problem; 0 / 0 is 1. A loss without a value on a problem never comes within
    any factor there; a problem that no loss solved counts for none.

    Args:
        table: problem -> loss -> cost >= 0, the smaller the better, or None; the same losses in every problem.

    Reference:
        Dolan & More, Benchmarking optimization software with performance profiles, 2002.
    """
    ratios: dict[str, list[float]] = {name: [] for name in next(iter(table.values()))}
    for costs in table.values():
        known = {name: cost for name, cost in costs.items() if cost is not None and math.isfinite(cost)}
        best = min(known.values(), default=0.0)
        for name, cost in known.items():
            if best > 0 or cost == 0:
                ratios[name].append(cost / best if best > 0 else 1.0)
    return [Profile(name, len(table), tuple(sorted(found))) for name, found in ratios.items()]

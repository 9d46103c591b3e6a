"""Performance profiles: over many problems, how often does each loss come within a factor of the best?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from xentlab.errors import UserError


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
    """The profile of every loss over the problems of a table.

    A ratio is value / best value of the problem; 0 / 0 is 1. A loss without a value on a problem never comes within
    any factor there; a problem that no loss solved counts for none.

    Args:
        table: problem -> loss -> cost >= 0, the smaller the better, or None; the same losses in every problem.

    Returns:
        One profile for each loss, in the order of the first problem.

    Raises:
        UserError: there is no problem, problems have different losses, or a cost is below 0.

    Reference:
        Dolan & More, Benchmarking optimization software with performance profiles, 2002.
    """
    if not table:
        raise UserError("table must hold at least one problem, got none.")
    names = list(next(iter(table.values())))
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for problem, costs in table.items():
        if set(costs) != set(names):
            raise UserError(f"table must have the same losses in every problem, got {sorted(costs)} in {problem}.")
        known = {name: cost for name, cost in costs.items() if cost is not None and math.isfinite(cost)}
        for name, cost in known.items():
            if cost < 0:
                raise UserError(f"costs must be >= 0, got {cost:g} of {name} in {problem}.")
            ratios[name].append(_ratio(cost, min(known.values())))
    return [
        Profile(name, len(table), tuple(sorted(r for r in found if math.isfinite(r)))) for name, found in ratios.items()
    ]


def costs(values: Mapping[str, float | None], *, bounded: bool, direction: str) -> dict[str, float | None]:
    """The values of one problem as costs: as they are where smaller is better, else what they lack of 1.

    Args:
        values: loss -> value or None.
        bounded: whether the values are fractions of something that is 1 at best.
        direction: whether smaller (`min`) or larger (`max`) is better.

    Raises:
        UserError: larger is better, and there is no bound from which to measure a cost.
    """
    if direction == "min":
        return dict(values)
    if not bounded:
        raise UserError("a performance profile needs costs: a metric that is better larger must be a fraction.")
    return {name: None if value is None else 1.0 - value for name, value in values.items()}


def _ratio(cost: float, best: float) -> float:
    if best > 0:
        return cost / best
    return 1.0 if cost == 0 else math.inf

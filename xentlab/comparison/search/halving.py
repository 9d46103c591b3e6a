"""Successive halving: all points for few epochs, the best share of them for more, the last of them for all.

Each rung is an ordinary training with its own number of epochs and its own schedule over them, so that rungs are
recorded, looked up and resumed like any other trial. Every loss has the same rungs: as many points for as many epochs;
a point whose trials diverged goes on only where too few others are left to fill the next one.

What it cannot see: a point that starts slowly and would have led at the end leaves at the first rung.

Reference: Jamieson, Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence

from xentlab.comparison.search.contract import Point, Scores, Search, Space, order
from xentlab.comparison.search.grid import Grid
from xentlab.errors import UserError
from xentlab.report.setup import Rung


def plan_rungs(points: int, epochs: int, *, eta: int, min_epochs: int) -> tuple[Rung, ...]:
    """The rungs, shortest first: as many as there are points to tell apart and epochs to train them for.

    From one to the next the points are divided by `eta`, rounded up, and counted from the last, whose epochs are all,
    the epochs are divided by it, rounded down, to `min_epochs` or more. Only the last rung may hold a single point.

    Raises:
        UserError: nothing could be halved.
    """
    if points < 2:
        raise UserError(f"comparison.search=halving needs at least 2 points for each loss, got {points}.")
    if epochs // eta < min_epochs:
        raise UserError(
            f"comparison.search=halving needs trainer.epochs >= comparison.eta * comparison.min_epochs = "
            f"{eta * min_epochs}, got {epochs}."
        )
    sizes, lengths = [points], [epochs]
    while sizes[-1] > 1 and lengths[0] // eta >= min_epochs:
        sizes.append(-(-sizes[-1] // eta))
        lengths.insert(0, epochs // eta ** len(lengths))
    return tuple(Rung(size, length) for size, length in zip(sizes, lengths, strict=True))


def trial_epochs(rungs: Sequence[Rung]) -> int:
    """Epochs of all points of one loss under one tuning seed."""
    return sum(rung.points * rung.epochs for rung in rungs)


class Halving(Search):
    """A grid up the rungs; where the winner of the last one sits on the edge, the grid is extended at all epochs."""

    def __init__(self, space: Space, monitor: str, rungs: Sequence[Rung], extensions: int) -> None:
        super().__init__(space, monitor)
        self._rungs = tuple(rungs)
        self._grid = Grid(space, monitor, extensions)
        self._climbed = 0
        self._alive: list[Point] = []

    def ask(self, scores: Scores) -> list[Point]:
        if self._climbed == len(self._rungs):
            points = self._grid.ask(scores)
            self.extended = self._grid.extended
            return points
        rung = self._rungs[self._climbed]
        if self._climbed == 0:
            self._alive = self._grid.ask({})
        else:
            # Those that left have scores of fewer epochs and stay out even where all that went on diverged.
            self._alive = order({point: scores[point] for point in self._alive}, self.monitor)[: rung.points]
        self._climbed += 1
        self.epochs = rung.epochs if self._climbed < len(self._rungs) else None
        return self._alive

    def edges(self, scores: Scores) -> dict[str, int]:
        return self._grid.edges(scores)

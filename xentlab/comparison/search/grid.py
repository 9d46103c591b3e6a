"""The search over a grid: every combination, and further out where the best one sits on the edge."""

from __future__ import annotations

import itertools

from xentlab.comparison.search.contract import Point, Scores, Search, Space, best_point, shortened, tried_values


class Grid(Search):
    """Every combination; a winner on the edge has its grid extended on that side, in the grid's own ratio."""

    def __init__(self, space: Space, monitor: str, extensions: int) -> None:
        super().__init__(space, monitor)
        self._extensions = extensions

    def ask(self, scores: Scores) -> list[Point]:
        if not scores:
            return list(itertools.product(*([(key, v) for v in values] for key, values in self.space.items())))
        if self._extensions == 0:
            return []
        self._extensions -= 1
        chosen = best_point(scores, self.monitor)
        points = [self._beyond(scores, chosen, key, side) for key, side in self.edges(scores).items()]
        self.extended += len(points)
        return points

    def edges(self, scores: Scores) -> dict[str, int]:
        chosen, found = dict(best_point(scores, self.monitor)), {}
        for key in self.space:
            tried = tried_values(scores, key)
            if len(tried) > 1 and chosen[key] in (tried[0], tried[-1]):
                found[key] = -1 if chosen[key] == tried[0] else 1
        return found

    def _beyond(self, scores: Scores, chosen: Point, key: str, side: int) -> Point:
        tried = tried_values(scores, key)
        near, inner = (tried[0], tried[1]) if side < 0 else (tried[-1], tried[-2])
        beyond = near * (near / inner) if near > 0 and inner > 0 else near + (near - inner)
        return tuple((k, shortened(beyond) if k == key else v) for k, v in chosen)

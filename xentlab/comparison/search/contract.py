"""What every search shares: points, their scores, the order of both, and the questions that a search answers.

A search is asked for points, again and again, with the scores so far, until it has none left to try. All are
deterministic: the same scores lead to the same points, so that a comparison that was killed goes on as it would have.
To add one: a subclass of `Search` in a module of its own, and its name in `SearchKind` and `make_search`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from xentlab import tasks
from xentlab.analysis import holm, sign_flip
from xentlab.analysis.planning import SMALLEST_VERDICT

Point = tuple[tuple[str, float], ...]
"""Values of the tuned keys, such as (("optimizer.lr", 0.1),)."""

Space = Mapping[str, tuple[float, ...]]
"""Tuned key -> its grid, ascending; or its two bounds where the search draws between them."""


@dataclass(frozen=True)
class Score:
    """One point of one loss: final validation values over the tuning seeds.

    Attributes:
        value: their mean, None where a trial diverged.
        values: one for each tuning seed.
        nll: mean final validation NLL, which decides between points of equal value: errors come in steps.
        epochs: after how many epochs it was taken; None after all that the config asks for.
    """

    value: float | None
    values: tuple[float | None, ...] = ()
    nll: float | None = None
    epochs: int | None = None

    @property
    def n(self) -> int:
        """How many trials finished."""
        return sum(v is not None for v in self.values)


Scores = Mapping[Point, Score]


def rank(score: Score, monitor: str) -> tuple[float, float, float, float]:
    """Smaller is better: diverged last, then the more epochs, then the value by the metric's direction, then the NLL.

    A point that was trained for longer has beaten those that were not; values of different epochs never meet.
    """
    sign = 1.0 if tasks.metric(monitor).direction == "min" else -1.0
    value = math.inf if score.value is None else sign * score.value
    epochs = math.inf if score.epochs is None else score.epochs
    return float(score.value is None), -epochs, value, math.inf if score.nll is None else score.nll


def order(scores: Scores, monitor: str) -> list[Point]:
    """All points, the best first; the smallest values where scores tie, and where every point failed."""
    return sorted(scores, key=lambda point: (*rank(scores[point], monitor), [v for _, v in point]))


def best_point(scores: Scores, monitor: str) -> Point:
    """The first in that order."""
    return order(scores, monitor)[0]


class Search(ABC):
    """Points to try for one loss.

    Attributes:
        extended: how many points were added because a winner sat on an edge.
        epochs: what the points last asked for are to be trained for; None for all that the config asks for.
    """

    def __init__(self, space: Space, monitor: str) -> None:
        self.space, self.monitor = space, monitor
        self.extended = 0
        self.epochs: int | None = None

    @abstractmethod
    def ask(self, scores: Scores) -> list[Point]:
        """The next points, given all scores so far; none when the search is over."""

    @abstractmethod
    def edges(self, scores: Scores) -> dict[str, int]:
        """The keys whose best value sits on the edge of what was tried: -1 the low one, 1 the high one."""


def neighbours_within_noise(scores: Scores, chosen: Point, key: str) -> list[float]:
    """The values of `key` next to the chosen one whose scores the paired draws do not tell from it.

    By the sign-flip test with Holm over the neighbours. Fewer than six draws tell nothing apart, and nothing is said of
    them; neither is a score told that was taken after another number of epochs.
    """
    tried, value = tried_values(scores, key), dict(chosen)[key]
    place = tried.index(value)
    tests: dict[float, float] = {}
    for other in (tried[i] for i in (place - 1, place + 1) if 0 <= i < len(tried)):
        point = tuple((k, other if k == key else v) for k, v in chosen)
        same = point in scores and scores[point].epochs == scores[chosen].epochs
        theirs = scores[point].values if same else ()
        pairs = [a - b for a, b in zip(scores[chosen].values, theirs, strict=False) if a is not None and b is not None]
        if len(pairs) >= SMALLEST_VERDICT and len(theirs) == len(scores[chosen].values):
            tests[other] = sign_flip(pairs)
    return [other for other, p in zip(tests, holm(list(tests.values())), strict=True) if p >= 0.05]


def tried_values(scores: Scores, key: str) -> list[float]:
    """The values of one key among all points, ascending."""
    return sorted({value for point in scores for k, value in point if k == key})


def shortened(value: float) -> float:
    """A value that a person can read and that stays the same when written down."""
    return float(f"{value:.4g}")

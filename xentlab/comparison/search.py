"""Searching a space of knobs at one budget for every loss: a grid, a Sobol sequence, or Optuna's sampler.

A search is asked for points, again and again, with the scores so far, until it has none left to try. All are
deterministic: the same scores lead to the same points, so that a comparison that was killed goes on as it would have.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xentlab.errors import UserError
from xentlab.metrics import DIRECTIONS

Point = tuple[tuple[str, float], ...]
"""Values of the tuned keys, such as (("optimizer.lr", 0.1),)."""

Space = Mapping[str, tuple[float, ...]]
"""Tuned key -> its grid, ascending; or its two bounds where the search draws between them."""

Kind = Literal["grid", "sobol", "optuna"]

# A drawn winner this close to a bound, as a share of the range, sits on the edge.
_EDGE_SHARE = 0.05
# Optuna sees the scores of one batch before it draws the next.
_BATCHES = 4


@dataclass(frozen=True)
class Score:
    """One point of one loss: final validation values over the tuning seeds.

    Attributes:
        value: their mean, None where a trial diverged.
        values: one for each tuning seed.
        nll: mean final validation NLL, which decides between points of equal value: errors come in steps.
    """

    value: float | None
    values: tuple[float | None, ...] = ()
    nll: float | None = None

    @property
    def n(self) -> int:
        """How many trials finished."""
        return sum(v is not None for v in self.values)


Scores = Mapping[Point, Score]


def rank(score: Score, monitor: str) -> tuple[float, float]:
    """Smaller is better: the value by the metric's direction, then the NLL."""
    sign = 1.0 if DIRECTIONS[monitor] == "min" else -1.0
    value = math.inf if score.value is None else sign * score.value
    return value, math.inf if score.nll is None else score.nll


def best(scores: Scores, monitor: str) -> Point:
    """The best point; the smallest values where scores tie, and where every point failed."""
    return min(scores, key=lambda point: (*rank(scores[point], monitor), [v for _, v in point]))


class Search(ABC):
    """Points to try for one loss."""

    def __init__(self, space: Space, monitor: str) -> None:
        self.space, self.monitor = space, monitor
        self.extended = 0

    @abstractmethod
    def ask(self, scores: Scores) -> list[Point]:
        """The next points, given all scores so far; none when the search is over."""

    @abstractmethod
    def edges(self, scores: Scores) -> dict[str, int]:
        """The keys whose best value sits on the edge of what was tried: -1 the low one, 1 the high one."""


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
        chosen = best(scores, self.monitor)
        points = [self._beyond(scores, chosen, key, side) for key, side in self.edges(scores).items()]
        self.extended += len(points)
        return points

    def edges(self, scores: Scores) -> dict[str, int]:
        chosen, found = dict(best(scores, self.monitor)), {}
        for key in self.space:
            tried = _tried(scores, key)
            if len(tried) > 1 and chosen[key] in (tried[0], tried[-1]):
                found[key] = -1 if chosen[key] == tried[0] else 1
        return found

    def _beyond(self, scores: Scores, chosen: Point, key: str, side: int) -> Point:
        tried = _tried(scores, key)
        near, inner = (tried[0], tried[1]) if side < 0 else (tried[-1], tried[-2])
        beyond = near * (near / inner) if near > 0 and inner > 0 else near + (near - inner)
        return tuple((k, _short(beyond) if k == key else v) for k, v in chosen)


class _Drawn(Search):
    """Points between bounds, on a log scale where the bounds are positive and a decade or more apart."""

    def __init__(self, space: Space, monitor: str, trials: int) -> None:
        super().__init__(space, monitor)
        self._trials = trials
        for key, bounds in space.items():
            if len(bounds) != 2:
                raise UserError(
                    f"comparison.tune.{key} must be two bounds unless comparison.search=grid, got {bounds}."
                )

    def _is_log(self, key: str) -> bool:
        low, high = self.space[key]
        return low > 0 and high / low >= 10

    def _at(self, key: str, share: float) -> float:
        """The value at a share of the way from the lower to the upper bound."""
        low, high = self.space[key]
        return _short(low * (high / low) ** share if self._is_log(key) else low + (high - low) * share)

    def _share(self, key: str, value: float) -> float:
        low, high = self.space[key]
        if self._is_log(key):
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    def edges(self, scores: Scores) -> dict[str, int]:
        found = {}
        for key, value in best(scores, self.monitor):
            share = self._share(key, value)
            if min(share, 1 - share) < _EDGE_SHARE:
                found[key] = -1 if share < 0.5 else 1
        return found


class Sobol(_Drawn):
    """A quasi-random sequence that fills the space evenly, the same for every loss."""

    def ask(self, scores: Scores) -> list[Point]:
        if scores:
            return []
        from scipy.stats import qmc

        # Unscrambled, so that it needs no seed; its first point is the corner of the space and is left out.
        draws = qmc.Sobol(len(self.space), scramble=False).fast_forward(1).random(self._trials)
        return [tuple((k, self._at(k, s)) for k, s in zip(self.space, row, strict=True)) for row in draws]


class Optuna(_Drawn):
    """Optuna's tree-structured Parzen estimator, asked and told in batches."""

    def __init__(self, space: Space, monitor: str, trials: int) -> None:
        super().__init__(space, monitor, trials)
        try:
            import optuna
        except ImportError as error:
            raise UserError("comparison.search=optuna needs its extra: pip install 'xentlab[optuna]'.") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._fail = optuna.trial.TrialState.FAIL
        self._ranges = {
            k: optuna.distributions.FloatDistribution(low, high, log=self._is_log(k))
            for k, (low, high) in space.items()
        }
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
        self._open: dict[Point, Any] = {}
        self._asked = 0

    def ask(self, scores: Scores) -> list[Point]:
        for point, trial in self._open.items():
            value, _ = rank(scores[point], self.monitor)
            if math.isfinite(value):
                self._study.tell(trial, value)
            else:
                self._study.tell(trial, state=self._fail)
        self._open = {}
        size = min(math.ceil(self._trials / _BATCHES), self._trials - self._asked)
        for _ in range(size):
            trial = self._study.ask(self._ranges)
            self._open[tuple((k, _short(trial.params[k])) for k in self.space)] = trial
        self._asked += size
        return list(self._open)


def make_search(kind: Kind, space: Space, monitor: str, *, trials: int | None, extensions: int) -> Search:
    """The search of one loss over its space."""
    if kind == "grid":
        return Grid(space, monitor, extensions)
    if trials is None:
        raise UserError(
            f"comparison.trials must be a number of trials per loss with comparison.search={kind}, got null."
        )
    return Sobol(space, monitor, trials) if kind == "sobol" else Optuna(space, monitor, trials)


def neighbours_within_noise(scores: Scores, chosen: Point, key: str) -> list[float]:
    """The values of `key` next to the chosen one whose scores do not differ from it by more than the seeds' noise.

    Noise is two standard errors of the paired difference over the tuning seeds; one seed says nothing about it.
    """
    tried, value = _tried(scores, key), dict(chosen)[key]
    place = tried.index(value)
    near = [tried[i] for i in (place - 1, place + 1) if 0 <= i < len(tried)]
    mine = scores[chosen].values
    found = []
    for other in near:
        point = tuple((k, other if k == key else v) for k, v in chosen)
        theirs = scores[point].values if point in scores else ()
        pairs = [a - b for a, b in zip(mine, theirs, strict=False) if a is not None and b is not None]
        if len(pairs) < 2:
            continue
        mean = sum(pairs) / len(pairs)
        error = math.sqrt(sum((p - mean) ** 2 for p in pairs) / (len(pairs) - 1) / len(pairs))
        if abs(mean) <= 2 * error:
            found.append(other)
    return found


def _tried(scores: Scores, key: str) -> list[float]:
    return sorted({value for point in scores for k, value in point if k == key})


def _short(value: float) -> float:
    """A value that a person can read and that stays the same when written down."""
    return float(f"{value:.4g}")

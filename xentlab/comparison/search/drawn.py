"""Searches that draw points between two bounds: a Sobol sequence, and Optuna's sampler."""

from __future__ import annotations

import math
from typing import Any

from xentlab.comparison.search.contract import Point, Scores, Search, Space, best_point, rank, shortened

# A drawn winner this close to a bound, as a share of the range, sits on the edge.
_EDGE_SHARE = 0.05
# Optuna sees the scores of one batch before it draws the next.
_BATCHES = 4


class _Drawn(Search):
    """Points between bounds, on a log scale where the bounds are positive and a decade or more apart."""

    def __init__(self, space: Space, monitor: str, trials: int) -> None:
        super().__init__(space, monitor)
        self._trials = trials

    def _is_log(self, key: str) -> bool:
        low, high = self.space[key]
        return low > 0 and high / low >= 10

    def _at(self, key: str, share: float) -> float:
        """The value at a share of the way from the lower to the upper bound."""
        low, high = self.space[key]
        return shortened(low * (high / low) ** share if self._is_log(key) else low + (high - low) * share)

    def _share(self, key: str, value: float) -> float:
        low, high = self.space[key]
        if self._is_log(key):
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    def edges(self, scores: Scores) -> dict[str, int]:
        found = {}
        for key, value in best_point(scores, self.monitor):
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
        import optuna

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
            _, _, value, _ = rank(scores[point], self.monitor)
            if math.isfinite(value):
                self._study.tell(trial, value)
            else:
                self._study.tell(trial, state=self._fail)
        self._open = {}
        size = min(math.ceil(self._trials / _BATCHES), self._trials - self._asked)
        for _ in range(size):
            trial = self._study.ask(self._ranges)
            self._open[tuple((k, shortened(trial.params[k])) for k in self.space)] = trial
        self._asked += size
        return list(self._open)

"""How the trials of a stack have fared so far: one row each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xentlab import tasks


@dataclass
class History:
    """What R trials have come to.

    Attributes:
        monitor: the metric that is looked at, on validation.
        target: the value of it that counts as reached, or None.
        patience: epochs without a better value after which a row stops, or None.
        plateau: epochs without a better value that are borne before a row's rate is lowered, or None.
        lowered: how often each row's rate was, and in `lowered_in` when last.
        diverged: whose loss or weights are not finite any more.
        best: the best finite value so far.
        best_epoch: when that was; 0 before any.
        last: the latest value, None where it was not finite.
        reached: the epoch in which the target was reached.
        done: epochs that all of them have trained.
        seconds: of training, of all of them together.
    """

    monitor: str
    target: float | None
    patience: int | None
    plateau: int | None
    diverged: list[bool]
    best: list[float | None]
    best_epoch: list[int]
    last: list[float | None]
    reached: list[int | None]
    lowered: list[int]
    lowered_in: list[int]
    done: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, trials: int, monitor: str, target: float | None, patience: int | None, plateau: int | None) -> History:
        """Before the first epoch of so many trials."""
        nothing: list[Any] = [None] * trials
        none, never = [False] * trials, [0] * trials
        told = (monitor, target, patience, plateau)
        return cls(*told, none, nothing, never, nothing[:], nothing[:], never[:], never[:])

    @property
    def over(self) -> list[bool]:
        """Whose training has come to its end: it diverged, or lost patience."""
        return [gone or self._waited(row, self.done) for row, gone in enumerate(self.diverged)]

    def _waited(self, row: int, done: int) -> bool:
        return self.patience is not None and done - self.best_epoch[row] >= self.patience

    def judge(self, values: dict[str, list[float]]) -> list[int]:
        """Take in an epoch's metrics and empty those of diverged rows; returns the rows that are at their best."""
        monitor = tasks.metric(self.monitor)
        better: list[int] = []
        for row, value in enumerate(values[f"val/{self.monitor}"]):
            if self.diverged[row]:
                for name in values:
                    if not name.startswith(("optim/lr", "speed/")):
                        values[name][row] = math.nan
                continue
            if self._waited(row, self.done - 1):  # it had stopped before this epoch
                continue
            best = self.best[row]
            self.last[row] = value if math.isfinite(value) else None
            if math.isfinite(value) and (best is None or monitor.better(value, best)):
                self.best[row], self.best_epoch[row] = value, self.done
                better.append(row)
            if self.target is not None and self.reached[row] is None:
                hit = value == self.target or monitor.better(value, self.target)
                self.reached[row] = self.done if hit else None
            if self.plateau is not None and self.done - max(self.best_epoch[row], self.lowered_in[row]) > self.plateau:
                self.lowered[row], self.lowered_in[row] = self.lowered[row] + 1, self.done
        return better

    def snapshot(self) -> dict[str, Any]:
        """All of it as plain data, of its own."""
        return vars(self.take(range(len(self.best))))

    @classmethod
    def restored(cls, snapshot: Mapping[str, Any]) -> History:
        """What `snapshot` was taken of."""
        return cls(**snapshot).take(range(len(snapshot["best"])))

    def take(self, rows: Sequence[int]) -> History:
        """How these trials alone have fared."""
        own: dict[str, Any] = {k: [v[r] for r in rows] if isinstance(v, list) else v for k, v in vars(self).items()}
        return History(**own | {"seconds": self.seconds * len(rows) / len(self.best)})

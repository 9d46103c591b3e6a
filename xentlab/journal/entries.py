"""One trial and one group as the journal knows them; `marks` are what people have said of them, see `MarkEvent`."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

from xentlab.outcome import Outcome


@dataclass(kw_only=True)
class _Marked:
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def removed(self) -> bool:
        """Whether it is in the trash, or gone."""
        return bool(self.marks.get("place"))


@dataclass
class TrialRecord(_Marked):
    """One trial as the journal knows it.

    `curves` holds (epoch, milliseconds, value or None) by metric name, epochs ascending without double; one is missing
    only where its line was damaged. `status` is running, finished, failed, interrupted or killed; `ended` is how a
    finished one ended; `session` is the segment of its last `attempt`.
    """

    id: str
    signature: str
    label: str
    config: dict[str, Any]
    tags: dict[str, str]
    session: str
    start: int
    status: str = "running"
    reason: str = ""
    end: int | None = None
    curves: dict[str, list[tuple[int, int, float | None]]] = field(default_factory=dict)
    ended: Outcome | None = None
    artifacts: str | None = None
    epochs: int = 0
    attempt: int = 0

    @property
    def outcome(self) -> Outcome:
        """How it ended; only a finished trial has one."""
        assert self.ended is not None, f"trial {self.id} is {self.status}"
        return self.ended

    def at(self, metric: str, epoch: int) -> float | None:
        """What a metric was in an epoch; None where it was not finite or is not known."""
        curve = self.curves.get(metric, [])
        place = bisect_left(curve, (epoch,))
        return curve[place][2] if place < len(curve) and curve[place][0] == epoch else None

    def final(self, metric: str) -> float | None:
        """What a metric was under the final weights: of the last epoch, under `trainer.patience` of the best one."""
        points = self.curves.get(metric)
        if self.config.get("trainer", {}).get("patience") is not None and self.outcome.best is not None:
            return self.at(metric, self.outcome.best_epoch)
        return points[-1][2] if points else None


@dataclass
class GroupRecord(_Marked):
    """A sweep, a comparison, or one loss of a comparison: what its trials are filed under.

    `curves` holds (step, value) by metric name: what is said of all its trials together.
    """

    id: str
    kind: str
    name: str
    parent: str | None
    params: dict[str, Any]
    tags: dict[str, str]
    session: str
    start: int
    status: str = "running"
    end: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    artifacts: str | None = None
    members: list[str] = field(default_factory=list)
    attempt: int = 0


def last_time(record: TrialRecord | GroupRecord) -> int:
    """When it was last heard of, in milliseconds since the epoch."""
    if isinstance(record, GroupRecord):
        return record.start
    return max((points[-1][1] for points in record.curves.values() if points), default=record.start)

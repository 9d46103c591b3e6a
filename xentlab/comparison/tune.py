"""Tuning: the same grid and the same seeds for every loss, chosen on validation. No test data can be reached here."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from xentlab.comparison.protocol import Point, Protocol
from xentlab.journal import TrialRecord
from xentlab.metrics import DIRECTIONS
from xentlab.train import Trial

RunTrials = Callable[[Sequence[tuple[str, Trial]]], list[TrialRecord]]


@dataclass(frozen=True)
class Score:
    """One point of one loss: mean final validation value over the tuning seeds, None where a trial diverged."""

    value: float | None
    n: int


@dataclass
class Tuning:
    """How one loss was tuned.

    Attributes:
        scores: every point that was tried.
        chosen: the point with the best score.
        on_edge: the keys whose chosen value is still the outermost of its grid.
        extended: how many points were added because a winner sat on an edge.
    """

    scores: dict[Point, Score] = field(default_factory=dict)
    chosen: Point = ()
    on_edge: tuple[str, ...] = ()
    extended: int = 0


def tune(protocol: Protocol, monitor: str, run: RunTrials) -> dict[str, Tuning]:
    """Tune every loss on the protocol's grids; a winner on the edge has its grid extended on that side, within bounds.

    Args:
        protocol: the comparison.
        monitor: the validation metric that selects.
        run: runs (label, trial) pairs and returns their records in order.
    """
    tunings = {label: Tuning() for label in protocol.losses}
    wanted = {label: protocol.points() for label in protocol.losses}
    for round_number in range(protocol.extensions + 1):
        jobs = [(label, p, s) for label, points in wanted.items() for p in points for s in protocol.tuning_seeds]
        records = run([(label, protocol.trial(label, p, s, test=False)) for label, p, s in jobs])
        _collect(tunings, wanted, jobs, records, monitor)
        for tuning in tunings.values():
            tuning.chosen = _best(tuning.scores, monitor)
        wanted = {label: _beyond(tuning, protocol) for label, tuning in tunings.items()}
        wanted = {label: points for label, points in wanted.items() if points}
        for label, tuning in tunings.items():
            tuning.on_edge = tuple(key for key in protocol.grids if _edge(tuning, key) is not None)
            if label in wanted and round_number < protocol.extensions:
                tuning.extended += len(wanted[label])
        if not wanted:
            break
    return tunings


def _collect(
    tunings: Mapping[str, Tuning],
    wanted: Mapping[str, Sequence[Point]],
    jobs: Sequence[tuple[str, Point, int]],
    records: Sequence[TrialRecord],
    monitor: str,
) -> None:
    values: dict[tuple[str, Point], list[float | None]] = {}
    for (label, point, _), record in zip(jobs, records, strict=True):
        values.setdefault((label, point), []).append(final_value(record, f"val/{monitor}"))
    for label, points in wanted.items():
        for point in points:
            found = values[label, point]
            finished = [v for v in found if v is not None]
            sound = len(finished) == len(found)
            tunings[label].scores[point] = Score(statistics.fmean(finished) if sound else None, len(finished))


def final_value(record: TrialRecord, key: str) -> float | None:
    """A trial's value at its last epoch, None where it diverged."""
    points = record.curves.get(key)
    return points[-1][2] if points and not record.summary["diverged"] else None


def _best(scores: Mapping[Point, Score], monitor: str) -> Point:
    """The best point; the smallest values where scores tie, and where every point failed."""
    sign = 1.0 if DIRECTIONS[monitor] == "min" else -1.0

    def key(point: Point) -> tuple[float, list[float]]:
        value = scores[point].value
        return (float("inf") if value is None else sign * value, [v for _, v in point])

    return min(scores, key=key)


def _edge(tuning: Tuning, key: str) -> int | None:
    """-1 or +1 where the chosen value is the lowest or highest that was tried, None inside or with a single value."""
    tried = sorted({value for point in tuning.scores for k, value in point if k == key})
    chosen = dict(tuning.chosen)[key]
    if len(tried) < 2:
        return None
    return -1 if chosen == tried[0] else 1 if chosen == tried[-1] else None


def _beyond(tuning: Tuning, protocol: Protocol) -> list[Point]:
    """The next point outside, in the grid's own ratio, for each key whose chosen value sits on the edge."""
    points = []
    for key in protocol.grids:
        edge = _edge(tuning, key)
        if edge is None:
            continue
        tried = sorted({value for point in tuning.scores for k, value in point if k == key})
        near, next_to = (tried[0], tried[1]) if edge < 0 else (tried[-1], tried[-2])
        beyond = near * (near / next_to) if near > 0 and next_to > 0 else near + (near - next_to)
        points.append(tuple((k, float(f"{beyond:.6g}") if k == key else v) for k, v in tuning.chosen))
    return points

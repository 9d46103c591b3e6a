"""Tuning: the same grid and the same seeds for every loss, chosen on validation. No test data can be reached here."""

from __future__ import annotations

import math
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
    """One point of one loss: mean final validation value over the tuning seeds, None where a trial diverged.

    `nll` is the mean final validation NLL, which decides between points of equal value: errors come in steps.
    """

    value: float | None
    n: int
    nll: float | None = None


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
    grouped: dict[tuple[str, Point], list[TrialRecord]] = {}
    for (label, point, _), record in zip(jobs, records, strict=True):
        grouped.setdefault((label, point), []).append(record)
    for label, points in wanted.items():
        for point in points:
            mine = grouped[label, point]
            finished = sum(final_value(r, f"val/{monitor}") is not None for r in mine)
            tunings[label].scores[point] = Score(_mean(mine, f"val/{monitor}"), finished, _mean(mine, "val/nll"))


def _mean(records: Sequence[TrialRecord], key: str) -> float | None:
    """The mean final value, None where any trial has none."""
    values = [final_value(r, key) for r in records]
    known = [v for v in values if v is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def final_value(record: TrialRecord, key: str) -> float | None:
    """A trial's value at its last epoch, None where it diverged."""
    points = record.curves.get(key)
    return points[-1][2] if points and not record.summary["diverged"] else None


def _best(scores: Mapping[Point, Score], monitor: str) -> Point:
    """The best point; the lower NLL, then the smaller values where scores tie."""
    sign = 1.0 if DIRECTIONS[monitor] == "min" else -1.0

    def key(point: Point) -> tuple[float, float, list[float]]:
        score = scores[point]
        value = math.inf if score.value is None else sign * score.value
        return (value, math.inf if score.nll is None else score.nll, [v for _, v in point])

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

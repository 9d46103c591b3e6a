"""Numbers of a record against the same numbers made here: each is put into the first class that it satisfies.

bit-identical       equal to the last bit
within tolerance    equal to 1e-6 of its size: the order of a sum
within seed noise   no farther apart than two trials (or means) that differ in nothing but their seeds
differs             anything else
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

from xentlab.analysis import Judgement
from xentlab.comparison.folder import phase
from xentlab.journal import Records, TrialRecord
from xentlab.report.record import Record

Closeness = Literal["bit-identical", "within tolerance", "within seed noise", "differs"]
CLOSENESS: tuple[Closeness, ...] = ("bit-identical", "within tolerance", "within seed noise", "differs")
TOLERANCE = 1e-6
"""Relative."""

# Of a row's numbers, what rests on its loss alone, and what on all losses; the others rest on the baseline too.
_OF_ONE_LOSS = ("mean", "low", "high", "n", "failed", "sd", "family", "failure_score")
_OF_ALL_LOSSES = ("diff_low", "diff_high", "p_holm", "p_equivalence", "seeds_needed", "best")

# Two normal numbers of equal mean lie within this many standard deviations of their difference 95 times in 100.
_NORMAL_95 = 1.96
# What a summary says of how a trial ran, not of what came out.
_HOW = ("seconds", "stack", "lift")


@dataclass(frozen=True)
class NumberAgain:
    """One number, or one curve, of a record and of its reproduction; of a curve, the value farthest off."""

    what: str
    recorded: Any
    here: Any
    level: Closeness


def peers_of(records: Records, record: TrialRecord) -> list[TrialRecord]:
    """The other final trials of the comparison and loss under which a trial is filed: what a change of seed does.

    The trial itself is not among them: a number that is wrong must not widen its own noise.
    """
    for group in records.groups.values():
        if group.kind == "loss" and record.id in group.members and "reproduces" not in group.tags:
            members = [records.trials[name] for name in group.members]
            return [t for t in members if t.status == "finished" and phase(t.tags) == "final" and t.id != record.id]
    return []


def judge_trial(recorded: TrialRecord, here: TrialRecord, peers: Sequence[TrialRecord]) -> list[NumberAgain]:
    """Every number and mark of a trial's summary and every curve, judged; bins follow from what is judged here.

    Args:
        peers: trials that differ from it in the seed alone; their standard deviation is the seed noise.
    """
    rows = []
    made, others = here.outcome.to_json(), [peer.outcome.to_json() for peer in peers]
    for key, value in recorded.outcome.to_json().items():
        if key not in _HOW and (value is None or isinstance(value, (bool, int, float))):
            noise = _noise([other.get(key) for other in others], 1)
            rows.append(NumberAgain(key, value, made.get(key), _level(value, made.get(key), noise)))
    for name, points in recorded.curves.items():
        if not name.startswith("speed/"):
            drawn = [_by_epoch(p.curves.get(name, [])) for p in peers]
            rows.append(_judge_curve(name, _by_epoch(points), _by_epoch(here.curves.get(name, [])), drawn))
    return rows


EpochValues = Mapping[int, float | None]
"""Epoch -> value, None where it is not finite."""


def _by_epoch(points: Sequence[tuple[int, int, float | None]]) -> EpochValues:
    return {epoch: value for epoch, _, value in points}


def _judge_curve(name: str, recorded: EpochValues, here: EpochValues, peers: Sequence[EpochValues]) -> NumberAgain:
    """A curve by its worst epoch; where that differs, seed noise is asked of the epochs' mean distance."""
    name = f"{name}, {len(recorded)} epochs"
    if not recorded or recorded.keys() != here.keys():
        return NumberAgain(name, None, None, "differs" if recorded else "bit-identical")
    gaps = {e: abs((v or 0.0) - (here[e] or 0.0)) for e, v in recorded.items()}
    worst = max(gaps, key=lambda epoch: gaps[epoch])
    level = max((_level(v, here[e], 0.0) for e, v in recorded.items()), key=CLOSENESS.index)
    ended = all((v is None) == (here[e] is None) for e, v in recorded.items())
    if level == "differs" and ended:
        noise = statistics.fmean(_noise([peer.get(e) for peer in peers], 1) for e in recorded)
        level = "within seed noise" if statistics.fmean(gaps.values()) <= noise else level
    return NumberAgain(name, recorded[worst], here[worst], level)


def _noise(values: Sequence[Any], n: int) -> float:
    """The largest difference that a change of seed explains between two means of `n`; 0 where it is not known."""
    known = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    return _NORMAL_95 * statistics.stdev(known) * math.sqrt(2 / n) if len(known) > 1 else 0.0


def _level(recorded: Any, here: Any, noise: float) -> Closeness:
    if recorded == here and type(recorded) is type(here):
        return "bit-identical"
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (recorded, here)):
        return "differs"
    if math.isclose(recorded, here, rel_tol=TOLERANCE, abs_tol=0.0):
        return "within tolerance"
    return "within seed noise" if abs(recorded - here) <= noise else "differs"


@dataclass(frozen=True)
class VerdictAgain:
    """One loss on one metric of one comparison: its numbers judged, and whether its verdict stands."""

    cell: str
    metric: str
    loss: str
    mean: NumberAgain
    recorded: str
    here: str

    @property
    def stands(self) -> bool:
        return self.recorded == self.here


def judge_comparison(recorded: Record, here: Record | None, cell: str = "") -> list[VerdictAgain]:
    """Every row of every metric of a comparison's record, judged against the same comparison run here."""
    new = {(m.key, row.loss): row for m in (here.metrics if here is not None else ()) for row in m.rows}
    found = []
    for metric in recorded.metrics:
        others = [new.get((metric.key, row.loss)) for row in metric.rows]
        moved = {r.verdict for r, o in zip(metric.rows, others, strict=True) if o is None or o.values != r.values}
        unlike = set(_OF_ALL_LOSSES) if moved else set()
        if "baseline" in moved:
            unlike = {field.name for field in dataclasses.fields(Judgement)} - {*_OF_ONE_LOSS}
        for row, other in zip(metric.rows, others, strict=True):
            verdict, mean = (other.verdict, other.mean) if other is not None else ("not there", None)
            judged = NumberAgain(metric.key, row.mean, mean, _row_level(row, other, unlike))
            found.append(VerdictAgain(cell, metric.label, row.loss, judged, row.verdict, verdict))
    return found


def _row_level(recorded: Judgement, here: Judgement | None, unlike: Set[str]) -> Closeness:
    """Of every number of the row but of those `unlike` for another loss's sake. Seed noise must explain both the means
    and the seeds' own distances.

    The noise is the smaller of the two sides': a number that is wrong must not widen its own.
    """
    if here is None or recorded.values.keys() != here.values.keys():
        return "differs"
    pairs = [(v, here.values[seed]) for seed, v in recorded.values.items()]
    names = [field.name for field in dataclasses.fields(recorded) if field.name not in unlike]
    numbers = [(getattr(recorded, name), getattr(here, name)) for name in names]
    judged = [pair for pair in numbers if not isinstance(pair[0], (str, dict))]
    levels = {_level(old, new, 0.0) for old, new in [*pairs, *judged]}
    if "differs" not in levels:
        return max(levels, key=CLOSENESS.index)
    gaps = [abs(a - b) for a, b in pairs if a is not None and b is not None]
    apart = any(_level(a, b, 0.0) == "differs" for a, b in pairs)
    ended = all((a is None) == (b is None) for a, b in pairs)
    # Equal values with another mean or interval were not computed from them.
    if not apart or not ended or recorded.mean is None or here.mean is None:
        return "differs"

    def noise(n: int) -> float:
        return min(_noise(side, n) for side in zip(*pairs, strict=True))

    spread = statistics.fmean(gaps) <= noise(1)
    return _level(recorded.mean, here.mean, noise(len(gaps))) if spread else "differs"

"""Trials that failed: what counts as one, and what it scores.

No pair is dropped: a loss that fails where the baseline trains would otherwise be compared on the seeds that suit it. A
failed trial scores what its task's trivial predictor scores, the answer that anyone has without training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

Trials = Mapping[int, float | None]
ValueTable = Mapping[str, Trials]


def finished_or_none(trials: Trials) -> dict[int, float | None]:
    """The trials in ascending order of their seeds, with every value that is not finite as None."""
    return {s: float(v) if (v := trials[s]) is not None and math.isfinite(v) else None for s in sorted(trials)}


def count_failed(trials: Trials) -> int:
    """How many of the trials failed."""
    return sum(v is None for v in trials.values())


def score_of_failures(table: ValueTable, *, direction: str, trivial: float | None) -> float | None:
    """What a failed trial of the table scores: `trivial`, or without one the worst value that any trial reached."""
    if trivial is not None:
        return trivial
    known = [v for trials in table.values() for v in trials.values() if v is not None]
    return None if not known else max(known) if direction == "min" else min(known)


def scored(trials: Trials, score: float | None) -> dict[int, float]:
    """The trials with `score` where one failed; without a score those are left out."""
    return {s: value for s, v in trials.items() if (value := score if v is None else v) is not None}


def common(ours: Mapping[int, float], theirs: Mapping[int, float]) -> tuple[list[float], list[float]]:
    """The values of both on the seeds that both ran, in ascending order of the seeds."""
    shared = [seed for seed in sorted(ours) if seed in theirs]
    return [ours[s] for s in shared], [theirs[s] for s in shared]

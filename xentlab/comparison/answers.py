"""What single test examples add to a comparison: intervals for new examples too, and one model against another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from xentlab import analysis
from xentlab.analysis.planning import SMALLEST_VERDICT
from xentlab.comparison.runner import Result
from xentlab.metrics import Metric
from xentlab.report.diagnostics import Duel, Wider
from xentlab.report.numbers import row_of
from xentlab.report.record import JudgedMetric
from xentlab.run.artifacts import read_answers

Answers = Mapping[str, list[dict[str, np.ndarray]]]
"""Loss -> what the test examples came to under each final trial; nothing of one that diverged."""

_WRONG = "error"


def answers_by_loss(result: Result, root: Path) -> Answers | None:
    """The answers of all final trials; None where some were not kept, or are not to the same examples."""
    found = {
        label: [{} if r.outcome.diverged else read_answers(root / str(r.artifacts)) for r in records]
        for label, records in result.finals.items()
    }
    ended = [
        answers
        for label, records in result.finals.items()
        for record, answers in zip(records, found[label], strict=True)
        if not record.outcome.diverged
    ]
    if not ended or not all(ended) or any(not np.array_equal(a["test"], ended[0]["test"]) for a in ended):
        return None
    return found


def wider(answers: Answers, judged: JudgedMetric, metric: Metric, baseline: str, alpha: float) -> list[Wider]:
    """For each loss its intervals for new seeds and new examples; none where `metric` is not one of examples.

    They are never narrower than those for new seeds alone, whose level and family they have. A trial that diverged has
    its score on every example.
    """
    known = next(each for arm in answers.values() for each in arm if each)
    if metric.name not in known or any(len(arm) < SMALLEST_VERDICT for arm in answers.values()):
        return []
    size = len(known[metric.name])
    tables = {}
    for label, arm in answers.items():
        score = row_of(judged, label).failure_score or 0.0
        rows = [each[metric.name] if each else np.full(size, score**2 if metric.root else score) for each in arm]
        table = np.stack(rows).astype(np.float64)
        tables[label] = analysis.rooted(table) if metric.root else table
    others = [label for label in tables if label != baseline]
    whole = np.stack([*tables.values(), *(tables[label] - tables[baseline] for label in others)])
    levels = [1 - 0.05] * len(tables) + [1 - alpha / row_of(judged, label).family for label in others]
    ends = list(zip(*analysis.crossed(whole, levels=levels), strict=True))
    differences = dict(zip(others, ends[len(tables) :], strict=True))
    found = []
    for label, own in zip(tables, ends, strict=False):
        row = row_of(judged, label)
        low, high = _hull(row.low, row.high, own)
        diff_low, diff_high = _hull(row.diff_low, row.diff_high, differences.get(label))
        found.append(Wider(judged.key, label, size, low, high, diff_low, diff_high))
    return found


def _hull(low: float | None, high: float | None, ends: Sequence[float] | None) -> tuple[float | None, float | None]:
    """The smallest interval that holds both; None where one is missing."""
    if low is None or high is None or ends is None:
        return None, None
    return min(low, float(ends[0])), max(high, float(ends[1]))


def duels(answers: Answers, seeds: Sequence[int], baseline: str) -> list[Duel]:
    """For each loss and seed its model against the baseline's, by the examples that one of them alone gets right."""
    found = []
    for label in answers:
        for seed, ours, theirs in zip(seeds, answers[label], answers[baseline], strict=True):
            if label != baseline and _WRONG in ours and _WRONG in theirs:
                test = analysis.mcnemar(ours[_WRONG], theirs[_WRONG])
                found.append(Duel(label, seed, test.ours, test.theirs, test.p))
    return found

"""A judged comparison as its runs in MLflow show it: tags that read well in a table, numbers that sort, curves.

The run of a loss says how it did over all its seeds, so that a table or a chart of those few runs answers the question
however many trials stand behind it. `xentlab.tracking.views` draws its dashboards from what is written here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from xentlab.analysis import Judgement
from xentlab.report.conclusions import sentences
from xentlab.report.numbers import p_value, row_of, scale_of
from xentlab.report.record import JudgedMetric, Record

DASHBOARD_TAG = "xentlab.shown"
"""The tag of a comparison that says, as JSON, what its dashboards draw."""


Curves = dict[str, list[list[float]]]
"""Name -> its points, [step, value] each."""


def loss_run(record: Record, loss: str, *, place: str) -> tuple[dict[str, str], dict[str, float], Curves]:
    """What the run of one loss shows: tags, numbers, and curves.

    Args:
        place: its place among the cell's losses and cells, by which tables are sorted.
    """
    tags = {"place": place}
    metrics: dict[str, float] = {}
    for metric in record.metrics:
        row = row_of(metric, loss)
        tags[metric.label] = _value(metric, row)
        numbers = {
            "mean": row.mean, "ci_low": row.low, "ci_high": row.high, "n": row.n,
            "difference": row.difference, "difference_ci_low": row.diff_low, "difference_ci_high": row.diff_high,
            "p_holm": row.p_holm,
        }  # fmt: skip
        metrics |= {f"{metric.key}_{name}": float(v) for name, v in numbers.items() if v is not None}
    primary = row_of(record.primary, loss)
    tags |= {"verdict": primary.verdict, "against baseline": _change(record.primary, primary)}
    tags["p Holm"] = p_value(primary.p_holm)
    tags["seeds"] = f"{primary.n} of {primary.n + primary.failed}" if primary.failed else str(primary.n)
    others = [entry.name for entry in record.losses if entry.name != record.baseline]
    tags["mlflow.note.content"] = (
        sentences(record)[others.index(loss)] if loss in others else f"The baseline: {tags[record.primary.label]}."
    )
    return tags, metrics, _curves(record, loss)


def place_by_loss(record: Record, cell: int) -> dict[str, str]:
    """Loss -> its place by the primary metric's mean, best first, within the cell; sorts as text."""
    metric = record.primary
    sign = 1 if metric.direction == "min" else -1
    ordered = sorted(metric.rows, key=lambda row: (row.mean is None, sign * (row.mean or 0.0)))
    return {row.loss: f"{cell:02d}.{number:02d}" for number, row in enumerate(ordered, start=1)}


def dashboard_tag(cells: Sequence[tuple[str, Record]]) -> dict[str, str]:
    """The tag by which dashboards of a comparison know what to draw."""
    first = cells[0][1]
    facts = {
        "metric": first.primary.key,
        "direction": first.primary.direction,
        "columns": [metric.label for metric in first.metrics],
        "curves": {key: first.curve_label(key) for key in first.curves},
        "sensitivity": first.selection if any(len(loss.tuning) > 1 for loss in first.losses) else "",
        "losses": [loss.name for loss in first.losses],
        "cells": {label: sum(row.n + row.failed for row in record.primary.rows) for label, record in cells},
    }
    return {DASHBOARD_TAG: json.dumps(facts, ensure_ascii=False)}


def _value(metric: JudgedMetric, row: Judgement) -> str:
    unit = scale_of(metric)
    if row.mean is None:
        return "no trial finished"
    return f"{unit.value(row.mean)}{unit.unit} {unit.interval(row.low, row.high)}".rstrip()


def _change(metric: JudgedMetric, row: Judgement) -> str:
    if row.verdict == "baseline" or row.difference is None:
        return "–"
    unit = scale_of(metric)
    return f"{unit.change(row.difference)}{unit.points} {unit.interval(row.diff_low, row.diff_high)}".rstrip()


def _curves(record: Record, loss: str) -> Curves:
    """The mean of each validation curve over all seeds with its band, and the best value at each learning rate."""
    found: Curves = {}
    for key, curve in ((key, curves[loss]) for key, curves in record.curves.items() if loss in curves):
        for part, values in (("mean", curve.mean), ("ci_low", curve.low), ("ci_high", curve.high)):
            steps = zip(curve.epochs, values, strict=True)
            found[f"{key}_{part}"] = [[int(epoch), v] for epoch, v in steps if v is not None]
    entry = next(item for item in record.losses if item.name == loss)
    points = [(point.lr, point.value) for point in entry.tuning if point.value is not None]
    if len(points) > 1:
        # the page's axis of a metric is linear only
        found["tuning/log10_lr"] = [[step, math.log10(lr)] for step, (lr, _) in enumerate(points)]
        found[f"tuning/{record.selection}"] = [[step, value] for step, (_, value) in enumerate(points)]
    return found

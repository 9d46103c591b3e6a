"""What only several cells together can tell: mean ranks, who is told apart over the cells, and performance profiles.

Cells that differ in their fairness mode alone are one block of the tests: the same data and model cannot be counted
twice. Such a block is represented by its first cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xentlab import analysis
from xentlab.analysis.profile import costs


def make_overview(cells: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The overview of a study as plain JSON (see `xentlab.report.study.Overview`).

    Args:
        cells: label and record (see `make_record`) of every cell.
    """
    blocks = _blocks(cells)
    losses = [loss for loss in _names(cells[0][1]) if all(loss in _names(record) for _, record in cells)]
    notes = []
    if len(blocks) < len(cells):
        kept = ", ".join(label for label, _ in blocks)
        notes.append(f"Cells that differ only in their fairness mode count once in ranks and profiles: {kept}")
    if len(blocks) < 2 or len(losses) < 2:
        return {"ranks": None, "profiles": [], "notes": notes if len(blocks) > 1 else []}
    if len({record["fingerprint"] for _, record in blocks}) < len(blocks):
        notes.append("Some cells share their data, so they are less than independent evidence")
    return {
        "ranks": _ranks(blocks, losses),
        "profiles": _profiles(blocks, losses, notes),
        "notes": notes,
    }


def _blocks(cells: Sequence[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, Mapping[str, Any]]]:
    """The first cell of each group of cells that differ in nothing but their fairness mode."""
    first: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for label, record in cells:
        mode = str(record["protocol"].get("fairness", "")).partition(":")[0]
        rest = " · ".join(part for part in label.split(" · ") if part != mode)
        first.setdefault(rest, (label, record))
    return list(first.values())


def _names(record: Mapping[str, Any]) -> list[str]:
    return [loss["name"] for loss in record["losses"]]


def _primary(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(metric for metric in record["metrics"] if metric["primary"])


def _ranks(blocks: Sequence[tuple[str, Mapping[str, Any]]], losses: Sequence[str]) -> dict[str, Any]:
    table: dict[str, dict[str, float | None]] = {}
    for label, record in blocks:
        metric = _primary(record)
        sign = 1.0 if metric["direction"] == "min" else -1.0
        means = {row["loss"]: row["mean"] for row in metric["rows"]}
        table[label] = {loss: None if means[loss] is None else sign * means[loss] for loss in losses}
    test, groups = analysis.friedman(table), analysis.inseparable(table)
    return {"ranks": test.ranks, "n": test.n, "p": None if groups is None else test.p, "groups": groups or []}


def _profiles(
    blocks: Sequence[tuple[str, Mapping[str, Any]]], losses: Sequence[str], notes: list[str]
) -> list[dict[str, Any]]:
    """Every block is one problem, by its means; none where a metric has no cost that could be divided."""
    problems: dict[str, dict[str, float | None]] = {}
    for label, record in blocks:
        metric = _primary(record)
        if metric["direction"] == "max" and not metric["percent"]:
            notes.append(f"No performance profile: {metric['label']} is no cost")
            return []
        means = {row["loss"]: row["mean"] for row in metric["rows"] if row["loss"] in losses}
        problems[label] = costs(means, bounded=metric["percent"], direction=metric["direction"])
    profiles = analysis.performance_profiles(problems)
    return [{"loss": p.loss, "n": p.n, "ratios": list(p.ratios)} for p in profiles]

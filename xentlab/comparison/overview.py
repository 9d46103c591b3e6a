"""What only several cells together can tell: mean ranks, who is told apart over the cells, and performance profiles.

Cells that differ in their fairness mode alone are one block of the tests: the same data and model cannot be counted
twice. Such a block is represented by its first cell.
"""

from __future__ import annotations

from collections.abc import Sequence

from xentlab import analysis
from xentlab.report.study import Overview, StudyCell


def make_overview(cells: Sequence[StudyCell]) -> Overview:
    """The overview of a study's cells; whether two differ is told by the axes of their setups, not by their labels."""
    blocks = _blocks(cells)
    losses = [loss for loss in cells[0].record.labels if all(loss in cell.record.labels for cell in cells)]
    notes = []
    if len(blocks) < len(cells):
        shown = ", ".join(cell.label for cell in blocks)
        notes.append(f"Cells that differ only in their fairness mode count once in ranks and profiles: {shown}")
    if len(blocks) < 2 or len(losses) < 2:
        return Overview(notes=notes if len(blocks) > 1 else [])
    if len({cell.record.fingerprint for cell in blocks}) < len(blocks):
        notes.append("Some cells share their data, so they are less than independent evidence")
    table = _table(blocks, losses)
    profiles = _profiles(blocks, losses, notes)
    return Overview(analysis.friedman(table), analysis.inseparable(table), profiles=profiles, notes=notes)


def _blocks(cells: Sequence[StudyCell]) -> list[StudyCell]:
    """The first cell of each group of cells that differ in nothing but their fairness mode."""
    first: dict[str, StudyCell] = {}
    for cell in cells:
        first.setdefault(repr(sorted(cell.record.setup.axes.items())), cell)
    return list(first.values())


def _table(blocks: Sequence[StudyCell], losses: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Block -> loss -> its mean on the primary metric, so that less is better."""
    table: dict[str, dict[str, float | None]] = {}
    for cell in blocks:
        metric = cell.record.primary
        sign = 1.0 if metric.direction == "min" else -1.0
        means = {row.loss: row.mean for row in metric.rows}
        table[cell.label] = {loss: None if (mean := means[loss]) is None else sign * mean for loss in losses}
    return table


def _profiles(blocks: Sequence[StudyCell], losses: Sequence[str], notes: list[str]) -> list[analysis.Profile]:
    """Every block is one problem, by its means or what they lack of 1; none where these are no cost to be divided."""
    problems: dict[str, dict[str, float | None]] = {}
    for cell in blocks:
        metric = cell.record.primary
        rising = metric.direction == "max"
        means = {row.loss: row.mean for row in metric.rows if row.loss in losses}
        costs = {loss: 1.0 - mean if rising and mean is not None else mean for loss, mean in means.items()}
        if (rising and not metric.percent) or any(cost is not None and cost < 0 for cost in costs.values()):
            notes.append(f"No performance profile: {metric.label} is no cost")
            return []
        problems[cell.label] = costs
    return analysis.performance_profiles(problems)

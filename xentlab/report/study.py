"""The record of a study: the same losses compared in several cells, and what the cells say together.

A cell is one comparison: one dataset, model and setting under one fairness mode. The tables here lay cells beside each
other; every cell's own tables stay next door.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xentlab.errors import UserError, unknown
from xentlab.report.border import load
from xentlab.report.record import Metric, Record, Row
from xentlab.report.tables import Table
from xentlab.report.words import MISSING, SYMBOLS, joined, number, p_clause, row_of, scale_of

# Factors of the best at which the profile's table reads the curves.
_FACTORS = (1.0, 1.1, 1.25, 1.5, 2.0)


@dataclass(frozen=True)
class Ranks:
    """Mean ranks over `n` blocks by the primary metric, 1 the best: the fields of `xentlab.analysis.Friedman`.

    `critical_difference` is Nemenyi's at 5 %; `groups` are the losses that it does not separate.
    """

    ranks: dict[str, float]
    n: int
    p: float
    critical_difference: float
    groups: list[list[str]]


@dataclass(frozen=True)
class Profile:
    """The finite ratios of one loss to the best of each of `n` problems, ascending."""

    loss: str
    n: int
    ratios: list[float]

    def at(self, factor: float) -> float:
        """The share of problems within `factor` of the best."""
        return sum(ratio <= factor for ratio in self.ratios) / self.n


@dataclass(frozen=True)
class Overview:
    """What several cells say together; both parts may be missing."""

    ranks: Ranks | None = None
    profiles: list[Profile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Cell:
    """One comparison of a study, and what it is called there."""

    label: str
    record: Record


@dataclass(frozen=True)
class Study:
    """Cells in the order in which they are shown, and their overview."""

    name: str
    question: str
    command: str
    cells: list[Cell]
    overview: Overview = field(default_factory=Overview)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Study:
        """The study that `data` describes, every record checked as `Record.from_json` does.

        Raises:
            UserError: a field is missing, unknown or of the wrong type, or the parts do not belong together.
        """
        study: Study = load(cls, data, "study")
        if not study.cells or len({cell.label for cell in study.cells}) < len(study.cells):
            raise UserError("study.cells must be at least one, with different labels.")
        for cell in study.cells:
            Record.from_json(cell.record.to_json())
        ranks = study.overview.ranks
        named = [*(ranks.ranks if ranks else ()), *(x for group in (ranks.groups if ranks else ()) for x in group)]
        for loss in [*named, *(p.loss for p in study.overview.profiles)]:
            if loss not in study.losses:
                raise unknown("loss in the study", loss, study.losses)
        return study

    def to_json(self) -> dict[str, Any]:
        """The study as plain JSON values."""
        return dataclasses.asdict(self)

    @property
    def losses(self) -> dict[str, str]:
        """Name -> label of every loss of any cell, in order of first appearance."""
        found: dict[str, str] = {}
        for cell in self.cells:
            found |= {name: label for name, label in cell.record.labels.items() if name not in found}
        return found


def overview(study: Study, key: str | None = None) -> Table:
    """Every cell's verdict on every loss: the difference from the baseline with its interval, the best marked.

    Args:
        study: the cells.
        key: of the metric; None is each cell's primary one.
    """
    metrics = [_metric(cell.record, key) for cell in study.cells]
    labels = list(dict.fromkeys(m.label for m in metrics if m is not None))
    several = len(labels) > 1
    losses = study.losses
    header = ["", *(["metric"] if several else []), *losses.values()]
    rows, marked = [], set()
    for i, (cell, metric) in enumerate(zip(study.cells, metrics, strict=True)):
        cells = [cell.label, *([metric.label if metric else MISSING] if several else [])]
        for name in losses:
            if metric is None or name not in cell.record.labels:
                cells.append(MISSING)
                continue
            row = row_of(metric, name)
            if row.best:
                marked.add((i, len(cells)))
            cells.append(_cell(metric, row))
        rows.append(cells)
    title = f"Verdicts on {labels[0]}" if len(labels) == 1 else "Verdicts on each cell's own metric"
    return Table(title, header, rows, [""] * len(rows), frozenset(marked), _legend(metrics))


def means(study: Study) -> Table:
    """Every cell's mean of its primary metric under every loss with its 95 % interval, the best marked."""
    rows, marked = [], set()
    for i, cell in enumerate(study.cells):
        metric, cells = cell.record.primary, [cell.label]
        unit = scale_of(metric)
        for name in study.losses:
            row = row_of(metric, name) if name in cell.record.labels else None
            if row is not None and row.best:
                marked.add((i, len(cells)))
            cells.append(f"{unit.value(row.mean)} {unit.interval(row.low, row.high)}".rstrip() if row else MISSING)
        rows.append(cells)
    metric = study.cells[0].record.primary
    title = f"Mean {metric.label}{scale_of(metric).unit}" if one_metric(study) else "Mean of each cell's own metric"
    return Table(title, ["", *study.losses.values()], rows, [""] * len(rows), frozenset(marked))


def one_metric(study: Study) -> bool:
    """Whether all cells decide on the same metric."""
    return len({cell.record.primary.key for cell in study.cells}) == 1


def sentences(study: Study) -> dict[str, tuple[str, str]]:
    """For every loss that any cell compares with its baseline: its verdicts over the cells in one sentence.

    Returns:
        Loss -> (the sentence, the verdict where all cells agree, else an empty text).
    """
    found: dict[str, tuple[str, str]] = {}
    bases = {cell.record.labels[cell.record.baseline] for cell in study.cells}
    where = f"on {study.cells[0].record.primary.label}" if one_metric(study) else "on each cell's own metric"
    against = bases.pop() if len(bases) == 1 else "each cell's baseline"
    for name, label in study.losses.items():
        cells = [c for c in study.cells if name in c.record.labels and name != c.record.baseline]
        verdicts = {cell.label: row_of(cell.record.primary, name).verdict for cell in cells}
        if not cells:
            continue
        agreed = verdicts[cells[0].label] if len(set(verdicts.values())) == 1 else ""
        clauses = []
        for verdict in ("better", "worse", "equivalent", "inconclusive"):
            mine = [cell for cell in cells if verdicts[cell.label] == verdict]
            if mine:
                size = _sizes(mine, name) if verdict in ("better", "worse") and one_metric(study) else ""
                clauses.append(f"{verdict}{size} {_named(mine, cells)}")
        entries = {c.label: next(loss for loss in c.record.losses if loss.name == name) for c in cells}
        stuck = [c for c in cells if entries[c.label].stuck]
        if stuck:
            clauses.append(f"some of its trials stuck at a constant answer {_named(stuck, cells)}")
        edge = [c for c in cells if entries[c.label].on_edge]
        if edge:
            clauses.append(f"its tuned value lies on the edge of the search space {_named(edge, cells)}")
        found[name] = (f"{label} against {against} {where}: {'; '.join(clauses)}.", agreed)
    return found


def _named(some: Sequence[Cell], cells: Sequence[Cell]) -> str:
    """Which of the cells."""
    if 1 < len(some) == len(cells):
        return f"in all {len(cells)} cells"
    return f"for {labels_joined([cell.label for cell in some])}"


def labels_joined(labels: Sequence[str]) -> str:
    """`label noise 0.2 and 0.4`: what the labels begin with is said once where they differ in the last word only."""
    heads = {label.rpartition(" ")[0] for label in labels}
    if len(heads) > 1 or not (head := heads.pop()) or head.endswith("·"):
        return joined(list(labels))
    return f"{head} {joined([label.rpartition(' ')[2] for label in labels])}"


def _sizes(cells: Sequence[Cell], loss: str) -> str:
    """By how much, over the cells in which the difference is known: the smallest and the largest."""
    found = []
    for cell in cells:
        metric = cell.record.primary
        difference, unit = row_of(metric, loss).difference, scale_of(metric)
        if difference is not None:
            found.append((abs(difference), unit.value(abs(difference)), unit.points))
    if not found:
        return ""
    (_, least, points), (_, most, _) = min(found), max(found)
    return f" by {least}{'' if least == most else f' to {most}'}{points}"


def ranks(study: Study) -> Table:
    """Mean rank of every loss over the cells, the best first, and which the critical difference keeps apart."""
    found = study.overview.ranks
    assert found is not None
    labels = study.losses
    order = sorted(found.ranks, key=lambda loss: found.ranks[loss])
    rows = []
    for loss in order:
        near = {x for group in found.groups if loss in group for x in group} - {loss}
        same = ", ".join(labels[x] for x in order if x in near) or "none"
        rows.append([labels[loss], number(found.ranks[loss], 2), same])
    note = (
        f"Friedman's test over {found.n} cells: {p_clause(found.p)}. Nemenyi's critical difference at 5 %: "
        f"{number(found.critical_difference, 2)}."
    )
    if found.n < 10:
        note += " Both lean on approximations for many cells: with so few, read the ranks as a description."
    return Table("Mean ranks", ["loss", "mean rank", "not told apart from"], rows, order, note=note)


def profiles(study: Study) -> Table:
    """How often each loss comes within a factor of the best, over every seed of every cell."""
    header = ["loss", *(f"within {100 * (f - 1):.0f} %" if f > 1 else "the best" for f in _FACTORS)]
    rows = [
        [study.losses[p.loss], *(f"{100 * p.at(f):.0f} %" for f in _FACTORS), f"{100 * len(p.ratios) / p.n:.0f} %"]
        for p in study.overview.profiles
    ]
    n = study.overview.profiles[0].n
    note = (
        f"Share of {n} problems (every seed of every cell) on which a loss is the best, or within so much of the best. "
        "A metric that is better larger counts by what it lacks of 1."
    )
    return Table(
        "Performance profile", [*header, "any value"], rows, [p.loss for p in study.overview.profiles], note=note
    )


def secondary_keys(study: Study) -> list[str]:
    """The keys of metrics that are not the primary one in any cell, in order of first appearance."""
    primary = {cell.record.primary.key for cell in study.cells}
    keys = dict.fromkeys(m.key for cell in study.cells for m in cell.record.metrics)
    return [key for key in keys if key not in primary]


def _metric(record: Record, key: str | None) -> Metric | None:
    if key is None:
        return record.primary
    return next((m for m in record.metrics if m.key == key), None)


def _cell(metric: Metric, row: Row) -> str:
    unit = scale_of(metric)
    if row.verdict == "baseline":
        return f"{SYMBOLS[row.verdict]} {unit.value(row.mean)}{unit.unit}"
    change = f"{unit.change(row.difference)} {unit.interval(row.diff_low, row.diff_high)}".rstrip()
    return f"{SYMBOLS[row.verdict]} {change}"


def _legend(metrics: Sequence[Metric | None]) -> str:
    points = any(m is not None and m.percent for m in metrics)
    return (
        f"Baseline (·): mean. Others: difference from it{' in points' if points else ''} with its 95 % interval; "
        "▲ better, ▼ worse, ≈ equivalent, ? inconclusive. Marked: the best of the cell, and all that the paired test "
        "does not separate from it."
    )

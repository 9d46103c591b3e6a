"""A study's tables: cells beside each other, and what they say together; each cell's own are in `record_tables`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xentlab.report.blocks import Cell, Table, cells
from xentlab.report.numbers import MISSING, SYMBOLS, number, p_clause, row_of, scale_of
from xentlab.report.record import JudgedMetric, Record
from xentlab.report.record_tables import OF_REFERENCES, marks
from xentlab.report.study import Study

# Factors of the best at which the profile's table reads the curves.
_FACTORS = (1.0, 1.1, 1.25, 1.5, 2.0)
_WIDEST = 8  # columns of numbers and their intervals that a page shows without scrolling sideways


def verdict_table(study: Study, key: str | None = None) -> Table:
    """Every cell's verdict on every loss: the difference from the baseline with its interval, the best marked."""
    metrics = [_metric(cell.record, key) for cell in study.cells]
    labels = list(dict.fromkeys(m.label for m in metrics if m is not None))
    differ = len(labels) > 1
    rows = []
    for cell, metric in zip(study.cells, metrics, strict=True):
        own = [metric.label if metric else MISSING] if differ else []
        rows.append(cells(cell.label, *own, *(_verdict(cell.record, metric, name) for name in study.losses)))
    header = ["", *(["metric"] if differ else []), *study.losses.values()]
    title = f"Verdicts on {labels[0]}" if len(labels) == 1 else "Verdicts on each cell's own metric"
    return _upright(Table(title, header, rows, _legend(study, metrics), layout="stacked"))


def means(study: Study) -> Table:
    """Every cell's mean of its primary metric under every loss with its 95 % interval, the best marked; references."""
    beside = dict.fromkeys(name for cell in study.cells for name in cell.record.references)
    rows = [
        cells(
            cell.label,
            *(_mean(cell.record, name) for name in study.losses),
            *(scale_of(cell.record.primary).value(cell.record.references.get(name)) for name in beside),
        )
        for cell in study.cells
    ]
    metric = study.cells[0].record.primary
    title = f"Mean {metric.label}{scale_of(metric).unit}" if study.one_metric else "Mean of each cell's own metric"
    note = OF_REFERENCES if beside else ""
    return _upright(Table(title, ["", *study.losses.values(), *beside], rows, note, layout="stacked"))


def _upright(table: Table) -> Table:
    """The table as it is, or with a row for each of its columns where it would be wide and few rows long."""
    if len(table.header) <= max(_WIDEST, 1 + len(table.rows)):
        return table
    names, *columns = zip(cells(*table.header), *table.rows, strict=True)
    return replace(table, header=[name.text for name in names], rows=[list(column) for column in columns])


def _mean(record: Record, loss: str) -> Cell:
    if loss not in record.labels:
        return Cell(MISSING)
    unit, row = scale_of(record.primary), row_of(record.primary, loss)
    return Cell(unit.value(row.mean), unit.interval(row.low, row.high), best=row.best)


def ranks(study: Study) -> Table:
    """Mean rank of every loss over the cells, the best first, and which are not told apart."""
    seen, found = study.overview, study.overview.ranks
    assert found is not None
    labels = study.losses
    order = sorted(found.ranks, key=lambda loss: found.ranks[loss])
    rows = []
    for loss in order:
        near = {x for group in seen.groups or () if loss in group for x in group} - {loss}
        same = ", ".join(labels[x] for x in order if x in near) or "none"
        rows.append(cells(labels[loss], number(found.ranks[loss], 2), same))
    if seen.groups is None:
        note = f"{found.n} cells: too few to test ranks, which describe these cells and no others."
    else:
        note = f"Friedman's test over {found.n} cells: {p_clause(found.p)}. "
        if seen.critical_difference is None:
            note += "Pairs by Wilcoxon's exact signed-rank test with Holm."
        else:
            note += f"Nemenyi's critical difference at 5 %: {number(seen.critical_difference, 2)}."
    return Table("Mean ranks", ["loss", "mean rank", "not told apart from"], rows, note)


def profiles(study: Study) -> Table:
    """How often each loss comes within a factor of the best, over the problems."""
    header = ["loss", *(f"within {100 * (f - 1):.0f} %" if f > 1 else "the best" for f in _FACTORS)]
    rows = [
        cells(study.losses[p.loss], *(f"{100 * p.at(f):.0f} %" for f in _FACTORS), f"{100 * len(p.ratios) / p.n:.0f} %")
        for p in sorted(study.overview.profiles, key=lambda p: -p.at(1.0))
    ]
    n = study.overview.profiles[0].n
    note = (
        f"Share of {n} problems on which a loss is the best, or within so much of the best. "
        "A metric that is better larger counts by what it lacks of 1."
    )
    return Table("Performance profile", [*header, "any value"], rows, note)


def secondary_keys(study: Study) -> list[str]:
    """The keys of metrics that are not the primary one in any cell, in order of first appearance."""
    primary = {cell.record.primary.key for cell in study.cells}
    keys = dict.fromkeys(m.key for cell in study.cells for m in cell.record.metrics)
    return [key for key in keys if key not in primary]


def _metric(record: Record, key: str | None) -> JudgedMetric | None:
    if key is None:
        return record.primary
    return next((m for m in record.metrics if m.key == key), None)


def _verdict(record: Record, metric: JudgedMetric | None, loss: str) -> Cell:
    if metric is None or loss not in record.labels:
        return Cell(MISSING)
    unit, row = scale_of(metric), row_of(metric, loss)
    symbol = SYMBOLS[row.verdict]
    if row.verdict == "baseline":
        return Cell(f"{symbol} {unit.value(row.mean)}{unit.unit}", verdict=row.verdict, best=row.best)
    span = unit.interval(row.diff_low, row.diff_high)
    return Cell(f"{symbol} {unit.change(row.difference)}", span, verdict=row.verdict, best=row.best)


def _legend(study: Study, metrics: Sequence[JudgedMetric | None]) -> str:
    points = any(m is not None and m.percent for m in metrics)
    return (
        f"Baseline (·): mean. Others: difference from it{' in points' if points else ''} with its 95 % interval; "
        "▲ better, ▼ worse, ≈ equivalent, ? inconclusive. "
        f"{marks([cell.record for cell in study.cells])}"
    )

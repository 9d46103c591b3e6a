"""Numbers and verdicts in words, the same ones in every format: how many digits, which unit, which sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from xentlab.report.record import Metric, Record, Row, Target, TargetRow

MISSING = "–"
SYMBOLS = {"better": "▲", "worse": "▼", "equivalent": "≈", "inconclusive": "?", "baseline": "·"}


def decimals(widths: Iterable[float | None]) -> int:
    """Digits after the point that show two figures of the typical width of an interval."""
    known = sorted(abs(w) for w in widths if w)
    if not known:
        return 3
    return min(6, max(0, 1 - math.floor(math.log10(known[len(known) // 2]))))


def number(value: float | None, digits: int, *, sign: bool = False) -> str:
    """The value with a fixed number of digits, a true minus sign, and a dash where there is none."""
    if value is None:
        return MISSING
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def short(value: float | None) -> str:
    """A number of unknown scale with four figures."""
    return MISSING if value is None else f"{value:.4g}".replace("-", "−")


def p_value(value: float | None) -> str:
    """`0.031`, `< 0.001`, or a dash."""
    if value is None:
        return MISSING
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def p_clause(value: float | None) -> str:
    """`p = 0.031` or `p < 0.001`."""
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


@dataclass(frozen=True)
class Scale:
    """How one metric's numbers are written: its factor, its units, and its digits after the point."""

    factor: float
    unit: str
    points: str
    digits: int

    def value(self, value: float | None) -> str:
        """One value, without its unit."""
        return number(None if value is None else value * self.factor, self.digits)

    def change(self, value: float | None) -> str:
        """One difference with its sign, without its unit."""
        return number(None if value is None else value * self.factor, self.digits, sign=True)

    def interval(self, low: float | None, high: float | None) -> str:
        """`[low, high]`, or nothing where there is none."""
        return "" if low is None or high is None else f"[{self.value(low)}, {self.value(high)}]"


def scale(percent: bool, widths: Iterable[float | None]) -> Scale:
    """The scale of a metric, in percent or plain, with digits that show its intervals' half `widths`."""
    factor = 100.0 if percent else 1.0
    digits = decimals(None if w is None else w * factor for w in widths)
    return Scale(factor, " %" if percent else "", " points" if percent else "", digits)


def scale_of(metric: Metric) -> Scale:
    """The scale that suits the metric's intervals."""
    ends = [(r.low, r.high) for r in metric.rows] + [(r.diff_low, r.diff_high) for r in metric.rows]
    return scale(metric.percent, [(high - low) / 2 for low, high in ends if low is not None and high is not None])


def sentences(record: Record) -> list[str]:
    """The verdict in words: one sentence for each loss but the baseline, on the primary metric and then the others."""
    return record.sentences or [_sentence(record, loss.name) for loss in record.losses if loss.name != record.baseline]


def _sentence(record: Record, loss: str) -> str:
    label, base, metric = record.labels[loss], record.labels[record.baseline], record.primary
    row = row_of(metric, loss)
    clauses = [_headline(metric, row, label, base)]
    for verdict in ("better", "worse", "equivalent", "inconclusive"):
        named = [m.label for m in record.metrics if not m.primary and row_of(m, loss).verdict == verdict]
        if named:
            clauses.append(f"{verdict} on {joined(named)}")
    entry = next(item for item in record.losses if item.name == loss)
    if entry.stuck:
        clauses.append(f"{entry.stuck} of its {row.n + row.failed} trials stuck at a constant answer")
    if entry.on_edge:
        clauses.append("its tuned value lies on the edge of the search space")
    return "; ".join(clauses) + "."


def _headline(metric: Metric, row: Row, label: str, base: str) -> str:
    unit = scale_of(metric)
    failures = f", {row.failed} failed" if row.failed else ""
    seeds = f"n = {row.pairs}{failures}"
    if row.difference is None:
        rest = {"better": f"better than {base}", "worse": f"worse than {base}"}.get(row.verdict, row.verdict)
        p = f", {p_clause(row.p_holm)}" if row.verdict in ("better", "worse") else ""
        return f"{label} is {rest} on {metric.label}: no seed on which both finished ({seeds}{p})"
    low, high = row.diff_low, row.diff_high
    if row.verdict in ("better", "worse"):
        size = unit.value(abs(row.difference))
        if row.difference < 0 and low is not None and high is not None:
            low, high = -high, -low
        span = unit.interval(low, high)
        return (
            f"{label} is {row.verdict} than {base} on {metric.label} by {size}{unit.points} {span}".rstrip()
            + f", {seeds}, {p_clause(row.p_holm)}"
        )
    change = f"difference {unit.change(row.difference)}{unit.points} {unit.interval(low, high)}".rstrip()
    if row.verdict == "equivalent":
        margin = f"within ±{short((metric.margin or 0) * unit.factor)}{unit.points}" if metric.margin else ""
        return f"{label} is equivalent to {base} on {metric.label}: {change} {margin}".rstrip() + f", {seeds}"
    more = f"; about {row.seeds_needed} seeds are needed for 80 % power" if (row.seeds_needed or 0) > row.pairs else ""
    return f"{label} against {base} on {metric.label} is inconclusive: {change}, {seeds}, {p_clause(row.p_holm)}{more}"


def row_of(metric: Metric, loss: str) -> Row:
    """The metric's row of one loss."""
    return next(row for row in metric.rows if row.loss == loss)


def median_epoch(row: TargetRow, target: Target) -> str:
    """The median time, or `> horizon` where fewer than half of the trials arrived."""
    return f"> {short(target.horizon)}" if row.median is None else short(row.median)


def knobs(values: dict[str, float | int | str | bool | None]) -> str:
    """`lr = 0.1, gamma = 2`."""
    shown = {k: short(v) if isinstance(v, float) else str(v) for k, v in values.items()}
    return ", ".join(f"{name} = {value}" for name, value in shown.items())


def joined(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]

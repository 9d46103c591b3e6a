"""How a number is written, the same in every format: how many digits, which unit, what stands for none."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass

from xentlab.analysis import Judgement
from xentlab.report.record import JudgedMetric, Loss, Record

MISSING = "–"
_NOISE = 1e-9  # what differs by less differs by its arithmetic
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

    def size(self, value: float) -> str:
        """One difference without its sign and unit; never 0 where there is one."""
        return self.change(abs(value), sign=False)

    def change(self, value: float | None, *, sign: bool = True) -> str:
        """The same with its sign."""
        shown, digits = None if value is None else value * self.factor, self.digits
        if shown and abs(shown) > _NOISE and not float(f"{shown:.{digits}f}"):
            digits = 1 - math.floor(math.log10(abs(shown)))
        return number(shown, digits, sign=sign)

    def with_digits(self, more: int) -> Scale:
        """With so many digits more, or less where `more` is negative."""
        return dataclasses.replace(self, digits=max(0, self.digits + more))

    def interval(self, low: float | None, high: float | None) -> str:
        """`[low, high]`, or nothing where there is none."""
        return "" if low is None or high is None else f"[{self.value(low)}, {self.value(high)}]"


def scale(percent: bool, ends: Iterable[tuple[float | None, float | None]]) -> Scale:
    """The scale of a metric, in percent or plain, with digits that show its intervals, given by their `ends`."""
    factor = 100.0 if percent else 1.0
    digits = decimals((high - low) / 2 * factor for low, high in ends if low is not None and high is not None)
    return Scale(factor, " %" if percent else "", " points" if percent else "", digits)


def scale_of(metric: JudgedMetric) -> Scale:
    """The scale that suits the metric's intervals."""
    return scale(metric.percent, [e for r in metric.rows for e in ((r.low, r.high), (r.diff_low, r.diff_high))])


def row_of(metric: JudgedMetric, loss: str) -> Judgement:
    """The metric's row of one loss."""
    return next(row for row in metric.rows if row.loss == loss)


def row_order(metric: JudgedMetric) -> list[Judgement]:
    """The rows by result: those shown to be better first, then by their means, without a mean last."""
    sign = 1 if metric.direction == "min" else -1
    return sorted(metric.rows, key=lambda r: (r.verdict != "better", r.mean is None, sign * (r.mean or 0.0)))


def by_result(record: Record) -> list[Loss]:
    """The losses by their results on the primary metric, the winner first."""
    known = {loss.name: loss for loss in record.losses}
    return [known[row.loss] for row in row_order(record.primary)]


def styled(record: Record) -> list[tuple[int, Loss]]:
    """The losses by their results, each with the place of its colour, line and marker."""
    places = {x.name: k if x.style is None else x.style for k, x in enumerate(record.losses)}
    return [(places[loss.name], loss) for loss in by_result(record)]


def colour_of(record: Record, name: str) -> int:
    """The place of one loss's colour."""
    return next(place for place, loss in styled(record) if loss.name == name)


def own_knobs(loss: Loss) -> str:
    """What it was given beside its defaults, `smoothing 0.1, ce.weight 0.5`; older records do not tell."""
    shown = {k: loss.knobs[k] for k in loss.given or () if f"loss.{k}" not in loss.space}
    words = [f"{k.removeprefix('terms.')} {short(v) if isinstance(v, float) else v}" for k, v in shown.items()]
    return ", ".join([*words, *(f"{k.removeprefix('loss.')} tuned" for k in loss.space if k.startswith("loss."))])


def loss_named(record: Record, loss: str) -> str:
    """A loss with its knobs: `custom_ce (smoothing 0.1, gamma 1)`."""
    entry = next(x for x in record.losses if x.name == loss)
    knobs = own_knobs(entry)
    return f"{entry.label} ({knobs})" if knobs else entry.label


def knob_text(values: dict[str, float | int | str | bool | None]) -> str:
    """`lr = 0.1, gamma = 2`."""
    shown = {k: short(v) if isinstance(v, float) else str(v) for k, v in values.items()}
    return ", ".join(f"{name} = {value}" for name, value in shown.items())

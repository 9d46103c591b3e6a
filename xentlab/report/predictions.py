"""What a comparison of predicted numbers shows: predicted against true, residuals, PIT values, and coverage."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING

from xentlab.report import draw, theme
from xentlab.report.blocks import Picture, Pictures, Table, cells
from xentlab.report.diagnostics import Predicted, Reliability
from xentlab.report.numbers import MISSING, colour_of, short
from xentlab.report.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def predicted_pictures(record: Record) -> Pictures:
    """Every loss's test examples, predicted against true, above its residuals by what was predicted."""
    ends = [v for each in record.predicted for v in (*each.true, *each.predicted)]
    room = 0.03 * (max(ends) - min(ends))
    span = min(ends) - room, max(ends) + room
    off = [v for each in record.predicted for row in each.residuals for v in row[1:]]
    across = min(off), max(off)
    pictures = [
        Picture(partial(_prediction, record, each, span, across), f"{record.labels[each.loss]}, {each.n} seeds")
        for each in record.predicted
    ]
    note = (
        "Above: up to 200 test examples of the first final seed, predicted over true; on the dotted line they agree. "
        "Below: true minus predicted in tenths of what was predicted, all final seeds; the bands hold 50 % and 90 %."
    )
    return Pictures(pictures, note, small=True)


def _prediction(
    record: Record, each: Predicted, span: tuple[float, float], across: tuple[float, float], prefix: str
) -> str:
    colour = theme.series(colour_of(record, each.loss))
    with draw.settings():
        figure, (upper, lower) = _panels()
        upper.plot(span, span, color=theme.INK, linewidth=1, linestyle=":")
        upper.scatter(each.true, each.predicted, s=7, color=colour, alpha=0.5, linewidths=0)
        upper.set_xlim(*span)
        upper.set_ylim(*span)
        upper.set_xlabel("true")
        upper.set_ylabel("predicted")
        middle, *ends = (list(column) for column in zip(*each.residuals, strict=True))
        lower.axhline(0, color=theme.INK, linewidth=1, linestyle=":")
        lower.fill_between(middle, ends[0], ends[4], color=colour, alpha=0.15, linewidth=0)
        lower.fill_between(middle, ends[1], ends[3], color=colour, alpha=0.3, linewidth=0)
        lower.plot(middle, ends[2], color=colour, linewidth=1.4)
        lower.set_ylim(*across)
        lower.set_xlim(*span)
        lower.set_xlabel("predicted")
        lower.set_ylabel("residual")
        for axes in (upper, lower):
            axes.locator_params(nbins=4)
        return draw.svg(figure, prefix, f"predicted against true, and residuals, of {record.labels[each.loss]}")


def _panels() -> tuple[Figure, list[Axes]]:
    return draw.page_panels(2.5, 3.9, (2.05, 1.75), (0.5, 1.0), left=0.68, right=0.17)


def calibration_pictures(record: Record) -> Pictures:
    """How often targets lie below each predicted quantile, above the histogram of PIT values."""
    most = max(share for entry in record.reliability for share in entry.share)
    pictures = [
        Picture(partial(_calibration, record, entry, most), f"{record.labels[entry.loss]}, {entry.n} seeds")
        for entry in record.reliability
    ]
    note = (
        "Above: the share of targets below each predicted quantile; on the dotted line the predicted distributions are "
        "calibrated. Below: where in its predicted distribution a target lies (its PIT value), evenly where they are "
        "calibrated; a hump in the middle says that they are too wide, high ends that they are too narrow."
    )
    return Pictures(pictures, note, small=True)


def _calibration(record: Record, entry: Reliability, most: float, prefix: str) -> str:
    colour = theme.series(colour_of(record, entry.loss))
    with draw.settings():
        figure, (upper, lower) = _panels()
        below = list(itertools.accumulate(entry.share, initial=0.0))
        upper.plot([0, 1], [0, 1], color=theme.INK, linewidth=1, linestyle=":")
        upper.plot([0.0, *entry.high], below, color=colour, linewidth=1.6)
        upper.set_ylim(0, 1)
        upper.set_xlabel("quantile")
        upper.set_ylabel("targets below")
        wide = [high - low for low, high in zip(entry.low, entry.high, strict=True)]
        percent = [100 * share for share in entry.share]
        lower.bar(entry.low, percent, wide, align="edge", color=colour, alpha=0.5, linewidth=0)
        lower.axhline(100 / len(entry.share), color=theme.INK, linewidth=1, linestyle=":")
        lower.set_ylim(0, 105 * most)
        lower.set_xlabel("PIT value")
        lower.set_ylabel("% of targets")
        for axes in (upper, lower):
            axes.set_xlim(0, 1)
            axes.set_xticks([0, 0.5, 1])
        upper.set_yticks([0, 0.5, 1])
        lower.locator_params(axis="y", nbins=3)
        return draw.svg(figure, prefix, f"calibration of the distributions that {record.labels[entry.loss]} predicts")


def coverage_table(record: Record) -> Table:
    """How many targets lie in the central intervals that each loss's models predict."""
    entries, bins = record.reliability, len(record.reliability[0].share)
    rows = []
    for outside in reversed(range(1, (bins + 1) // 2)):
        inside, stated = slice(outside, bins - outside), 100 * (bins - 2 * outside) / bins
        rows.append(cells(f"{stated:.0f} %", *(f"{100 * sum(entry.share[inside]):.1f} %" for entry in entries)))
    header = ["central interval", *(record.labels[entry.loss] for entry in entries)]
    return Table("Interval coverage", header, rows, "Share of test targets inside; all final seeds together.")


def residual_table(record: Record) -> Table:
    """Every loss's residuals by what was predicted: their median, and where nine of ten lie."""

    def spelled(row: list[float] | None) -> str:
        if row is None:
            return MISSING
        _, low, _, middle, _, high = row
        return f"{short(middle)} [{short(low)}, {short(high)}]"

    tenths = itertools.zip_longest(*(each.residuals for each in record.predicted))
    rows = [cells(f"{k}.", *map(spelled, tenth)) for k, tenth in enumerate(tenths, start=1)]
    header = ["tenth of predictions", *(record.labels[each.loss] for each in record.predicted)]
    return Table("Residuals", header, rows, "Median of true minus predicted, and the interval that holds 90 %.")

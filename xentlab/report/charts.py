"""The pictures of a comparison: each takes a record, draws one thing, and gives back SVG text.

Every loss has one colour, line and marker in every picture of a report. A picture only draws what a
table holds. To add one: a function here, its place in `outline`.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from xentlab.report import draw, theme
from xentlab.report.numbers import row_of, scale_of, short, styled
from xentlab.report.record import JudgedMetric, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 4.4


def curves(record: Record, key: str, prefix: str) -> str:
    """Mean of one validation metric over the epochs under every loss, with its 95 % band."""
    from matplotlib.ticker import MaxNLocator

    metric, label = record.curve_metric(key), record.curve_label(key)
    factor, unit = (100.0, " (%)") if metric is not None and metric.percent else (1.0, "")

    def body(axes: Axes) -> None:
        for index, loss in styled(record):
            line = record.curves[key].get(loss.name)
            if line is None:
                continue
            mean, low, high = ([_at(v, factor) for v in column] for column in (line.mean, line.low, line.high))
            colour = theme.series(index)
            axes.fill_between(line.epochs, low, high, color=colour, alpha=0.16, linewidth=0)
            axes.plot(line.epochs, mean, color=colour, linestyle=theme.dashes(index), linewidth=1.8)
            # A band of one epoch has no area, a line of one no length.
            if len(line.epochs) == 1:
                axes.plot(line.epochs, mean, marker=theme.marker(index), color=colour)
        lines = record.curves[key].values()
        if not draw.widen(axes, [_at(v, factor) for x in lines for v in (*x.mean, *x.low)], upright=True):
            draw.fit(axes.set_ylim, [_at(v, factor) for x in lines for v in (*x.mean, *x.low, *x.high)])
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        axes.set_ylabel(_lines(f"{label}{unit}"))

    return _picture(body, 2.9, prefix, f"{label} over the epochs under each loss")


def sensitivity(record: Record, prefix: str) -> str:
    """The selection metric over the learning rate under every loss after all epochs, the chosen point ringed."""
    factor, unit = (100.0, " (%)") if record.primary.percent else (1.0, "")
    label = record.selection

    def body(axes: Axes) -> None:
        for index, loss in styled(record):
            points = sorted((t.lr, _at(t.value, factor), t.chosen) for t in loss.tuning if t.epochs is None)
            rates, values = [p[0] for p in points], [p[1] for p in points]
            colour, shape = theme.series(index), theme.marker(index)
            axes.plot(
                rates, values, color=colour, linestyle=theme.dashes(index), linewidth=1.5, marker=shape, markersize=4
            )
            for rate, value, chosen in points:
                if chosen:
                    axes.plot(
                        [rate], [value], marker="o", markersize=11, markerfacecolor="none", markeredgecolor=colour,
                        markeredgewidth=2,
                    )  # fmt: skip
        every = [_at(t.value, factor) for x in record.losses for t in x.tuning if t.epochs is None]
        if not draw.widen(axes, every, upright=True):
            draw.fit(axes.set_ylim, every)
        tried = sorted({t.lr for loss in record.losses for t in loss.tuning})
        if tried[0] > 0:
            axes.set_xscale("log")
        named = tried[:: math.ceil(len(tried) / 7)]  # at most seven names fit beside each other
        axes.set_xticks(named, labels=map(short, named))
        axes.set_xticks([], minor=True)
        axes.set_xlabel("learning rate")
        axes.set_ylabel(_lines(f"{label}{unit}"))

    return _picture(body, 2.9, prefix, f"{label} over the learning rate under each loss")


def seed_chart(record: Record, metric: JudgedMetric, prefix: str) -> str:
    """Every seed's value under every loss, the values of one seed joined, with means and intervals."""
    unit = scale_of(metric)
    shown = [(index, loss, row_of(metric, loss.name)) for index, loss in styled(record)]
    rows, names = [row for *_, row in shown], [clip(loss.label) for _, loss, _ in shown]

    def body(axes: Axes) -> None:
        for seed in dict.fromkeys(s for row in rows for s in row.values):
            values = [_at(row.values.get(seed), unit.factor) for row in rows]
            axes.plot(values, range(len(rows)), color=theme.ZONE, linewidth=0.7, alpha=0.55, zorder=1)
        for place, (index, _, row) in enumerate(shown):
            finished = [v * unit.factor for v in row.values.values() if v is not None]
            axes.plot(
                finished, [place] * len(finished), linestyle="none", marker=theme.marker(index), markersize=4.5,
                color=theme.series(index), alpha=0.85, zorder=2,
            )  # fmt: skip
            _interval(axes, place + 0.24, [row.low, row.mean, row.high], unit.factor, theme.INK)
        name_rows(axes, names)
        every = [_at(v, unit.factor) for row in rows for v in row.values.values()]
        beside = _nearest({name: v * unit.factor for name, v in record.references.items() if metric.primary}, every)
        for name, value in beside.items():
            axes.axvline(value, color=theme.INK, linewidth=1, linestyle=":", zorder=0)
            axes.annotate(
                name, (value, 0), xycoords=axes.get_xaxis_transform(), ha="right", va="bottom", rotation=90,
                fontsize="small",
            )  # fmt: skip
        draw.fit(axes.set_xlim, [*every, *beside.values()])
        axes.set_xlabel(f"{metric.label}{' (%)' if metric.percent else ''}")

    return _picture(body, _tall(len(rows)), prefix, f"{metric.label} of every seed under each loss", names=names)


def _nearest(references: Mapping[str, float], values: Sequence[float]) -> dict[str, float]:
    """Those references that lie among the values, and the next one on either side."""
    known = [value for value in values if math.isfinite(value)]
    ordered = sorted(references.items(), key=lambda item: item[1]) if known else []
    below = [item for item in ordered if item[1] < min(known)]
    above = [item for item in ordered if item[1] > max(known)]
    return dict([*below[-1:], *ordered[len(below) : len(ordered) - len(above)], *above[:1]])


def difference_chart(record: Record, metric: JudgedMetric, prefix: str) -> str:
    """The paired difference from the baseline under every loss, with its interval and the margin."""
    unit = scale_of(metric)
    others = [(i, loss) for i, loss in styled(record) if loss.name != record.baseline]
    names = [clip(loss.label) for _, loss in others]

    def body(axes: Axes) -> None:
        if metric.margin is not None:
            reach = metric.margin * unit.factor
            axes.axvspan(-reach, reach, color=theme.ZONE, alpha=0.18, linewidth=0)
        axes.axvline(0, color=theme.INK, linewidth=1)
        for place, (index, loss) in enumerate(others):
            row = row_of(metric, loss.name)
            ends = [row.diff_low, row.difference, row.diff_high]
            _interval(axes, place, ends, unit.factor, theme.series(index), theme.marker(index))
        name_rows(axes, names)
        better = "left" if metric.direction == "min" else "right"
        axes.set_xlabel(
            f"{metric.label} − {record.labels[record.baseline]}'s{unit.points and ' (points)'}; {better} is better"
        )

    return _picture(body, _tall(len(others)), prefix, f"difference of {metric.label} from the baseline", names=names)


def _picture(
    body: Callable[[Axes], None], height: float, prefix: str, description: str, *, names: Sequence[str] = ()
) -> str:
    left = 0.2 + 0.085 * max(map(len, names)) if names else 0.9
    with draw.settings():
        figure, axes = draw.page_axes(WIDTH, height, left=left)
        body(axes)
        return draw.svg(figure, prefix, description)


def _interval(
    axes: Axes, place: float, ends: Sequence[float | None], factor: float, colour: str, shape: str = "|"
) -> None:
    low, middle, high = (_at(end, factor) for end in ends)
    axes.plot([low, high], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=3)
    axes.plot([middle], [place], marker=shape, markersize=8, markeredgewidth=2, color=colour, zorder=4)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names beside rows, the first one above."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")


def clip(name: str) -> str:
    """The name, short enough to stand beside a row."""
    return name if len(name) <= 20 else name[:19] + "…"


def _lines(name: str) -> str:
    """The name of an upright axis, in lines as long as the axis."""
    return textwrap.fill(name, 28, max_lines=2, placeholder=" …")


def _tall(count: int) -> float:
    return 0.9 + 0.42 * max(count, 2)


def _at(value: float | None, factor: float) -> float:
    return math.nan if value is None else value * factor

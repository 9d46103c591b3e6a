"""The pictures of a study: its cells beside each other, the mean ranks, the performance profiles."""

from __future__ import annotations

from xentlab.analysis import Friedman
from xentlab.report import draw, theme
from xentlab.report.charts import WIDTH, clip, name_rows
from xentlab.report.numbers import row_of
from xentlab.report.setup import axis_name
from xentlab.report.study import Study


def across_cells(study: Study, prefix: str) -> str:
    """The mean of the primary metric with its 95 % interval under every loss: over the cells' number, or in rows."""
    metric = study.cells[0].record.primary
    factor, title = (100.0, f"{metric.label} (%)") if metric.percent else (1.0, metric.label)
    axis = study.axis
    ticks = axis[1] if axis is not None else None
    places = range(len(study.cells)) if ticks is None else ticks
    names = [clip(cell.label) for cell in study.cells]
    step = 0.8 / len(study.losses) if ticks is None else 0.02 * (max(places) - min(places))
    height = 2.9 if ticks is not None else 0.9 + max(0.3, 0.13 * len(study.losses)) * len(names)
    with draw.settings():
        left = 0.8 if ticks is not None else 0.2 + 0.085 * max(map(len, names))
        figure, axes = draw.page_axes(WIDTH, height, left=left)
        for index, loss in enumerate(study.losses):
            shift = step * (index - (len(study.losses) - 1) / 2)
            spots, middles = [], []
            for place, cell in zip(places, study.cells, strict=True):
                row = row_of(cell.record.primary, loss) if loss in cell.record.labels else None
                if row is None or row.mean is None or row.low is None or row.high is None:
                    continue
                spots.append(place + shift)
                middles.append(factor * row.mean)
                span, spot = [factor * row.low, factor * row.high], [place + shift] * 2
                axes.plot(*((span, spot) if ticks is None else (spot, span)), color=theme.series(index), linewidth=1.5)
            axes.plot(
                *((middles, spots) if ticks is None else (spots, middles)), color=theme.series(index), markersize=5,
                marker=theme.marker(index), linestyle="none" if ticks is None else theme.dashes(index), linewidth=1.5,
            )  # fmt: skip
        if ticks is None:
            name_rows(axes, names)
            for between in range(1, len(names)):
                axes.axhline(between - 0.5, color=theme.GRID, linewidth=0.6)
            axes.set_xlabel(title)
        else:
            axes.set_xticks(places, [f"{place:g}" for place in places])
            axes.set_xlabel(axis_name(axis[0]) if axis is not None else "")
            axes.set_ylabel(title)
        ends = [end for cell in study.cells for row in cell.record.primary.rows for end in (row.low, row.high)]
        draw.widen(axes, [factor * end for end in ends if end is not None], upright=ticks is not None)
        return draw.svg(figure, prefix, f"mean {metric.label} under each loss in every cell")


def mean_ranks(study: Study, ranks: Friedman, prefix: str) -> str:
    """Losses at their mean ranks, the best above; bars join those that are not told apart."""
    labels = study.losses
    places = list(labels)
    order = sorted(ranks.ranks, key=lambda loss: ranks.ranks[loss])
    together = study.overview.groups or []
    groups = len(together)
    left, top, step = 0.35 + 0.085 * max(len(clip(labels[x])) for x in order), 0.85, 0.3
    height = top + step * len(order) + 0.2 * groups + 0.2
    with draw.settings():
        figure, (axes,) = draw.page_panels(WIDTH, height, (0.1, height - 0.1 - top), left=left, right=0.25)
        for place, loss in enumerate(order):
            index = places.index(loss)
            rank = ranks.ranks[loss]
            axes.plot([1, rank], [place, place], color=theme.GRID, linewidth=1, zorder=1)
            axes.plot(
                [rank], [place], marker=theme.marker(index), markersize=8, color=theme.series(index), zorder=3,
                clip_on=False,
            )  # fmt: skip
        for k, group in enumerate(together):
            ends = [ranks.ranks[group[0]], ranks.ranks[group[-1]]]
            level = len(order) - 0.3 + 0.66 * k
            axes.plot(ends, [level, level], color=theme.INK, linewidth=4, solid_capstyle="round", zorder=2)
        axes.set_yticks(range(len(order)), [clip(labels[loss]) for loss in order])
        axes.set_ylim(len(order) - 0.3 + 0.66 * groups, -0.5)
        axes.set_xlim(1, len(order))
        axes.set_xticks(range(1, len(order) + 1))
        axes.xaxis.set_ticks_position("bottom")
        axes.tick_params(labelbottom=False, labeltop=True, top=False, bottom=False, pad=1)
        axes.grid(False, axis="y")
        axes.spines["bottom"].set_visible(False)
        return draw.svg(figure, prefix, "mean ranks of the losses")


def performance_profile(study: Study, prefix: str) -> str:
    """The share of problems on which each loss comes within a factor of the best, over that factor."""
    places = list(study.losses)
    profiles = study.overview.profiles
    reach = min(10.0, max([1.1, *(ratio for profile in profiles for ratio in profile.ratios)]))
    with draw.settings():
        figure, axes = draw.page_axes(WIDTH, 2.9, left=0.8)
        for profile in profiles:
            index = places.index(profile.loss)
            steps = [1.0, *(ratio for ratio in profile.ratios if ratio <= reach), reach]
            shares = [100 * profile.at(factor) for factor in steps]
            axes.step(
                steps, shares, where="post", color=theme.series(index), linestyle=theme.dashes(index), linewidth=1.8
            )
        axes.set_xlim(1, reach)
        axes.set_ylim(0, 103)
        axes.set_xlabel("factor of the best")
        axes.set_ylabel("% of problems within it")
        return draw.svg(figure, prefix, "performance profile of each loss")

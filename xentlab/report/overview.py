"""The pictures of a study: the critical-difference diagram and the performance profiles."""

from __future__ import annotations

import html

from xentlab.report import draw, theme
from xentlab.report.charts import clip
from xentlab.report.study import Ranks, Study
from xentlab.report.words import number

_WIDTH = 4.4


def critical_difference(study: Study, found: Ranks, prefix: str) -> str:
    """Losses at their mean ranks, the best above; bars join those that the critical difference does not separate."""
    from matplotlib.figure import Figure

    labels = study.losses
    places = list(labels)
    order = sorted(found.ranks, key=lambda loss: found.ranks[loss])
    groups = len(found.groups)
    left, top, step = 0.35 + 0.085 * max(len(clip(labels[x])) for x in order), 0.85, 0.3
    height = top + step * len(order) + 0.2 * groups + 0.2
    with draw.settings():
        figure = Figure(figsize=(_WIDTH, height), frameon=False)
        box = (left / _WIDTH, 0.1 / height, 1 - (left + 0.25) / _WIDTH, 1 - (0.1 + top) / height)
        axes = figure.add_axes(box, facecolor="none")
        draw.dress(axes, theme.INK, theme.GRID)
        for place, loss in enumerate(order):
            index = places.index(loss)
            rank = found.ranks[loss]
            axes.plot([1, rank], [place, place], color=theme.GRID, linewidth=1, zorder=1)
            axes.plot([rank], [place], marker=theme.marker(index), markersize=8, color=theme.series(index), zorder=3)
        for k, group in enumerate(found.groups):
            ends = [found.ranks[group[0]], found.ranks[group[-1]]]
            level = len(order) - 0.3 + 0.66 * k
            axes.plot(ends, [level, level], color=theme.INK, linewidth=4, solid_capstyle="round", zorder=2)
        reach, wide = 1 + found.critical_difference, 1 + found.critical_difference > len(order)
        level, words = -1.75, f"critical difference {number(found.critical_difference, 2)}"
        axes.plot(
            [1, min(reach, len(order))], [level, level], color=theme.INK, linewidth=1.2, marker="|", markersize=8,
            clip_on=False,
        )  # fmt: skip
        axes.text(1, level - 0.25, words + wide * ", wider than the axis", fontsize=9, color=theme.INK)
        axes.set_yticks(range(len(order)), [clip(labels[loss]) for loss in order])
        axes.set_ylim(len(order) - 0.3 + 0.66 * groups, -0.5)
        axes.set_xlim(1, len(order))
        axes.set_xticks(range(1, len(order) + 1))
        axes.xaxis.set_ticks_position("bottom")
        axes.tick_params(labelbottom=False, labeltop=True, top=False, bottom=False, pad=1)
        axes.grid(False, axis="y")
        axes.spines["bottom"].set_visible(False)
        return draw.svg(figure, prefix, "mean ranks of the losses with the critical difference")


def performance_profile(study: Study, prefix: str) -> str:
    """The share of problems on which each loss comes within a factor of the best, over that factor."""
    places = list(study.losses)
    profiles = study.overview.profiles
    reach = min(10.0, max([1.1, *(ratio for profile in profiles for ratio in profile.ratios)]))
    with draw.settings():
        figure, axes = draw.page_axes(_WIDTH, 2.9, left=0.8)
        for profile in profiles:
            index = places.index(profile.loss)
            steps = [1.0, *profile.ratios, reach]
            shares = [100 * profile.at(factor) for factor in steps]
            axes.step(
                steps, shares, where="post", color=theme.series(index), linestyle=theme.dashes(index), linewidth=1.8
            )
        axes.set_xlim(1, reach)
        axes.set_ylim(0, 103)
        axes.set_xlabel("factor of the best")
        axes.set_ylabel("% of problems within it")
        return draw.svg(figure, prefix, html.escape("performance profile of each loss"))

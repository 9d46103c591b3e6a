"""What a comparison shows beside its metrics: both kinds of chance, reliability, the cross-loss matrix, and masks."""

from __future__ import annotations

import math

import numpy as np

from xentlab.report import draw, theme
from xentlab.report.blocks import Cell, PixelGrid, Table, cells
from xentlab.report.diagnostics import MaskExamples, Reliability
from xentlab.report.numbers import MISSING, colour_of, number, p_value, row_of, scale_of, short
from xentlab.report.record import JudgedMetric, Record
from xentlab.report.trial_pictures import IGNORED, class_colours, painted


def reliability_table(record: Record) -> Table:
    """For every bin of stated probability: what each loss's models stated, how often it came true, and its share."""
    entries = record.reliability

    def stated_and_true(entry: Reliability, k: int) -> str:
        stated, true, percent = entry.confidence[k], entry.frequency[k], 100 * entry.share[k]
        if stated is None or true is None:
            return MISSING
        share = "< 0.1 %" if percent < 0.1 else f"{percent:.1f} %"
        return f"{number(stated, 3)} → {number(true, 3)}, {share}"

    edges = zip(entries[0].low, entries[0].high, strict=True)
    rows = [
        cells(f"{number(low, 2)} to {number(high, 2)}", *(stated_and_true(entry, k) for entry in entries))
        for k, (low, high) in enumerate(edges)
    ]
    header = ["stated", *(record.labels[entry.loss] for entry in entries)]
    note = "Mean stated probability → how often it came true, and the bin's share of all statements; all final seeds."
    return Table("Reliability", header, rows, note)


def reliability_picture(record: Record, entry: Reliability, prefix: str) -> str:
    """One loss's reliability diagram: frequency over stated probability, the gap to the diagonal, and shares below."""
    colour = theme.series(colour_of(record, entry.loss))
    with draw.settings():
        figure, (upper, lower) = draw.page_panels(2.5, 3.1, (1.05, 1.9), (0.5, 0.42), left=0.62, right=0.1)
        for axes in (upper, lower):
            axes.set_xlim(0, 1)
            axes.set_xticks([0, 0.5, 1])
        upper.set_ylim(0, 1)
        upper.set_yticks([0, 0.5, 1])
        upper.tick_params(labelbottom=False)
        upper.plot([0, 1], [0, 1], color=theme.INK, linewidth=1, linestyle=":")
        for low, high, stated, true in zip(entry.low, entry.high, entry.confidence, entry.frequency, strict=True):
            if stated is None or true is None:
                continue
            middle, thick = (low + high) / 2, 0.86 * (high - low)
            upper.bar(middle, true, thick, color=colour, alpha=0.35, linewidth=0)
            upper.bar(middle, stated - true, thick, bottom=true, color="none", edgecolor=colour, linewidth=1.2)
        ends = np.array(entry.low), np.array(entry.high)
        lower.bar(sum(ends) / 2, 100 * np.array(entry.share), 0.86 * (ends[1] - ends[0]), color=theme.ZONE, linewidth=0)
        # One scale for all losses, so that their shares compare.
        most = 10 * math.ceil(10 * max(share for each in record.reliability for share in each.share))
        lower.set_ylim(0, most)
        lower.set_yticks([0, most])
        lower.set_xlabel("stated probability")
        upper.set_ylabel("came true")
        lower.set_ylabel("% of all", fontsize=9)
        return draw.svg(figure, prefix, f"reliability diagram of {record.labels[entry.loss]}")


SEEDS, BOTH = "for new seeds on this test set", "for new seeds and new examples"


def chances(record: Record, metric: JudgedMetric) -> Table:
    """Both intervals of every loss's mean and difference, in the words of what they hold for."""
    unit = scale_of(metric)
    header = ["loss", f"mean{unit.unit}", SEEDS, BOTH, f"difference{unit.points}", SEEDS, BOTH]
    found = {each.loss: each for each in record.wider if each.metric == metric.key}
    rows = []
    for loss in record.losses:
        row, both = row_of(metric, loss.name), found[loss.name]
        ends = [(row.low, row.high), (both.low, both.high)]
        ends += [(row.diff_low, row.diff_high), (both.diff_low, both.diff_high)]
        spans = [unit.interval(*each) or MISSING for each in ends]
        rows.append(cells(loss.label, unit.value(row.mean), *spans[:2], unit.change(row.difference), *spans[2:]))
    note = (
        f"95 % intervals, those of differences together over their family; {next(iter(found.values())).examples:,} "
        f"test examples. Verdicts rest on those for new seeds on this test set."
    )
    return Table(f"{metric.label}: both kinds of chance", header, rows, note)


def rounding_table(record: Record) -> Table:
    """How much of every loss's spread over the seeds is rounding, and its verdict in float64."""
    metric = record.primary
    unit = scale_of(metric)
    header = ["loss", f"sd over seeds{unit.points}", "of it rounding", f"float64 − judged{unit.points}"]
    header += [f"difference{unit.points}", "in float64", SEEDS, "verdict", "in float64"]
    rows = []
    for each in record.rounding:
        row = row_of(metric, each.loss)
        share = None if not each.sd or each.noise is None else 100 * (each.noise / each.sd) ** 2
        rows.append(
            cells(
                record.labels[each.loss],
                unit.value(each.sd),
                f"{unit.value(each.noise)}{'' if share is None else f', {share:.0f} % of the variance'}",
                unit.change(each.change),
                unit.change(row.difference),
                unit.change(each.difference),
                unit.interval(each.diff_low, each.diff_high) or MISSING,
                row.verdict,
                each.verdict,
            )
        )
    note = (
        "The same seeds at the same points, trained again in float64, where every sum is rounded elsewhere: training "
        "at high rates is chaotic, and rounding a source of variance of its own."
    )
    return Table("Rounding as a source of variance", header, rows, note)


def duel_table(record: Record) -> Table:
    """Every seed's model of each loss against the baseline's, example by example."""
    found = {(duel.loss, duel.seed): duel for duel in record.duels}
    others = [loss for loss in record.losses if any(duel.loss == loss.name for duel in record.duels)]
    base, rows = record.labels[record.baseline], []
    for seed in sorted({duel.seed for duel in record.duels}):
        duels = [found.get((loss.name, seed)) for loss in others]
        shown = [MISSING if d is None else f"{d.ours} : {d.theirs}, p {p_value(d.p)}" for d in duels]
        rows.append(cells(f"seed {seed}", *shown))
    note = (
        f"Test examples that this model alone gets right : {base}'s alone, and McNemar's exact test of the two models. "
        f"It says nothing of their losses, whose seeds vary; nothing is corrected."
    )
    return Table(f"Model against model: each loss against {base}", ["", *(x.label for x in others)], rows, note)


def cross_table(record: Record) -> Table:
    """Mean test value of every loss (columns) for models trained with every loss (rows), the best of each marked."""
    found = {(entry.loss, entry.under): entry for entry in record.cross}
    names = list(record.labels)
    columns = []
    for under in names:
        values = [found[loss, under].mean for loss in names]
        known = [v for v in values if v is not None]
        low, spread = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
        heat = [None if v is None or not spread else (v - low) / spread for v in values]
        best = [found[loss, under].best and len(known) > 1 for loss in names]
        columns.append([Cell(short(v), heat=h, best=b) for v, h, b in zip(values, heat, best, strict=True)])
    rows = [cells(record.labels[loss], *row) for loss, row in zip(names, zip(*columns, strict=True), strict=True)]
    header = ["trained with", *(f"under {record.labels[name]} ↓" for name in names)]
    note = (
        "Mean value of the column's loss on test data at the final weights. Compare within a column only: losses have "
        "different scales, and no value where the model's outputs are not theirs. Marked: those that no other is shown "
        "to beat; the deeper the tint, the nearer to the column's highest."
    )
    return Table("Cross-loss matrix", header, rows, note)


def example_grid(record: Record, examples: MaskExamples) -> PixelGrid:
    """Images, truth and each loss's masks beside each other, with the colours of the classes that occur."""
    colours = class_colours(len(examples.class_names))
    images, truth = examples.images.array(), examples.truth.array()
    ignored = np.zeros(truth.shape, bool) if examples.ignore_index is None else truth == examples.ignore_index
    masks = {"truth": truth} | {record.labels[loss]: mask.array() for loss, mask in examples.predictions.items()}
    columns = {"image": list(images if images.shape[3] == 3 else np.repeat(images, 3, axis=3))}
    for name, mask in masks.items():
        columns[name] = [painted(m, hidden, colours) for m, hidden in zip(mask, ignored, strict=True)]
    present = sorted({int(v) for mask in masks.values() for v in np.unique(mask) if v < len(examples.class_names)})
    legend = [(examples.class_names[c], colours[c]) for c in present]
    return PixelGrid(columns, [*legend, *([("ignored", np.array(IGNORED))] if ignored.any() else [])])

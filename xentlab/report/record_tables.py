"""Every table of a comparison's report, once: HTML, Markdown, LaTeX and the terminal lay out the same ones.

A table function takes the record (or one metric of it) and returns a `Table`; it formats and never computes. To add a
table: one function here, its place in `outline`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from xentlab.analysis import Judgement
from xentlab.report.blocks import Cell, Table, cells
from xentlab.report.facts import tuning_note
from xentlab.report.numbers import (
    MISSING,
    SYMBOLS,
    Scale,
    by_result,
    knob_text,
    number,
    own_knobs,
    p_value,
    row_of,
    scale,
    scale_of,
    short,
)
from xentlab.report.record import JudgedMetric, Loss, Record, Target

OF_REFERENCES = "A reference is not trained here: it has read all outside this test set, as the data say."


def overview(record: Record) -> Table:
    """Mean of every metric under every loss, the best marked, with the verdict's symbol."""
    header = ["loss", *(f"{m.label}{scale_of(m).unit} {_arrow(m)}" for m in record.metrics)]
    rows = []
    for loss in by_result(record):
        found = [(scale_of(metric), row_of(metric, loss.name)) for metric in record.metrics]
        means = (Cell(f"{unit.value(row.mean)} {SYMBOLS[row.verdict]}", best=row.best) for unit, row in found)
        rows.append(cells(_with_knobs(loss), *means))
    base = record.labels[record.baseline]
    note = (
        f"Mean over the final seeds. Against {base}: ▲ better, ▼ worse, ≈ equivalent, ? inconclusive, · baseline. "
        f"{marks([record])}"
    )
    return Table("All metrics", header, rows, note, layout="stacked")


def verdicts(record: Record, metric: JudgedMetric) -> Table:
    """One metric in full: mean, difference, test and verdict of every loss."""
    unit = scale_of(metric)
    header = ["loss", "verdict", f"mean{unit.unit} {_arrow(metric)}", "95 % CI", f"difference{unit.points}", "95 % CI"]
    header += ["p (Holm)", "p", "effect", "P(better)", "n", "failed", "seeds for 80 %"]
    imported = {one.loss: f"{one.count} of {one.trials} trials" for one in record.imported}
    header += ["imported"] if imported else []
    rows = []
    for loss in by_result(record):
        row = row_of(metric, loss.name)
        rows.append(
            cells(
                _with_knobs(loss),
                Cell(f"{SYMBOLS[row.verdict]} {row.verdict}", verdict=row.verdict),
                Cell(unit.value(row.mean), best=row.best),
                unit.interval(row.low, row.high),
                unit.change(row.difference),
                unit.interval(row.diff_low, row.diff_high),
                p_value(row.p_holm),
                p_value(row.p),
                number(row.effect, 2, sign=True),
                number(row.improvement, 2),
                str(row.n),
                str(row.failed),
                MISSING if row.seeds_needed is None else str(row.seeds_needed),
                *([imported.get(loss.name, MISSING)] if imported else []),
            )
        )
    if metric.primary:
        for name, value in record.references.items():
            rows.append(cells(name, "reference", unit.value(value), *[MISSING] * (len(header) - 3)))
    noted = [(loss.label, row_of(metric, loss.name).note) for loss in record.losses]
    notes = [f"{label}: {note}." for label, note in noted if note]
    if metric.primary and record.references:
        notes.append(OF_REFERENCES)
    return Table(_title(metric), header, rows, _rule(record, metric), notes, "stacked")


def marks(records: Sequence[Record]) -> str:
    """What a mark says; of earlier records, that it may disagree with a verdict."""
    if any(record.rule < 4 for record in records):
        return "Marked: those that no other loss is shown to beat, by tests apart from the verdicts."
    return (
        "Marked: those that no other loss is shown to beat, by the verdicts and, on the primary metric where the "
        "baseline is beaten, by tests of all other pairs with Holm."
    )


def _with_knobs(loss: Loss) -> Cell:
    """A row's name: the loss, with its knobs beside it."""
    return Cell(loss.label, own_knobs(loss), joint=" · ")


def _rule(record: Record, metric: JudgedMetric) -> str:
    """How to read one metric's table."""
    unit = scale_of(metric)
    words = f"Differences are loss − {record.labels[record.baseline]} over the seeds"
    if metric.margin is not None:
        words += f"; equivalent means within ±{short(metric.margin * unit.factor)}{unit.points}"
    return (
        f"{words}. p is the sign-flip permutation test, exact where the differences are symmetric around 0 (of skewed "
        "ones, whose rare large values few seeds show, it has called up to 10 % different where 5 % is promised); p "
        "(Holm) adjusts it for its family of comparisons and decides; effect is the mean difference in standard "
        "deviations of the differences; P(better) the share of seeds on the better side. 95 % CI of a mean: BCa "
        "bootstrap over the seeds, expanded (below six seeds Student's t); of a difference: the inverted sign-flip "
        "test at the family's level, which agrees with the verdict."
    )


def seeds(record: Record, metric: JudgedMetric) -> Table:
    """Every seed's number under every loss, on a page linked to the folder of its trial."""
    names = sorted({s for row in metric.rows for s in row.values})
    finer = scale_of(metric).with_digits(1)
    shown = {loss.name: row_of(metric, loss.name) for loss in record.losses}
    up = "../" * (2 + record.name.count("/")) if metric.primary else ""  # from the comparison's folder to the root
    rows = []
    for s in names:
        links = [f"{up}trials/{x.trials[s]}/" if up and s in x.trials else "" for x in record.losses]
        texts = [_of_seed(shown[x.name], s, finer) for x in record.losses]
        rows.append(cells(f"seed {s}", *(Cell(text, link=link) for text, link in zip(texts, links, strict=True))))
    header = ["", *(loss.label for loss in record.losses)]
    return Table(f"Every seed: {_title(metric)}{finer.unit}", header, rows)


def _of_seed(row: Judgement, seed: int, unit: Scale) -> str:
    if seed not in row.values:
        return "not run"
    return "failed" if row.values[seed] is None else unit.value(row.values[seed])


def curve_table(record: Record, key: str) -> Table:
    """Mean and 95 % band of one validation metric at every epoch."""
    curves = record.curves[key]
    ends = [each for c in curves.values() for each in zip(c.low, c.high, strict=True)]
    metric = record.curve_metric(key)
    unit = scale(metric is not None and metric.percent, ends)
    shown = [loss for loss in record.losses if loss.name in curves]
    at: dict[float, dict[str, str]] = {}
    for name, line in curves.items():
        for epoch, mean, low, high in zip(line.epochs, line.mean, line.low, line.high, strict=True):
            at.setdefault(epoch, {})[name] = f"{unit.value(mean)} {unit.interval(low, high)}".rstrip()
    rows = [cells(short(e), *(at[e].get(x.name, MISSING) for x in shown)) for e in sorted(at)]
    title = f"{record.curve_label(key)}{unit.unit}, mean and 95 % band"
    return Table(title, ["epoch", *(x.label for x in shown)], rows)


def tuning(record: Record, loss: Loss) -> Table:
    """What tuning tried for one loss."""
    values = [t.value for x in record.losses for t in x.tuning if t.value is not None]
    spread = (max(values) - min(values)) / 10 if values else None
    unit = scale(record.primary.percent, [(0.0, spread)])
    header = ["lr", f"{record.selection}{unit.unit}", "trials finished", "chosen"]
    partly = any(t.epochs is not None for t in loss.tuning)
    if partly:
        header.insert(2, "epochs")
    rows = []
    for t in loss.tuning:
        epochs = ["all" if t.epochs is None else str(t.epochs)] if partly else []
        point = (Cell(text, best=t.chosen) for text in (short(t.lr), unit.value(t.value)))
        by = f"by {t.times} seed{'' if t.times == 1 else 's'}" if t.times else "✓" if t.chosen else ""
        rows.append(cells(*point, *epochs, str(t.n), by))
    edge = "The choice lies on the edge of the search space." if loss.on_edge else ""
    return Table(f"Tuning of {loss.label}", header, rows, " ".join(filter(None, [edge, tuning_note(loss)])))


def chosen(record: Record) -> Table:
    """The hyper-parameters that each loss was trained with."""
    rows = [
        cells(x.label, knob_text(x.knobs), "yes" if x.on_edge else "no", str(len(x.tuning)), tuning_note(x))
        for x in record.losses
    ]
    return Table("Chosen hyper-parameters", ["loss", "chosen", "on the edge", "points tried", "note"], rows)


def target(record: Record, entry: Target) -> Table:
    """Fraction that reached a target, and when."""
    unit = "%" if entry.percent else ""
    value = short(entry.target * (100 if entry.percent else 1))
    rows = []
    for row in entry.rows:
        share = f"{row.reached} of {row.n}"
        span = MISSING if row.low is None or row.high is None else f"[{100 * row.low:.0f}, {100 * row.high:.0f}]"
        mean = number(row.mean, 1)
        if row.mean_low is not None and row.mean_high is not None:
            mean += f" [{number(row.mean_low, 1)}, {number(row.mean_high, 1)}]"
        percent = MISSING if row.fraction is None else f"{100 * row.fraction:.0f} %"
        median = f"> {short(entry.horizon)}" if row.median is None else short(row.median)
        rows.append(cells(record.labels[row.loss], share, f"{percent} {span}", median, mean))
    return Table(
        f"{entry.label} {value}{' ' if unit else ''}{unit}",
        ["loss", "reached", "fraction, 95 % CI", "median epoch", "restricted mean epoch, 95 % CI"],
        rows,
        f"Trials that never got there, diverged ones included, are censored at epoch {short(entry.horizon)}.",
    )


def cost(record: Record) -> Table:
    """Milliseconds per step, seconds and memory of one trial."""
    header, rows = ["loss", "ms per step", "seconds per trial"], []
    peak = any(row.peak_mb is not None for row in record.cost)
    for row in record.cost:
        memory = [short(row.peak_mb)] if peak else []
        rows.append(cells(record.labels[row.loss], number(row.ms_per_step, 3), number(row.seconds, 2), *memory))
    header += ["peak MB"] if peak else []
    return Table("Cost", header, rows, "Trials that train at once share the time that passes.")


def facts(title: str, values: dict[str, str]) -> Table:
    """Labels and texts."""
    return Table(title, ["", ""], [cells(k, v) for k, v in values.items()], layout="facts")


def identity(record: Record) -> Table:
    """What tells this record from any other."""
    values = {"created": record.created, "signature": record.signature, "data fingerprint": record.fingerprint}
    return facts("Identity", values)


def deciding(record: Record) -> Table:
    """The primary metric for a terminal: the columns that decide."""
    whole = verdicts(record, record.primary)
    failed = any(row.failed for row in record.primary.rows)
    wanted = (0, 1, 2, 4, 5, 6, 10, *((11,) if failed else ()))  # without it the rest fits 80 columns
    header = [whole.header[k] for k in wanted]
    rows = [[Cell(row[0].text), *(row[k] for k in wanted[1:])] for row in whole.rows]
    return dataclasses.replace(whole, title=record.primary.label, header=header, rows=rows)


def _title(metric: JudgedMetric) -> str:
    return f"{metric.label} ({'primary' if metric.primary else 'secondary'})"


def _arrow(metric: JudgedMetric) -> str:
    return "↓" if metric.direction == "min" else "↑"

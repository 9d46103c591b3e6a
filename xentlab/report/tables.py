"""Every table of a report, as text cells, once: HTML, Markdown, LaTeX and the terminal lay out the same ones.

A table function takes the record (or one metric of it) and returns a `Table`; it formats and never computes. To add a
table: one function here, its place in `page` and `plain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xentlab.report.record import Loss, Metric, Record, Row, Target
from xentlab.report.words import (
    MISSING,
    SYMBOLS,
    Scale,
    knobs,
    median_epoch,
    number,
    p_value,
    row_of,
    scale,
    scale_of,
    short,
)


@dataclass(frozen=True)
class Table:
    """Text cells with a title.

    Attributes:
        title: one line above the table.
        header: column names.
        rows: cells, each row as long as the header.
        losses: for each row, the loss that it is about, or an empty text.
        best: the (row, column) cells to be marked as best.
        note: one paragraph below.
        remarks: one line each, above the note.
        heat: how strongly a (row, column) cell is tinted, in [0, 1].
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    losses: list[str]
    best: frozenset[tuple[int, int]] = frozenset()
    note: str = ""
    remarks: list[str] = field(default_factory=list)
    heat: dict[tuple[int, int], float] = field(default_factory=dict)


def overview(record: Record) -> Table:
    """Mean of every metric under every loss, the best marked, with the verdict's symbol."""
    header = ["loss", *(f"{m.label}{scale_of(m).unit} {_arrow(m)}" for m in record.metrics)]
    rows, marked = [], set()
    for i, loss in enumerate(record.losses):
        cells = [loss.label]
        for j, metric in enumerate(record.metrics):
            row = row_of(metric, loss.name)
            cells.append(f"{scale_of(metric).value(row.mean)} {SYMBOLS[row.verdict]}")
            if row.best:
                marked.add((i, j + 1))
        rows.append(cells)
    base = record.labels[record.baseline]
    note = (
        f"Mean over the final seeds. Against {base}: ▲ better, ▼ worse, ≈ equivalent, ? inconclusive, · baseline. "
        "Marked: the best, and all that the paired test does not separate from it."
    )
    return Table("All metrics", header, rows, [loss.name for loss in record.losses], frozenset(marked), note)


def verdicts(record: Record, metric: Metric) -> Table:
    """One metric in full: mean, difference, test and verdict of every loss."""
    unit = scale_of(metric)
    header = ["loss", "verdict", f"mean{unit.unit} {_arrow(metric)}", "95 % CI", f"difference{unit.points}", "95 % CI"]
    header += ["p (Holm)", "p", "effect", "P(better)", "n", "failed", "seeds for 80 %"]
    rows = []
    for loss in record.losses:
        row = row_of(metric, loss.name)
        rows.append(
            [
                loss.label,
                f"{SYMBOLS[row.verdict]} {row.verdict}",
                unit.value(row.mean),
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
            ]
        )
    marked = frozenset((i, 2) for i, loss in enumerate(record.losses) if row_of(metric, loss.name).best)
    return Table(
        _title(metric),
        header,
        rows,
        [x.name for x in record.losses],
        marked,
        _rule(record, metric),
        _notes(record, metric),
    )


def _notes(record: Record, metric: Metric) -> list[str]:
    rows = [(loss.label, row_of(metric, loss.name).note) for loss in record.losses]
    return [f"{label}: {note}." for label, note in rows if note]


def _rule(record: Record, metric: Metric) -> str:
    """How to read one metric's table."""
    unit = scale_of(metric)
    words = f"Differences are loss − {record.labels[record.baseline]} over the seeds that both finished"
    if metric.margin is not None:
        words += f"; equivalent means within ±{short(metric.margin * unit.factor)}{unit.points}"
    return (
        f"{words}. p is the sign-flip permutation test, p (Holm) adjusts it for the number of losses and decides; "
        "effect is the mean difference in standard deviations of the differences; P(better) the share of seeds on the "
        "better side."
    )


def seeds(record: Record, metric: Metric) -> Table:
    """Every seed's number under every loss."""
    names = sorted({s for row in metric.rows for s in row.values}, key=lambda s: (len(s), s))
    finer = _finer(scale_of(metric))
    shown = {loss.name: row_of(metric, loss.name) for loss in record.losses}
    rows = [[f"seed {s}", *(_seed_cell(shown[x.name], s, finer) for x in record.losses)] for s in names]
    header = ["", *(loss.label for loss in record.losses)]
    return Table(f"Every seed: {_title(metric)}{finer.unit}", header, rows, [""] * len(rows))


def _seed_cell(row: Row, seed: str, unit: Scale) -> str:
    if seed not in row.values:
        return "not run"
    return "failed" if row.values[seed] is None else unit.value(row.values[seed])


def curve(record: Record, key: str) -> Table:
    """Mean and 95 % band of one validation metric at every epoch."""
    curves = record.curves[key]
    widths = [
        None if low is None or high is None else (high - low) / 2
        for c in curves.values()
        for low, high in zip(c.low, c.high, strict=True)
    ]
    unit = scale(key in record.percent_curves, widths)
    shown = [loss for loss in record.losses if loss.name in curves]
    cells: dict[float, dict[str, str]] = {}
    for name, line in curves.items():
        for epoch, mean, low, high in zip(line.epochs, line.mean, line.low, line.high, strict=True):
            cells.setdefault(epoch, {})[name] = f"{unit.value(mean)} {unit.interval(low, high)}".rstrip()
    rows = [[short(e), *(cells[e].get(x.name, MISSING) for x in shown)] for e in sorted(cells)]
    title = f"{record.curve_labels.get(key, key)}{unit.unit}, mean and 95 % band"
    return Table(title, ["epoch", *(x.label for x in shown)], rows, [""] * len(rows))


def tuning(record: Record, loss: Loss) -> Table:
    """What tuning tried for one loss."""
    values = [t.value for x in record.losses for t in x.tuning if t.value is not None]
    spread = (max(values) - min(values)) / 20 if values else None
    unit = scale(record.selection_percent, [spread])
    header = ["lr", f"{record.selection or 'selection metric'}{unit.unit}", "trials finished", "chosen"]
    rows = [[short(t.lr), unit.value(t.value), str(t.n), "✓" if t.chosen else ""] for t in loss.tuning]
    if any(t.epochs is not None for t in loss.tuning):
        header.insert(2, "epochs")
        for row, trial in zip(rows, loss.tuning, strict=True):
            row.insert(2, "all" if trial.epochs is None else str(trial.epochs))
    marked = frozenset((i, j) for i, t in enumerate(loss.tuning) if t.chosen for j in (0, 1))
    edge = "The choice lies on the edge of the search space." if loss.on_edge else ""
    return Table(
        f"Tuning of {loss.label}", header, rows, [""] * len(rows), marked, " ".join(filter(None, [edge, loss.note]))
    )


def chosen(record: Record) -> Table:
    """The hyper-parameters that each loss was trained with."""
    rows = [[x.label, knobs(x.knobs), "yes" if x.on_edge else "no", str(len(x.tuning)), x.note] for x in record.losses]
    header = ["loss", "chosen", "on the edge", "points tried", "note"]
    return Table("Chosen hyper-parameters", header, rows, [x.name for x in record.losses])


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
        rows.append([record.labels[row.loss], share, f"{percent} {span}", median_epoch(row, entry), mean])
    return Table(
        f"{entry.label} {value}{' ' if unit else ''}{unit}",
        ["loss", "reached", "fraction, 95 % CI", "median epoch", "restricted mean epoch, 95 % CI"],
        rows,
        [row.loss for row in entry.rows],
        note=f"Trials that never got there, diverged ones included, are censored at epoch {short(entry.horizon)}.",
    )


def cost(record: Record) -> Table:
    """Milliseconds per step, seconds and memory of one trial."""
    peak = any(row.peak_mb is not None for row in record.cost)
    header = ["loss", "ms per step", "seconds per trial", *(["peak MB"] if peak else [])]
    rows = [
        [record.labels[r.loss], number(r.ms_per_step, 3), number(r.seconds, 2), *([short(r.peak_mb)] if peak else [])]
        for r in record.cost
    ]
    return Table("Cost", header, rows, [r.loss for r in record.cost])


def facts(title: str, values: dict[str, str]) -> Table:
    """Labels and texts."""
    return Table(title, ["", ""], [[k, v] for k, v in values.items()], [""] * len(values))


def identity(record: Record) -> dict[str, str]:
    """What tells this record from any other."""
    return {"created": record.created, "signature": record.signature, "data fingerprint": record.fingerprint}


def terminal(record: Record) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the primary metric for a terminal: the columns that decide."""
    table = verdicts(record, record.primary)
    wanted: Sequence[int] = (0, 2, 3, 4, 5, 6, 10, 11, 1)
    return [table.header[k] for k in wanted], [[row[k] for k in wanted] for row in table.rows]


def _title(metric: Metric) -> str:
    return f"{metric.label} ({'primary' if metric.primary else 'secondary'})"


def _arrow(metric: Metric) -> str:
    return "↓" if metric.direction == "min" else "↑"


def _finer(unit: Scale) -> Scale:
    return Scale(unit.factor, unit.unit, unit.points, unit.digits + 1)

"""What a comparison concludes, in sentences: for each loss, and over the cells of a study."""

from __future__ import annotations

from collections.abc import Sequence

from xentlab.analysis import Judgement
from xentlab.report.headline import joined
from xentlab.report.numbers import p_clause, row_of, row_order, scale_of, short
from xentlab.report.record import JudgedMetric, Record
from xentlab.report.setup import axis_name, axis_word
from xentlab.report.study import Study, StudyCell

_VERDICTS = ("better", "worse", "equivalent", "inconclusive")


def sentences(record: Record) -> list[str]:
    """The verdict in words: one sentence for each loss but the baseline, on the primary metric and then the others."""
    said = [_sentence(record, loss.name) for loss in record.losses if loss.name != record.baseline]
    said += [f"{label} failed: {why}" for label, why in record.failed.items()]
    imported = imported_words([record])
    return record.sentences or [*said, *([f"{imported}."] if imported else [])]


def sentences_by_result(record: Record) -> list[str]:
    """The same with those of the losses in the order of their results; what else came with a record stays as it is."""
    said, others = sentences(record), [loss.name for loss in record.losses if loss.name != record.baseline]
    if len(said) != len(others) + len(record.failed) + bool(record.imported):
        return said
    order = [others.index(row.loss) for row in row_order(record.primary) if row.loss != record.baseline]
    return [*(said[k] for k in order), *said[len(others) :]]


def imported_words(records: Sequence[Record]) -> str:
    """How many trials of these were trained elsewhere; empty where none was."""
    found = [one for record in records for one in record.imported]
    count, files = sum(one.count for one in found), sorted({file for one in found for file in one.files})
    return f"{count} of {sum(one.trials for one in found)} trials imported from {joined(files)}" if count else ""


def _sentence(record: Record, loss: str) -> str:
    label, base, metric = record.labels[loss], record.labels[record.baseline], record.primary
    row = row_of(metric, loss)
    clauses, secondary = [_headline(metric, row, label, base)], "secondary: "
    others = [m for m in record.metrics if not m.primary]
    for verdict in _VERDICTS:
        named = [m.label for m in others if row_of(m, loss).verdict == verdict]
        if named:
            every = len(named) == len(others) > 3
            clauses.append(f"{secondary}{verdict} on {f'all {len(others)} others' if every else joined(named)}")
            secondary = ""
    entries = {item.name: item for item in record.losses}
    entry = entries[loss]
    if record.setup.replicate == "point":
        clauses.append("at the rates chosen once")
    if record.setup.added_after:
        seen = joined(list(map(str, record.setup.added_after)))
        clauses.append(f"seeds were added after a look at {seen}, unplanned: the error rate no longer holds")
    if entry.stuck:
        clauses.append(f"{entry.stuck} of its {row.n + row.failed} trials stuck at a constant answer")
    if entry.on_edge:
        clauses.append("its tuned value lies on the edge of the search space")
    if entries[record.baseline].on_edge:
        clauses.append(f"the tuned value of {base} lies on the edge of the search space")
    return "; ".join(clauses) + "."


def _headline(metric: JudgedMetric, row: Judgement, label: str, base: str) -> str:
    unit = scale_of(metric)
    failures = f", {row.failed} failed" if row.failed else ""
    seeds = f"n = {row.pairs}{failures}"
    if row.difference is None:
        rest = {"better": f"better than {base}", "worse": f"worse than {base}"}.get(row.verdict, row.verdict)
        p = f", {p_clause(row.p_holm)}" if row.verdict in ("better", "worse") else ""
        return f"{label} is {rest} on {metric.label}: no seed on which both finished ({seeds}{p})"
    low, high = row.diff_low, row.diff_high
    if row.verdict in ("better", "worse"):
        size = unit.size(row.difference)
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
    more = ""
    if metric.margin is not None and (row.seeds_needed or 0) > row.pairs:
        named = f"{short(metric.margin * unit.factor)}{unit.points}"
        more = f"; {row.seeds_needed} seeds detect a difference of {named} with 80 % power"
    return f"{label} against {base} on {metric.label} is inconclusive: {change}, {seeds}, {p_clause(row.p_holm)}{more}"


def study_sentences(study: Study) -> dict[str, tuple[str, str]]:
    """For every loss that any cell compares with its baseline a sentence, the most often better first.

    Returns:
        Loss -> (the sentence, the verdict where all cells agree, else an empty text).
    """
    found: dict[str, tuple[str, str]] = {}
    bases = {cell.record.labels[cell.record.baseline] for cell in study.cells}
    where = f"on {study.cells[0].record.primary.label}" if study.one_metric else "on each cell's own metric"
    against = bases.pop() if len(bases) == 1 else "each cell's baseline"
    wins = dict.fromkeys(study.losses, 0)
    for cell in study.cells:
        for row in cell.record.primary.rows:
            wins[row.loss] += {"better": 1, "worse": -1}.get(row.verdict, 0)
    for name, label in sorted(study.losses.items(), key=lambda item: -wins[item[0]]):
        cells = [c for c in study.cells if name in c.record.labels and name != c.record.baseline]
        verdicts = {cell.label: row_of(cell.record.primary, name).verdict for cell in cells}
        if not cells:
            continue
        agreed = verdicts[cells[0].label] if len(set(verdicts.values())) == 1 else ""
        clauses = []
        for verdict in _VERDICTS:
            mine = [cell for cell in cells if verdicts[cell.label] == verdict]
            if mine:
                size = _sizes(mine, name) if verdict in ("better", "worse") and study.one_metric else ""
                clauses.append(f"{verdict}{size} {_named(mine, cells)}")
        entries = {c.label: next(loss for loss in c.record.losses if loss.name == name) for c in cells}
        stuck = [c for c in cells if entries[c.label].stuck]
        if stuck:
            clauses.append(f"some of its trials stuck at a constant answer {_named(stuck, cells)}")
        edge = [c for c in cells if entries[c.label].on_edge]
        if edge:
            clauses.append(f"its tuned value lies on the edge of the search space {_named(edge, cells)}")
        found[name] = (f"{label} against {against} {where}: {'; '.join(clauses)}.", agreed)
    return found


def _named(some: Sequence[StudyCell], cells: Sequence[StudyCell]) -> str:
    """Which of the cells."""
    if 1 < len(some) == len(cells):
        return f"in all {len(cells)} cells"
    return f"for {labels_joined(some)}"


def labels_joined(cells: Sequence[StudyCell]) -> str:
    """`label noise 0.2 and 0.4`: what labels begin with is said once where the cells differ on the last axis only."""
    points = [list(cell.record.setup.axes.items()) for cell in cells]
    labels = [cell.label for cell in cells]
    derived = [" · ".join(axis_word(*axis) for axis in point) for point in points]
    *head, (key, _) = points[0] or [("", None)]
    if len(cells) < 2 or "." not in key or derived != labels or any(point[:-1] != head for point in points):
        return joined(labels)
    last = f"{axis_name(key)} {joined([str(point[-1][1]) for point in points])}"
    return " · ".join([*(axis_word(*axis) for axis in head), last])


def _sizes(cells: Sequence[StudyCell], loss: str) -> str:
    """By how much, over the cells in which the difference is known: the smallest and the largest."""
    found = []
    for cell in cells:
        metric = cell.record.primary
        difference, unit = row_of(metric, loss).difference, scale_of(metric)
        if difference is not None:
            found.append((abs(difference), unit.size(difference), unit.points))
    if not found:
        return ""
    (_, least, points), (_, most, _) = min(found), max(found)
    return f" by {least}{'' if least == most else f' to {most}'}{points}"

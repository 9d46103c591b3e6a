"""The answer in one sentence that needs no statistics: who wins by how much, and at what price, or why nobody does."""

from __future__ import annotations

from collections.abc import Sequence

from xentlab.analysis import Judgement
from xentlab.analysis.permutation import smallest_conclusive
from xentlab.report.numbers import SYMBOLS, Scale, loss_named, row_of, row_order, scale_of, short
from xentlab.report.record import JudgedMetric, Record
from xentlab.report.study import Study

# More names than these are counted.
_NAMED = 3


def answer_of(record: Record) -> str:
    """The answer of one comparison."""
    rows = [row for row in row_order(record.primary) if row.loss != record.baseline]
    by = {v: [row for row in rows if row.verdict == v] for v in ("better", "worse", "equivalent", "inconclusive")}
    failed = (f"; {joined(list(record.failed))} failed" if record.failed else "") + _doubts(record)
    if by["better"]:
        return f"{_won(record, by['better'])}{failed}."
    base, metric = record.labels[record.baseline], record.primary
    at = _level(metric, row_of(metric, record.baseline))
    if not rows:
        return f"{base} has no loss beside it: {metric.label} {at}{failed}."
    count = _count(record, rows[0])
    worse = f"{_named_with(record, by['worse'], sizes=True)} {_are(by['worse'])} worse" if by["worse"] else ""
    same = f"{_named_with(record, by['equivalent'])} {_make(by['equivalent'])} no difference{_margin(metric)}"
    if len(by["equivalent"]) == len(rows):
        return f"It does not matter here: {same} to {base} on {metric.label} ({at}, {count}){failed}."
    if len(by["worse"]) == len(rows):
        return f"{base} stays the best on {metric.label} ({at}): {worse} ({count}){failed}."
    if len(by["inconclusive"]) == len(rows):
        return f"{_undecided(record, rows, base, at, count)}{failed}."
    undecided = f"{_named_with(record, by['inconclusive'])} {_are(by['inconclusive'])} undecided"
    parts = [worse, same if by["equivalent"] else "", undecided if by["inconclusive"] else ""]
    return f"No loss beats {base} on {metric.label} ({at}): {'; '.join(filter(None, parts))} ({count}){failed}."


def _won(record: Record, winners: Sequence[Judgement]) -> str:
    metric, first, rest = record.primary, winners[0], winners[1:]
    base, name, unit = row_of(metric, record.baseline), loss_named(record, first.loss), scale_of(metric)
    if first.difference is None or first.mean is None or base.mean is None:
        said = f"{name} is better than {record.labels[record.baseline]} on {metric.label}"
    else:
        span = f"{unit.change(first.difference)}{unit.points} {unit.interval(first.diff_low, first.diff_high)}".rstrip()
        verb = "cuts" if first.mean < base.mean else "raises"
        move = _move(unit, base.mean, first.mean, "to")
        said = f"{name} {verb} the {metric.label} from {move} ({span}, {_count(record, first)})"
    said += _price(record, first.loss)
    return said + (f"; {_named_with(record, rest, sizes=True)} {_are(rest)} better too" if rest else "")


def _price(record: Record, loss: str) -> str:
    """On which other metrics the winner is worse; those that mean the same are one."""
    told: dict[str, list[JudgedMetric]] = {}
    for metric in record.metrics:
        if not metric.primary and row_of(metric, loss).verdict == "worse":
            told.setdefault(metric.when_worse, []).append(metric)
    said = []
    for meaning, metrics in sorted(told.items(), reverse=True):
        # Of those that mean the same, a share says most to a reader.
        shown = [max(metrics, key=lambda m: m.percent)] if meaning else metrics[:_NAMED]
        sizes = [f"{m.short} {_moved(record, m, loss)}" for m in shown]
        more = f" and {len(metrics) - _NAMED} more" if not meaning and len(metrics) > _NAMED else ""
        said.append(f"{meaning or 'it is worse'}: {', '.join(sizes)}{more}")
    return f"; but {', and '.join(said)}" if said else ""


def _doubts(record: Record) -> str:
    """What takes weight off every verdict: losses that were not tuned to their best, or mostly have learnt nothing."""
    entries = {entry.name: entry for entry in record.losses}
    ordered = [entries[row.loss] for row in row_order(record.primary) if row.loss in entries]
    edge = [entry.label for entry in ordered if entry.on_edge]
    stuck = [entry.label for entry in ordered if 2 * entry.stuck > len(entry.trials)]
    said = [f"{_few(edge)} did best on the edge of what was tried: tune wider"] if edge else []
    said += [f"most trials of {_few(stuck)} are stuck at a constant answer"] if stuck else []
    return "".join(f"; {text}" for text in said)


def _few(names: Sequence[str]) -> str:
    return joined(names) if len(names) <= _NAMED else f"{len(names)} losses"


def _moved(record: Record, metric: JudgedMetric, loss: str) -> str:
    before, after = row_of(metric, record.baseline).mean, row_of(metric, loss).mean
    return "" if before is None or after is None else _move(scale_of(metric), before, after, "→")


def _undecided(record: Record, rows: Sequence[Judgement], base: str, at: str, count: str) -> str:
    metric, unit = record.primary, scale_of(record.primary)
    pairs, least = rows[0].pairs, smallest_conclusive(0.05 / (rows[0].family or len(rows)))
    if pairs < least:
        return (
            f"Nothing can be decided with {count}: {len(rows)} loss{'' if len(rows) == 1 else 'es'} against {base} "
            f"need{'s' if len(rows) == 1 else ''} at least {least} ({metric.label} {at})"
        )
    said = f"Nothing is decided: no loss differs from {base} on {metric.label} ({at}) by more than chance may"
    if any(entry.on_edge for entry in record.losses):
        said = f"Nothing is decided against {base} on {metric.label} ({at})"
    known = [row for row in rows if row.difference is not None]
    if known:
        far = max(known, key=lambda row: abs(row.difference or 0.0))
        span = f"{unit.change(far.difference)}{unit.points} {unit.interval(far.diff_low, far.diff_high)}".rstrip()
        said += f"; the largest difference is {record.labels[far.loss]}'s {span}, {count}"
    needed = max((row.seeds_needed or 0 for row in rows), default=0)
    if metric.margin is not None and needed > pairs:
        said += f"; {needed} would show one of {short(metric.margin * unit.factor)}{unit.points}"
    return said


def _level(metric: JudgedMetric, row: Judgement) -> str:
    unit = scale_of(metric)
    return f"{unit.value(row.mean)}{unit.unit}"


def _move(unit: Scale, before: float, after: float, word: str) -> str:
    """`3.2 to 2.2 %`: a digit less than the table's, or as many as tell them apart."""
    for more in range(-1, 6):
        scale = unit.with_digits(more)
        texts = scale.value(before), scale.value(after)
        if texts[0] != texts[1]:
            break
    return f"{texts[0]} {word} {texts[1]}{unit.unit}"


def _count(record: Record, row: Judgement) -> str:
    return f"{row.pairs} paired {'replicates' if record.setup.replicate == 'procedure' else 'seeds'}"


def _margin(metric: JudgedMetric) -> str:
    if metric.margin is None:
        return ""
    unit = scale_of(metric)
    return f" within ±{short(metric.margin * unit.factor)}{unit.points}"


def _named_with(record: Record, rows: Sequence[Judgement], *, sizes: bool = False) -> str:
    unit, words = scale_of(record.primary), []
    left = len(rows) - _NAMED if len(rows) > _NAMED + 1 else 0
    for row in rows[: len(rows) - left]:
        size = f" ({unit.change(row.difference)}{unit.points})" if sizes and row.difference is not None else ""
        words.append(f"{record.labels[row.loss]}{size}")
    return joined([*words, f"{left} others"] if left else words) if words else ""


def _are(rows: Sequence[Judgement]) -> str:
    return "is" if len(rows) == 1 else "are"


def _make(rows: Sequence[Judgement]) -> str:
    return "makes" if len(rows) == 1 else "make"


def answer_of_study(study: Study) -> str:
    """The answer of several cells: the loss that wins most often and where, or that none does."""
    found: dict[str, list[tuple[str, Judgement]]] = {}
    for cell in study.cells:
        for row in cell.record.primary.rows:
            if row.loss != cell.record.baseline:
                found.setdefault(row.loss, []).append((cell.label, row))

    def times(loss: str, verdict: str) -> list[str]:
        return [label for label, row in found[loss] if row.verdict == verdict]

    bases = {cell.record.labels[cell.record.baseline] for cell in study.cells}
    base = bases.pop() if len(bases) == 1 else "its cell's baseline"
    where = f"on {study.cells[0].record.primary.label}" if study.one_metric else "on each cell's own metric"
    number = len(study.cells)
    winner = max(found, key=lambda x: (len(times(x, "better")) - len(times(x, "worse")), len(times(x, "better"))))
    won, lost = times(winner, "better"), times(winner, "worse")
    if not won:
        worse = [f"{study.losses[x]} in {len(times(x, 'worse'))}" for x in found if times(x, "worse")]
        said = f"No loss beats {base} {where} in any of {number} cells"
        return said + (f"; worse: {', '.join(worse)}." if worse else "; nothing is shown to be worse either.")
    named = f" ({joined(won)})" if len(won) <= _NAMED and len(won) < number else ""
    said = f"{study.losses[winner]} is better than {base} {where} in {len(won)} of {number} cells{named}"
    said += f" and worse in {len(lost)}" if lost else ""
    rest = [f"{study.losses[x]} in {len(times(x, 'better'))}" for x in found if x != winner and times(x, "better")]
    return said + (f"; better too: {', '.join(rest)}." if rest else ".")


def in_one_word(cells: Sequence[tuple[str, Record]]) -> str:
    """The answer as a table's column holds it: `▲ custom_ce −0.97`; with several cells, how many have a winner."""
    if len(cells) > 1:
        won = sum(any(row.verdict == "better" for row in record.primary.rows) for _, record in cells)
        return f"{SYMBOLS['better']} in {won} of {len(cells)} cells"
    record = cells[0][1]
    rows = [row for row in row_order(record.primary) if row.loss != record.baseline]
    if not rows:
        return "–"
    first, verdicts = rows[0], {row.verdict for row in rows}
    if first.verdict == "better":
        size = "" if first.difference is None else f" {scale_of(record.primary).change(first.difference)}"
        return f"{SYMBOLS['better']} {record.labels[first.loss]}{size}"
    return f"{SYMBOLS[first.verdict]} all {first.verdict}" if len(verdicts) == 1 else "none better"


def joined(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]

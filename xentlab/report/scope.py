"""What a comparison is about and what it cannot say: data, model, sizes, what a seed redraws, how many were tried."""

from __future__ import annotations

from collections.abc import Iterable

from xentlab.analysis.permutation import smallest_conclusive
from xentlab.report.diagnostics import Wider
from xentlab.report.headline import joined
from xentlab.report.numbers import row_of, scale_of
from xentlab.report.record import Record


def scope(record: Record) -> list[str]:
    """Sentences for a section of every report; empty for a record that does not tell of its replicates."""
    return [] if record.setup.replicate is None else list(_sentences(record))


def _sentences(record: Record) -> Iterable[str]:
    setup, others = record.setup, [loss for loss in record.losses if loss.name != record.baseline]
    sizes = ", ".join(f"{count:,} {part}" for part, count in setup.sizes.items())
    worth = ""
    if record.duels and record.primary.percent and any(w.metric == record.primary.key for w in record.wider):
        worth = f"; one test example is {100 / setup.sizes['test']:.2g} points"
    yield (
        f"One dataset ({setup.dataset}: {sizes} examples{worth}), one model ({setup.model}), {setup.epochs} epochs. "
        f"On other data, models and budgets nothing is concluded."
    )
    if setup.replicate == "procedure":
        more = f" and {len(setup.tuning_seeds) // len(setup.final_seeds)} draws more" if setup.tuning_seeds else ""
        yield (
            f"What is repeated {len(setup.final_seeds)} times is the whole procedure: each seed draws a validation "
            f"split, first weights and the order of batches, tunes every loss on that split{more}, and what it chooses "
            f"meets the test set."
        )
    else:
        yield (
            f"Rates were chosen once, on {len(setup.tuning_seeds)} seeds; each of {len(setup.final_seeds)} others "
            f"redraws the validation split, first weights and the order of batches. Every verdict holds at the rates "
            f"chosen once: what another choice would have changed is in no interval."
        )
    if setup.own_tests:
        yield f"Each seed meets one of the source's {setup.own_tests} test sets in turn: intervals are over them too."
    source = "the source's own" if setup.own_test else "drawn once, before any seed, and never trained or chosen on"
    if not setup.own_tests:
        yield (
            f"The test set is the same for all seeds: {source}. Intervals and verdicts are for new seeds on this test "
            f"set; {_examples(record)}."
        )
    if setup.looks:
        planned = ", ".join(map(str, setup.looks))
        yield f"Verdicts were planned at {planned} seeds, each at its equal share of the level."
    if setup.added_after:
        seen = joined(list(map(str, setup.added_after)))
        yield (
            f"Verdicts had been taken at {seen} seeds, and more were added without a plan: false verdicts are more "
            f"frequent than the level says. comparison.looks plans it."
        )
    if "dataset.label_noise" in setup.axes:
        yield "Label noise is in training labels only: validation and test labels are the source's."
    yield from _tried(record, len(others))


def _examples(record: Record) -> str:
    """What other test examples would change."""
    both = {each.loss: each for each in record.wider if each.metric == record.primary.key}
    if not both:
        return "what other test examples would change is not in them"
    lost = [
        record.labels[row.loss]
        for row in record.primary.rows
        if row.verdict in ("better", "worse") and _holds_zero(both[row.loss])
    ]
    told = "those for new seeds and new examples stand beside"
    return told + (f": {joined(lost)} may differ in nothing there" if lost else "")


def _holds_zero(of: Wider) -> bool:
    return of.diff_low is None or of.diff_high is None or of.diff_low <= 0 <= of.diff_high


def _held_out(record: Record) -> str:
    """The leader's value on seeds that did not choose it."""
    found = record.leader
    if found is None:
        return ""
    unit = scale_of(record.primary)
    own, held_out = (f"{unit.value(value)}{unit.unit}" for value in (found.mean, found.held_out))
    return (
        f": {record.labels[found.loss]} has {own}; the leader of all seeds but one has {held_out} on the one left out "
        f"(it is {record.labels[found.loss]} in {found.times} of {found.n})"
    )


def _tried(record: Record, others: int) -> Iterable[str]:
    """How many candidates there were, and at what budgets."""
    metric, base = record.primary, next(loss for loss in record.losses if loss.name == record.baseline)
    secondary = [m.label for m in record.metrics if not m.primary]
    family = row_of(metric, record.baseline).family
    told = f"{others} loss{'es' if others != 1 else ''} compared with {base.label} on {metric.label}"
    if secondary:
        count, pairs = others * len(secondary), max(row.pairs for row in record.primary.rows)
        least = smallest_conclusive(0.05 / max(count, 1))
        told += f"; {', '.join(secondary)} are secondary, one family of {count} comparisons"
        told += f", of which {pairs} seeds can decide none: it takes {least}" if pairs < least else ""
    yield f"{told[0].upper()}{told[1:]}. Level 5 % over {family} comparison{'s' if family != 1 else ''}."
    if others > 1:
        yield (
            f"The leader of several losses is overestimated by its own figure, which was chosen for being the best"
            f"{_held_out(record)}."
        )
    budgets = {loss.label: loss.tuning_trials for loss in record.losses}
    most, least = max(budgets.values()), min(budgets.values())
    if most > least:
        named = ", ".join(f"{label} {count}" for label, count in budgets.items() if count > least)
        yield f"Not every loss had the same budget: {named} tuning trials where others had {least}."
    if base.stuck or base.diverged:
        yield f"Of the baseline's own trials {base.stuck} stuck at a constant answer and {base.diverged} diverged."

"""From a table of final values to one verdict per loss, with the rule that decides it.

A table holds one metric: loss -> seed -> value, or None (nan, inf) for a trial that failed; such a trial scores what
its task's trivial predictor scores, so that no pair is lost. The baseline is a row of its own. Every other loss is
judged against it, by rules that are fixed before any number is seen:

1. *Difference.* Exact sign-flip permutation test over the seeds; Holm over the whole family of comparisons. The loss
   differs where the adjusted p < alpha. The chance of any false better or worse in the family is <= alpha, whatever the
   dependence, where the two losses of a seed are exchangeable.
2. *Equivalence.* Sign flips at the two margins, each at alpha / 2; Holm over the family. The loss is equivalent where
   the adjusted p < alpha. A difference that is real *and* inside the margin reads "equivalent", with the difference in
   the note: it exists and does not matter.
3. *Intervals* hold together: the inverted sign-flip test at 1 - alpha / family. So one that leaves out 0 belongs to a
   loss that differs, and one inside the margin to a loss that is equivalent; where only Holm's further steps say so,
   the end concerned is 0, or the margin.

What is none of these is inconclusive, and the note says what would be needed. Fewer than six pairs decide nothing, nor
does a loss, this one or the baseline, that too often chose the outermost value tried.

One metric is primary: its losses are one family (`judge`). All the others are a second family together
(`judge_family`), corrected over losses x metrics, and secondary in every sentence.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from xentlab.analysis.failures import ValueTable, common, count_failed, finished_or_none, score_of_failures, scored
from xentlab.analysis.first import marked
from xentlab.analysis.interval import summarise
from xentlab.analysis.judgement import Judgement, Question, Verdict, known
from xentlab.analysis.paired import Direction, Paired, equivalence, holm, paired, paired_differences, standardised
from xentlab.analysis.permutation import smallest_conclusive
from xentlab.analysis.planning import SMALLEST_VERDICT, seeds_needed
from xentlab.errors import UserError, unknown


def judge(
    table: ValueTable,
    *,
    baseline: str,
    direction: Direction,
    margin: float | None = None,
    trivial: float | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> list[Judgement]:
    """One judgement per loss in the table's order, the baseline's row among them, on one metric.

    Args:
        table: loss -> seed -> value; `direction`, `margin` and `trivial` are those of its `Question`.
        baseline: the loss that the others are compared with.
        alpha: chance of any false better or worse, and of any false equivalent, over the table, in (0, 1).
        seed: decides every resampling; the same table and seed give the same digits, whatever the order of the seeds.

    Raises:
        UserError: the baseline is not in the table, or the direction, margin or alpha is out of range.
    """
    question = Question(table, direction, margin, trivial)
    return judge_family({"": question}, baseline=baseline, alpha=alpha, seed=seed)[""]


def judge_family(
    questions: Mapping[str, Question], *, baseline: str, alpha: float = 0.05, seed: int = 0
) -> dict[str, list[Judgement]]:
    """The judgements of several metrics as one family: alpha is shared by all losses on all of them.

    Args:
        questions: metric -> its table, in each of which the baseline is.
        alpha: chance of any false better or worse, and of any false equivalent, over all tables, in (0, 1).

    Returns:
        Metric -> one judgement per loss, in the order of its table.

    Raises:
        UserError: as `judge`.
    """
    if not 0 < alpha < 1:
        raise UserError(f"alpha must be in (0, 1), got {alpha}.")
    compared = {metric: _compare(question, baseline) for metric, question in questions.items()}
    lost = [1.0] * sum(question.lost for question in questions.values())
    family = max(1, sum(len(metric.others) for metric in compared.values()) + len(lost))
    level = 1 - alpha / family
    keys = [(metric, loss) for metric, found in compared.items() for loss in found.others]
    pairs = {key: compared[key[0]].paired(key[1], level, seed) for key in keys}
    same = {key: compared[key[0]].equivalence(key[1], seed) for key in keys}
    p_holm = dict(zip(keys, map(float, holm([*(pairs[key].p for key in keys), *lost])), strict=False))
    p_same = dict(zip(keys, map(float, holm([*(same[key] for key in keys), *lost])), strict=False))
    judged, passed_on = {}, alpha if len(questions) == 1 else 0.0
    for metric, found in compared.items():
        rows = []
        for loss in found.clean:
            row = dataclasses.replace(found.row(loss, seed), family=family)
            if loss != baseline:
                key = (metric, loss)
                row = found.verdict(row, pairs[key], p_holm[key], p_same[key], alpha)
            rows.append(row)
        judged[metric] = marked(rows, found.question, alpha=passed_on, seed=seed)
    return judged


@dataclass(frozen=True)
class _Compared:
    """A question with its failures scored."""

    question: Question
    baseline: str
    clean: dict[str, dict[int, float | None]]
    score: float | None

    @property
    def direction(self) -> Direction:
        return self.question.direction

    @property
    def others(self) -> list[str]:
        return [loss for loss in self.clean if loss != self.baseline]

    def _pairs(self, loss: str) -> tuple[list[float], list[float]]:
        return common(scored(self.clean[loss], self.score), scored(self.clean[self.baseline], self.score))

    def paired(self, loss: str, level: float, seed: int) -> Paired:
        return paired(*self._pairs(loss), direction=self.direction, level=level, seed=seed)

    def equivalence(self, loss: str, seed: int) -> float:
        """Twice the larger one-sided p: each side has half of alpha, as the two ends of an interval have."""
        if self.question.margin is None:
            return math.nan
        return 2 * equivalence(paired_differences(*self._pairs(loss)), self.question.margin, seed=seed)

    def row(self, loss: str, seed: int) -> Judgement:
        """What the loss reached, not yet compared."""
        trials = self.clean[loss]
        summary = summarise(list(scored(trials, self.score).values()), seed=seed)
        failed = count_failed(trials)
        any_failed = any(map(count_failed, self.clean.values()))
        return Judgement(
            loss=loss,
            values=trials,
            mean=known(summary.mean),
            sd=known(summary.sd),
            low=known(summary.low),
            high=known(summary.high),
            n=len(trials) - failed,
            failed=failed,
            pairs=summary.n,
            failure_score=self.score if any_failed else None,
            note=_HOW.get(summary.method, ""),
        )

    def verdict(self, row: Judgement, pair: Paired, p_holm: float, p_same: float, alpha: float) -> Judgement:
        """The row with its comparison."""
        margin, enough = self.question.margin, pair.n >= SMALLEST_VERDICT
        differs, within = enough and p_holm < alpha, enough and p_same < alpha
        decided: Verdict = "inconclusive"
        edge = self.question.edge & {row.loss, self.baseline}
        if within and not edge:
            decided = "equivalent"
        elif differs and not edge:
            decided = "better" if (pair.difference < 0) == (self.direction == "min") else "worse"
        low, high = _agreeing(pair, differs, margin if within else None)
        needed = None
        if decided == "inconclusive" and margin is not None and not edge:
            needed = seeds_needed(standardised(margin, pair.sd), alpha=alpha / row.family)
        return dataclasses.replace(
            row,
            pairs=pair.n,
            difference=known(pair.difference),
            diff_low=known(low),
            diff_high=known(high),
            p=known(pair.p),
            p_holm=known(p_holm),
            p_equivalence=known(p_same) if margin is not None else None,
            effect=known(pair.effect),
            improvement=known(pair.improvement),
            seeds_needed=needed,
            skew=known(pair.skew),
            verdict=decided,
            note="; ".join(filter(None, [*self._notes(row, pair, decided, differs, alpha), row.note])),
        )

    def _notes(self, row: Judgement, pair: Paired, decided: Verdict, differs: bool, alpha: float) -> list[str]:
        theirs, parts = count_failed(self.clean[self.baseline]), []
        if row.failed or theirs:
            whose = "the worst value of all" if self.question.trivial is None else "as the trivial predictor does"
            score = "" if self.score is None else f": each scores {self.score:.4g}, {whose}"
            parts.append(f"{row.failed} failed, {theirs} of the baseline{score}")
        if edge := sorted(self.question.edge & {row.loss, self.baseline}):
            parts.append(f"{' and '.join(edge)} chose the outermost value tried in more than 20 % of replicates")
        if pair.n and not pair.distinct:
            parts.append("the same on every seed")
        elif decided == "equivalent" and differs:
            parts.append("the difference is real, but within the margin")
        elif decided == "inconclusive" and pair.distinct < (least := smallest_conclusive(alpha / row.family)):
            compared = f"{row.family} comparison{'s' if row.family > 1 else ''}"
            parts.append(
                f"{pair.distinct} differing seed{'' if pair.distinct == 1 else 's'} cannot reach p < {alpha:g} "
                f"in a family of {compared}; at least {least} are needed"
            )
        if pair.strongly_skewed:
            parts.append(
                f"the differences are strongly skewed ({pair.skew:+.1f}): sign flips are exact for symmetric ones only"
            )
        return parts


def _compare(question: Question, baseline: str) -> _Compared:
    """The question, checked, with what its failures score."""
    if baseline not in question.table:
        raise unknown("baseline", baseline, question.table)
    if question.direction not in ("min", "max"):
        raise UserError(f"direction must be one of min, max, got '{question.direction}'.")
    margin, trivial = question.margin, question.trivial
    if margin is not None and not (math.isfinite(margin) and margin > 0):
        raise UserError(f"margin must be a number > 0 or null, got {margin}.")
    if trivial is not None and not math.isfinite(trivial):
        raise UserError(f"trivial must be a finite number or null, got {trivial}.")
    clean = {loss: finished_or_none(trials) for loss, trials in question.table.items()}
    score = score_of_failures(clean, direction=question.direction, trivial=trivial)
    return _Compared(question, baseline, clean, score)


def _agreeing(pair: Paired, differs: bool, margin: float | None) -> tuple[float, float]:
    """The interval with its ends moved to what Holm's further steps have shown, or subsets drawn too few have not."""
    low, high = pair.low, pair.high
    if differs and low < 0 < high:
        low, high = (0.0, high) if pair.difference > 0 else (low, 0.0)
    if not differs:
        low, high = min(low, 0.0), max(high, 0.0)
    if margin is not None:
        low, high = max(low, -margin), min(high, margin)
    return low, high


# How the interval of a mean was made, where it is not the bootstrap.
_HOW = {"t": "t-interval (fewer than 6 seeds)", "none": "no interval (fewer than 2 seeds)"}

"""From a table of final values to one verdict per loss, with the rule that decides it.

A table holds one metric: loss -> seed -> value, or None (nan, inf) for a trial that failed. The baseline is a row of
its own. Every other loss is judged against it, in three steps that are fixed before any number is seen:

1. *Difference.* Sign-flip permutation test over the seeds that both finished; Holm over all losses compared. The loss
   differs where the adjusted p < alpha. Over the whole table, the chance of any false better or worse is <= alpha.
2. *Equivalence.* Two one-sided t-tests against the margin over the same seeds; Holm over all losses. The loss is
   equivalent where the adjusted p < alpha. A difference that is real *and* inside the margin reads "equivalent", with
   the difference in the note: it exists and does not matter.
3. *Failures.* Values exist only where a trial finished, so a loss that fails where the baseline trains is compared on
   the seeds that suit it. A loss with more failures than the baseline is therefore never better nor equivalent, and one
   with fewer never worse nor equivalent: such a verdict falls back to inconclusive. Failures also speak for
   themselves: where the seeds on which exactly one of the two failed are many enough for a sign test to reject at all,
   that test joins the first at half the level each. Its being able to reject depends on the number of such seeds, not
   on who failed, so the level holds.

What is none of these is inconclusive, and the note says what would be needed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xentlab.analysis.failures import FailureTest, combined, common, count_failed, failure_test, finished_or_none
from xentlab.analysis.interval import Summary, summarise
from xentlab.analysis.paired import (
    Direction,
    Paired,
    equivalence,
    holm,
    paired,
)
from xentlab.analysis.permutation import sign_flip, smallest_conclusive
from xentlab.errors import UserError, unknown

Verdict = Literal["better", "worse", "equivalent", "inconclusive", "baseline"]
Table = Mapping[str, Mapping[int, float | None]]


@dataclass(frozen=True)
class Judgement:
    """One loss on one metric: what it reached, how it differs from the baseline, and what follows.

    Attributes:
        loss: its name.
        values: seed -> value, None where the trial failed.
        mean: mean over the finished seeds, with sd and 95 % interval `low`, `high` (see `Summary`).
        sd: standard deviation over the finished seeds.
        low: lower end of the mean's interval.
        high: upper end.
        n: how many seeds finished.
        failed: how many did not.
        pairs: how many seeds both this loss and the baseline finished; the fields below rest on these.
        difference: mean of loss - baseline, in the metric's unit.
        diff_low: lower end of its 95 % interval, which excludes 0 where p < 0.05.
        diff_high: upper end.
        p: sign-flip test of no difference, before any adjustment.
        p_failed: sign test of equal failing, over the seeds on which exactly one failed; nan where there is none.
        p_holm: Holm-adjusted p of step 1 (and of the failures, where they count): the one that decides.
        p_equivalence: Holm-adjusted p of the equivalence test; nan without a margin.
        effect: mean difference / standard deviation of the differences.
        improvement: share of seeds on the better side, ties half.
        seeds_needed: seeds that find a difference of the margin (without one: that observed) with 80 % power.
        best: whether the paired test does not separate it from the best loss of the table.
        verdict: better, worse, equivalent, inconclusive; baseline for the baseline itself.
        note: what the verdict rests on or lacks, in words; empty where there is nothing to say.

    Numbers that do not exist are nan (None in `to_json`).
    """

    loss: str
    values: dict[int, float | None]
    mean: float
    sd: float
    low: float
    high: float
    n: int
    failed: int
    pairs: int
    difference: float = math.nan
    diff_low: float = math.nan
    diff_high: float = math.nan
    p: float = math.nan
    p_failed: float = math.nan
    p_holm: float = math.nan
    p_equivalence: float = math.nan
    effect: float = math.nan
    improvement: float = math.nan
    seeds_needed: int | None = None
    best: bool = False
    verdict: Verdict = "baseline"
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values: seeds are strings, numbers that are not finite are None."""
        row = {name: _plain(value) for name, value in dataclasses.asdict(self).items()}
        row["values"] = {str(s): v for s, v in self.values.items()}
        return row


def judge(
    table: Table,
    *,
    baseline: str,
    direction: Direction,
    margin: float | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> list[Judgement]:
    """One judgement per loss in the table's order, the baseline's row among them.

    Args:
        table: loss -> seed -> value on one metric; None, nan and inf are trials that failed, and a seed that a loss
            does not name was not run.
        baseline: the loss that the others are compared with.
        direction: whether smaller (`min`) or larger (`max`) is better.
        margin: the largest difference that would not matter, > 0, in the metric's unit; None tests no equivalence.
        alpha: chance of any false better or worse, and of any false equivalent, over the table, in (0, 1).
        seed: decides every resampling; the same table and seed give the same digits, whatever the order of the seeds.

    Returns:
        The judgements.

    Raises:
        UserError: the baseline is not in the table, or the direction, margin or alpha is out of range.
    """
    if baseline not in table:
        raise unknown("baseline", baseline, table)
    if direction not in ("min", "max"):
        raise UserError(f"direction must be one of min, max, got '{direction}'.")
    if not 0 < alpha < 1:
        raise UserError(f"alpha must be in (0, 1), got {alpha}.")
    if margin is not None and not (math.isfinite(margin) and margin > 0):
        raise UserError(f"margin must be a number > 0 or null, got {margin}.")
    clean = {loss: finished_or_none(trials) for loss, trials in table.items()}
    others = [loss for loss in clean if loss != baseline]
    family = max(1, len(others))
    pairs = {
        loss: paired(
            *common(clean[loss], clean[baseline]),
            direction=direction,
            alpha=alpha / family,
            smallest=margin,
            seed=seed,
        )
        for loss in others
    }
    failures = {loss: failure_test(clean[loss], clean[baseline], alpha / family) for loss in others}
    adjusted = holm([combined(pairs[loss].p, failures[loss]) for loss in others])
    similar = holm([_equivalence(clean[loss], clean[baseline], margin) for loss in others])
    p_holm = dict(zip(others, map(float, adjusted), strict=True))
    p_same = dict(zip(others, map(float, similar), strict=True))
    winners = best(clean, direction=direction, alpha=alpha, seed=seed)
    rows = []
    for loss, trials in clean.items():
        summary = summarise([v for v in trials.values() if v is not None], seed=seed)
        row = Judgement(
            loss=loss,
            values=trials,
            mean=summary.mean,
            sd=summary.sd,
            low=summary.low,
            high=summary.high,
            n=summary.n,
            failed=count_failed(trials),
            pairs=summary.n,
            best=loss in winners,
            note=_sample_note(summary),
        )
        if loss == baseline:
            rows.append(row)
            continue
        pair, failure = pairs[loss], failures[loss]
        fails = (count_failed(trials), count_failed(clean[baseline]))
        verdict = _decide(pair, failure, p_holm[loss], p_same[loss], fails, direction=direction, alpha=alpha)
        note = _note(pair, summary, verdict, p_holm[loss], fails, family=family, alpha=alpha)
        rows.append(
            dataclasses.replace(
                row,
                pairs=pair.n,
                difference=pair.difference,
                diff_low=pair.low,
                diff_high=pair.high,
                p=pair.p,
                p_failed=failure.p,
                p_holm=p_holm[loss],
                p_equivalence=p_same[loss] if margin is not None else math.nan,
                effect=pair.effect,
                improvement=pair.improvement,
                seeds_needed=pair.seeds_needed,
                verdict=verdict,
                note=note,
            )
        )
    return rows


def best(table: Table, *, direction: Direction, alpha: float = 0.05, seed: int = 0) -> set[str]:
    """The losses that share the first place: the leader, and all that the paired test does not separate from it.

    The leader has the fewest failures and, among those, the best mean. Another loss shares its place if it failed no
    more often and the Holm-adjusted sign-flip p against the leader is >= alpha (or there is no pair to compare).

    Args:
        table: loss -> seed -> value, or None where the trial failed.
        direction: whether smaller (`min`) or larger (`max`) is better.
        alpha: level of the tests against the leader, in (0, 1).
        seed: decides the sign draws beyond 32 seeds.

    Returns:
        Their names; empty where no trial finished.
    """
    clean = {loss: finished_or_none(trials) for loss, trials in table.items()}
    finished = {loss: [v for v in trials.values() if v is not None] for loss, trials in clean.items()}
    sign = 1 if direction == "min" else -1
    ranked = sorted((count_failed(clean[k]), sign * math.fsum(v) / len(v), k) for k, v in finished.items() if v)
    if not ranked:
        return set()
    fewest, _, leader = ranked[0]
    rivals = [loss for failed, _, loss in ranked[1:] if failed == fewest]
    tests = []
    for loss in rivals:
        ours, theirs = common(clean[loss], clean[leader])
        tests.append(sign_flip([a - b for a, b in zip(ours, theirs, strict=True)], seed=seed))
    return {leader} | {loss for loss, p in zip(rivals, holm(tests), strict=True) if p >= alpha}


def _equivalence(ours: Mapping[int, float | None], theirs: Mapping[int, float | None], margin: float | None) -> float:
    if margin is None:
        return math.nan
    values, reference = common(ours, theirs)
    return equivalence([a - b for a, b in zip(values, reference, strict=True)], margin)


def _decide(
    pair: Paired,
    failure: FailureTest,
    p_holm: float,
    p_same: float,
    fails: tuple[int, int],
    *,
    direction: Direction,
    alpha: float,
) -> Verdict:
    ours, theirs = fails
    if p_holm < alpha and failure.counts and not pair.p <= failure.p:
        claim: Verdict = "worse" if failure.worse else "better"
    elif p_same < alpha:
        claim = "equivalent"
    elif p_holm < alpha:
        claim = "better" if (pair.difference < 0) == (direction == "min") else "worse"
    else:
        return "inconclusive"
    contradicted = (ours > theirs and claim != "worse") or (ours < theirs and claim != "better")
    return "inconclusive" if contradicted else claim


def _note(
    pair: Paired,
    summary: Summary,
    verdict: Verdict,
    p_holm: float,
    fails: tuple[int, int],
    *,
    family: int,
    alpha: float,
) -> str:
    ours, theirs = fails
    parts = []
    if ours or theirs:
        parts.append(f"{ours} failed, {theirs} of the baseline")
        if ours != theirs and verdict == "inconclusive":
            parts.append("the finished seeds alone cannot decide")
    if pair.n and not pair.distinct:
        parts.append("the same on every seed")
    elif verdict == "equivalent" and p_holm < alpha:
        parts.append("the difference is real, but within the margin")
    elif verdict == "inconclusive" and pair.distinct < (least := smallest_conclusive(alpha / family)):
        losses = f"{family} loss{'es' if family > 1 else ''} compared"
        parts.append(
            f"{pair.distinct} differing seed{'' if pair.distinct == 1 else 's'} cannot reach p < {alpha:g} "
            f"with {losses}; at least {least} are needed"
        )
    return "; ".join([*parts, *filter(None, [_sample_note(summary)])])


def _sample_note(summary: Summary) -> str:
    """How the interval was made, where it is not the bootstrap."""
    words = {"t": "t-interval (fewer than 6 seeds)", "none": "no interval (fewer than 2 seeds)"}
    return words.get(summary.method, "")


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

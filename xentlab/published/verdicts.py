"""From claims and numbers to the rows of the page: each claim, for each arm that it names, with its verdict."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from xentlab import tasks
from xentlab.published import claims
from xentlab.published.claims import Claim, Judged
from xentlab.published.spec import Plan
from xentlab.published.trainings import Ran, is_percent, values_of
from xentlab.report.reproduction import Finding, SeedMean, Tried

Column = Mapping[str, Sequence[float | None]]
"""Arm -> one value per seed, None where the trial diverged."""


def findings(plan: Plan, ran: Ran) -> list[Finding]:
    """The rows of every claim of a trained experiment."""
    stuck = stuck_seeds(plan, ran)
    rows: list[Finding] = []
    for claim in plan.block.claims:
        column = values_of(ran, claim.metric)
        if claim.kind in ("value", "at_least"):
            rows += [
                _of_failed(claim, arm, ran.failed)
                if arm in ran.failed
                else _of_arm(claim, arm, column[arm], stuck.get(arm, set()), plan)
                for arm in claim.values
            ]
        elif ran.failed.keys() & {claim.better, claim.worse}:
            rows.append(_of_failed(claim, claim.better, ran.failed))
        else:
            rows.append(_of_pair(claim, column, plan))
    return rows


def choices_tried(plan: Plan, ran: Ran) -> list[Tried]:
    """What each open choice, made another way, changes; the paired difference with its interval says if it matters."""
    rows = []
    for label, other in plan.block.otherwise.items():
        if ran.failed.keys() & {label, other.of}:
            continue
        column = values_of(ran, other.metric)
        pairs = _paired(column[label], column[other.of])
        judged = claims.against_order([a - b for a, b in pairs])
        means = (_mean([b for _, b in pairs]), _mean([a for a, _ in pairs]))
        matters = judged.verdict != "not decidable"
        rows.append(Tried(label, other.of, metric_words(other.metric), *means, judged.difference, matters))
    return rows


def exact_findings(plan: Plan, quantities: Mapping[str, float | None]) -> list[Finding]:
    """The rows of every claim about exact quantities."""
    rows = []
    for claim in plan.block.claims:
        judged = claims.against_range(quantities[claim.metric], claim.low, claim.high)
        rows.append(_finding(claim, "", SeedMean(quantities[claim.metric]), judged, plan))
    return rows


def stuck_seeds(plan: Plan, ran: Ran) -> dict[str, set[int]]:
    """Arm -> the seeds that ended below what counts as learned."""
    stuck = plan.block.stuck
    if stuck is None:
        return {}
    column = values_of(ran, stuck.metric)
    return {arm: {i for i, v in enumerate(vs) if v is not None and v < stuck.below} for arm, vs in column.items()}


def metric_words(metric: str) -> str:
    """What a person calls a metric, with its unit."""
    part, _, name = metric.rpartition("/")
    known = tasks.known_metrics().get(name)
    word = name.replace("_", " ") if known is None else known.short
    where = {
        "test": "test", "test_at_best": "test, best validation epoch:", "best/val": "best validation",
        "scaled": "test, temperature-scaled:", "serving": "resident data over a DataLoader:",
    }.get(part, part)  # fmt: skip
    return f"{where} {word}{' (%)' if is_percent(metric) else ''}".strip()


def _of_arm(claim: Claim, arm: str, values: Sequence[float | None], stuck: set[int], plan: Plan) -> Finding:
    published, sd = claim.values[arm], claim.sds.get(arm)
    ended = [v for i, v in enumerate(values) if v is not None and i not in stuck]
    if claim.kind == "at_least":
        judged = claims.against_bound(ended, published)
    else:
        judged = claims.against_value(
            ended, published, sd=sd, runs=claim.runs, best_of=claim.best_of, rounding=claim.rounding,
            margin=claim.margin,
        )  # fmt: skip
    ours = _mean(ended, gone=len(values) - len(ended))
    found = _finding(claim, arm, ours, judged, plan)
    return replace(found, published=published, sd=sd, best_of=claim.best_of)


def _of_pair(claim: Claim, column: Column, plan: Plan) -> Finding:
    name = claim.metric.rpartition("/")[2]
    known = tasks.known_metrics().get(name)
    sign = 1.0 if name == "accuracy" or (known is not None and known.direction == "max") else -1.0
    pairs = _paired(column[claim.better], column[claim.worse])
    differences = [sign * (b - w) for b, w in pairs]
    if claim.kind == "within":
        judged = claims.against_margin(differences, claim.margin or 0.0)
    else:
        judged = claims.against_order(differences, claim.smallest)
    found = _finding(claim, claim.better, _mean([b for b, _ in pairs]), judged, plan)
    return replace(found, other=claim.worse, theirs=_mean([w for _, w in pairs]))


def _of_failed(claim: Claim, arm: str, failed: Mapping[str, str]) -> Finding:
    """A claim of which an arm could not be trained."""
    whose = arm if arm in failed else claim.worse
    none = SeedMean(None, n=0)
    return Finding(
        claim.about, claim.kind, arm, metric_words(claim.metric), claim.source, none, None, "not decidable",
        f"{whose} failed: {failed[whose]}", claim.values.get(arm), claim.sds.get(arm), claim.best_of, claim.published,
        claim.worse, none if claim.worse else None,
    )  # fmt: skip


def _finding(claim: Claim, arm: str, ours: SeedMean, judged: Judged, plan: Plan) -> Finding:
    verdict, why = judged.verdict, judged.why
    if claim.of or claim.kind not in plan.at.decides:
        own = f"it is of {claim.of}; " if claim.of else ""
        verdict, why = "not tested here", f"{own}on {_where(plan)} we see {_SEEN[verdict]}"
    words = metric_words(claim.metric) if claim.kind != "range" else claim.metric
    return Finding(
        claim.about, claim.kind, arm, words, claim.source, ours, judged.difference, verdict, why, said=claim.published
    )


_SEEN = {"agrees": "what is claimed", "disagrees": "something else", "not decidable": "nothing that decides it"}


def _where(plan: Plan) -> str:
    """The experiment as it is here, in words."""
    trials = next(iter(plan.arms.values()), [])
    return f"{trials[0].names['dataset']}, {plan.at.words}," if trials else plan.at.words


def _paired(first: Sequence[float | None], second: Sequence[float | None]) -> list[tuple[float, float]]:
    """The values of the seeds that ended well under both."""
    return [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]


def _mean(values: Sequence[float], *, gone: int = 0) -> SeedMean:
    """Mean and standard deviation over the seeds."""
    mean = statistics.fmean(values) if values else None
    return SeedMean(mean, statistics.stdev(values) if len(values) > 1 else None, len(values), gone)


def shown_metrics(plan: Plan) -> list[str]:
    """Every metric that the page shows: those of the claims, then those that are shown beside."""
    asked = [c.metric for c in plan.block.claims if c.kind != "range"]
    more = [plan.block.stuck.metric] if plan.block.stuck else []
    more += [other.metric for other in plan.block.otherwise.values()]
    return list(dict.fromkeys([*asked, *plan.block.also, *more]))

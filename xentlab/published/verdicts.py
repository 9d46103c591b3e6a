"""From claims and numbers to the rows of the page: each claim, for each arm that it names, with its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xentlab import tasks
from xentlab.published import claims
from xentlab.published.claims import Claim, Judged
from xentlab.published.plan import Plan
from xentlab.published.trainings import Ran, is_percent, values_of
from xentlab.report.numbers import decimals, number
from xentlab.report.published import Finding, Tried

Column = Mapping[str, Sequence[float | None]]
"""Arm -> one value per seed, None where the trial diverged."""


def findings(plan: Plan, ran: Ran) -> list[Finding]:
    """The rows of every claim of a trained experiment."""
    stuck = stuck_seeds(plan, ran)
    rows: list[Finding] = []
    for claim in plan.block.claims:
        column = values_of(ran, claim.metric)
        if claim.kind in ("value", "at_least"):
            rows += [_of_arm(claim, arm, column[arm], stuck.get(arm, set()), plan) for arm in claim.values]
        else:
            rows.append(_of_pair(claim, column, plan))
    return rows


def choices_tried(plan: Plan, ran: Ran) -> list[Tried]:
    """What each open choice, made another way, changes; the paired difference with its interval says if it matters."""
    rows = []
    for label, other in plan.block.otherwise.items():
        column = values_of(ran, other.metric)
        pairs = [
            (a, b) for a, b in zip(column[label], column[other.of], strict=True) if a is not None and b is not None
        ]
        judged = claims.against_order([a - b for a, b in pairs])
        words = "no difference is seen" if judged.verdict == "not decidable" else "it matters"
        values = (_mean_words([b for _, b in pairs]), _mean_words([a for a, _ in pairs]))
        rows.append(Tried(label, other.of, metric_words(other.metric), *values, _difference(judged), words))
    return rows


def exact_findings(plan: Plan, quantities: Mapping[str, float | None]) -> list[Finding]:
    """The rows of every claim about exact quantities."""
    rows = []
    for claim in plan.block.claims:
        ours = quantities[claim.metric]
        judged = claims.against_range(ours, claim.low, claim.high)
        shown = "never" if ours is None else f"{ours:.4g}"
        rows.append(_finding(claim, "", claim.published, shown, judged, plan))
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
    published = claim.values[arm]
    kept = [v for i, v in enumerate(values) if v is not None and i not in stuck]
    if claim.kind == "at_least":
        judged, shown = claims.against_bound(kept, published), f">= {published:g}"
    else:
        judged = claims.against_value(
            kept, published, sd=claim.sds.get(arm), runs=claim.runs, best_of=claim.best_of, rounding=claim.rounding,
            margin=claim.margin,
        )  # fmt: skip
        shown = f"{published:g}" + (f" ± {claim.sds[arm]:g}" if arm in claim.sds else "")
        shown += f" (best of {claim.best_of})" if claim.best_of > 1 else ""
    gone = len(values) - len(kept)
    ours = _mean_words(kept) + (f", {gone} of {len(values)} stuck or diverged" if gone else "")
    return _finding(claim, arm, shown, ours, judged, plan)


def _of_pair(claim: Claim, column: Column, plan: Plan) -> Finding:
    better, worse = column[claim.better], column[claim.worse]
    name = claim.metric.rpartition("/")[2]
    known = tasks.known_metrics().get(name)
    sign = 1.0 if name == "accuracy" or (known is not None and known.direction == "max") else -1.0
    pairs = [(b, w) for b, w in zip(better, worse, strict=True) if b is not None and w is not None]
    differences = [sign * (b - w) for b, w in pairs]
    if claim.kind == "within":
        judged = claims.against_margin(differences, claim.margin or 0.0)
    else:
        judged = claims.against_order(differences, claim.smallest)
    ours = f"{_mean_words([b for b, _ in pairs])} against {_mean_words([w for _, w in pairs])}"
    link = "within the margin of" if claim.kind == "within" else "beats"
    return _finding(claim, f"{claim.better} {link} {claim.worse}", claim.published or "order only", ours, judged, plan)


def _finding(claim: Claim, arm: str, published: str, ours: str, judged: Judged, plan: Plan) -> Finding:
    verdict, why = judged.verdict, judged.why
    if claim.kind not in plan.at.decides:
        verdict, why = "not decidable", f"{plan.at.words}: cannot decide a claim of this kind"
    words = metric_words(claim.metric) if claim.kind != "range" else claim.metric
    return Finding(claim.about, arm, words, claim.source, published, ours, _difference(judged), verdict, why)


def _difference(judged: Judged) -> str:
    """A difference with its interval."""
    if judged.difference is None:
        return "–"
    if judged.low is None or judged.high is None:
        return number(judged.difference, decimals([judged.difference]), sign=True)
    digits = decimals([(judged.high - judged.low) / 2])
    middle, low, high = (number(v, digits, sign=True) for v in (judged.difference, judged.low, judged.high))
    return f"{middle} [{low}, {high}]"


def _mean_words(values: Sequence[float]) -> str:
    """Mean and standard deviation over the seeds."""
    if not values:
        return "–"
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.4g}"
    spread = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    digits = decimals([spread])
    return f"{number(mean, digits)} ± {number(spread, digits)} (n={len(values)})"


def shown_metrics(plan: Plan) -> list[str]:
    """Every metric that the page shows: those of the claims, then those that are shown beside."""
    asked = [c.metric for c in plan.block.claims if c.kind != "range"]
    more = [plan.block.stuck.metric] if plan.block.stuck else []
    more += [other.metric for other in plan.block.otherwise.values()]
    return list(dict.fromkeys([*asked, *plan.block.also, *more]))

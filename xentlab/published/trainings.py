"""Running the arms of a published experiment on a session, and reading what its claims ask for from their records."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xentlab import tasks
from xentlab.comparison.arms import Arms, ArmsFailedError, Progress, open_arms
from xentlab.comparison.search import Score, best_point
from xentlab.comparison.tune import final_value
from xentlab.errors import UserError, unknown
from xentlab.journal import TrialRecord
from xentlab.published.distillation import final_weights, taught
from xentlab.published.spec import Plan
from xentlab.run.session import Session
from xentlab.train import Trial, prepare, stacks
from xentlab.train.serving import resident_speedup
from xentlab.train.temperature import temperature_scaled


@dataclass(frozen=True)
class Ran:
    """What the arms brought: arm -> its trials as they trained, their records, and what evaluations told beside.

    `failed`: arm -> why it could not be trained, or who was to teach it; it has none of these.
    """

    trials: dict[str, list[Trial]]
    records: dict[str, list[TrialRecord]]
    extra: dict[str, list[dict[str, float]]]
    group: str
    groups: dict[str, str]
    failed: dict[str, str]


def run_arms(plan: Plan, session: Session, progress: Progress) -> Ran:
    """Train every arm at every seed, reusing what is recorded; each round in as few stacks as it fits into.

    Raises:
        ArmsFailedError: no arm could be trained; where some could, the others are in `Ran.failed`.
    """
    first = next(iter(plan.every.values()))[0]
    session.signature(first)  # reads the data, so that a mistake there is found before anything is written
    names = first.names
    tags = {"comparison": plan.name, "task": first.task.name, "dataset": names["dataset"], "model": names["model"]}
    tags |= {"published": plan.block.source, "size": plan.size}
    params = {"size": plan.size, "arms": len(plan.every), "seeds": plan.at.seeds}
    whole = {"kind": "comparison", "name": plan.name, "parent": None, "tags": tags, "params": params}
    arms = {label: ({"arm": label}, {"arm": label}) for label in plan.every}
    opened = open_arms(session, progress, whole, arms, {"comparison": plan.name})
    trials: dict[str, list[Trial]] = {}
    records: dict[str, list[TrialRecord]] = {}
    failed: dict[str, str] = {}
    for labels in plan.rounds:
        ready: dict[str, list[Trial]] = {}
        for label in labels:
            teacher = plan.teachers[label].arm if label in plan.teachers else ""
            try:
                if teacher in failed:
                    raise UserError(f"its teacher {teacher} failed.")
                ready[label] = taught(plan, label, session, trials, records)
            except UserError as error:
                failed[label] = str(error)
        while ready:
            tried: list[TrialRecord] = []
            try:
                if plan.candidates:
                    ready, tried = _tuned(plan, list(ready), opened)
                ended = opened.run(plan.name, ready, {"phase": "final"} | ({"role": "chosen"} if tried else {}))
            except ArmsFailedError as error:
                failed |= error.sentences
                if len(failed) == len(plan.every):
                    raise
                ready = {label: arm for label, arm in ready.items() if label not in failed}
                continue  # what the others have trained is looked up
            session.drop_weights(tried)
            records |= ended
            trials |= ready
            break
    trials = {label: trials[label] for label in plan.every if label in trials}
    records = {label: records[label] for label in trials}
    extra = _temperatures(session, trials, records) if "temperature" in plan.block.evaluate else {}
    if "serving" in plan.block.evaluate:
        extra = {
            label: [{"speedup": resident_speedup(t, session.dataset(t))} for t in trials[label]]
            for label in plan.arms
            if label in trials
        }
    return Ran(trials, records, extra, opened.group, dict(opened.groups), failed)


def _tuned(plan: Plan, labels: Sequence[str], arms: Arms) -> tuple[dict[str, list[Trial]], list[TrialRecord]]:
    """Arm -> for each seed the candidate that ends best on its validation part, to meet its test set; all that ran."""
    asked = {label: [trial for seed in plan.candidates[label] for trial in seed.values()] for label in labels}
    records = arms.run(f"{plan.name}: tuning", asked, {"phase": "tune", "role": "candidate"}, candidates=True)
    ready: dict[str, list[Trial]] = {}
    for label in labels:
        rows, monitor = iter(records[label]), asked[label][0].monitor
        for tried in plan.candidates[label]:
            values = {point: final_value(next(rows), f"val/{monitor}") for point in tried}
            best = best_point({point: Score(value, (value,)) for point, value in values.items()}, monitor)
            ready.setdefault(label, []).append(prepare(tried[best].config, name=label))
    return ready, [record for arm in records.values() for record in arm]


def _temperatures(
    session: Session, trials: Mapping[str, Sequence[Trial]], records: Mapping[str, Sequence[TrialRecord]]
) -> dict[str, list[dict[str, float]]]:
    """What temperature scaling makes of every trial that ended well; an empty mapping for the others."""
    recorded = {t: r for label, arm in trials.items() for t, r in zip(arm, records[label], strict=True)}
    scaled: dict[Trial, dict[str, float]] = {}
    for stack in stacks([trial for trial, record in recorded.items() if not record.outcome.diverged]):
        weights = [final_weights(session, recorded[trial]) for trial in stack]
        scaled |= zip(stack, temperature_scaled(stack, session.dataset(stack[0]), weights), strict=True)
    return {label: [scaled.get(trial, {}) for trial in arm] for label, arm in trials.items()}


def values_of(ran: Ran, metric: str) -> dict[str, list[float | None]]:
    """Arm -> the metric of every seed; fractions in percent.

    Args:
        ran: the trained arms.
        metric: `test/NAME`, `test_at_best/NAME`, `best/val/NAME` or `scaled/NAME`, where NAME is a metric of the task,
            or `accuracy`, which is 100 % minus the error; `scaled/temperature`; `serving/speedup`; `epochs_to_target`.

    Raises:
        UserError: no trial has such a number though it ended well.
    """
    part, _, name = metric.rpartition("/")
    key = f"{part}/error" if name == "accuracy" else metric
    factor = 100.0 if is_percent(metric) else 1.0

    def of(summary: Mapping[str, object], extra: Mapping[str, float]) -> float | None:
        value = extra.get(name) if part in ("scaled", "serving") and name != "accuracy" else summary.get(key)
        if part == "scaled" and name == "accuracy":
            value = extra.get("error")
        if not isinstance(value, (int, float)):
            return None
        return factor * (1.0 - value if name == "accuracy" else value)

    found: dict[str, list[float | None]] = {}
    for label, records in ran.records.items():
        extras = ran.extra.get(label, [{} for _ in records])
        found[label] = [of(r.outcome.to_json(), e) for r, e in zip(records, extras, strict=True)]
    ended = any(not r.outcome.diverged for records in ran.records.values() for r in records)
    if ended and all(v is None for column in found.values() for v in column):
        keys = {k for records in ran.records.values() for r in records for k in r.outcome.to_json()}
        raise unknown("metric of a claim", metric, keys)
    return found


def is_percent(metric: str) -> bool:
    """Whether a metric is a fraction, which is shown in percent."""
    name = metric.rpartition("/")[2]
    known = tasks.known_metrics().get(name)
    return name == "accuracy" or (known is not None and known.is_share)


def ways(ran: Ran) -> dict[str, tuple[int, str]]:
    """Arm -> how many trials trained together (median), and by which lift."""
    found = {}
    for label, records in ran.records.items():
        stack = round(statistics.median(r.outcome.stack or 1 for r in records))
        found[label] = (stack, str(records[0].outcome.lift))
    return found

"""From a comparison's trials to the record that its report shows: every number computed once, here, by `analysis`."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from xentlab import analysis
from xentlab.comparison.cross import cross_matrix
from xentlab.comparison.evidence import examples, reliability
from xentlab.comparison.overlay import leaves
from xentlab.comparison.protocol import Protocol
from xentlab.comparison.runner import Result
from xentlab.comparison.search import Score, Space, describe_rungs, rank
from xentlab.journal import TrialRecord
from xentlab.metrics import Metric
from xentlab.run.session import Session
from xentlab.tasks import find

# What convergence is drawn of, beside the monitored metric.
_CURVES = ("nll",)


def make_record(result: Result, session: Session, command: str) -> dict[str, Any]:
    """The record of a comparison as plain JSON (see `xentlab.report.Record`)."""
    protocol = result.protocol
    first = next(iter(result.finals.values()))[0]
    task = find(first.tags["task"])
    monitor = task.metric(result.monitor)
    known = {name for records in result.finals.values() for r in records for name in r.outcome.test}
    ordered = [monitor, *(m for m in task.metrics if m != monitor), *(m for m in task.truth_metrics if m.name in known)]
    curves = [monitor, *(m for m in task.metrics if m.name in _CURVES and m != monitor)]
    trainer = protocol.base["trainer"]
    record: dict[str, Any] = {
        "name": protocol.name,
        "question": protocol.question,
        "command": command,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "baseline": protocol.baseline,
        "losses": [_loss(result, label) for label in protocol.losses],
        "metrics": _metrics(result, ordered),
        "protocol": _protocol(result, first, monitor),
        "environment": _environment(session.environment),
        "signature": _signature(result),
        "fingerprint": first.tags["fingerprint"],
        "curves": {f"val/{m.name}": _curves(result, f"val/{m.name}") for m in curves},
        "curve_labels": {f"val/{m.name}": f"validation {m.short}" for m in curves},
        "percent_curves": [f"val/{m.name}" for m in curves if m.is_share],
        "selection": f"validation {monitor.short}",
        "selection_percent": monitor.is_share,
        "cost": [_cost(label, records) for label, records in result.finals.items()],
        "reliability": reliability(result),
        "cross": cross_matrix(result, session),
        "examples": examples(result, session.root),
    }
    if trainer["target"] is not None:
        record["time_to_target"] = [_target(result, monitor, trainer["target"], trainer["epochs"])]
    return record


def _loss(result: Result, label: str) -> dict[str, Any]:
    tuning, node = result.tunings[label], result.protocol.losses[label]
    knobs = {key: value for key, value in leaves(node) if "_" not in key[:1] and "._" not in key}
    chosen = {key.rpartition(".")[2]: value for key, value in tuning.chosen}
    notes = [tuning.note] if tuning.note else []
    if tuning.on_edge:
        notes.append(f"the chosen {', '.join(tuning.on_edge)} is the outermost that was tried: INCONCLUSIVE tuning")
    if tuning.extended:
        notes.append(f"grid extended by {tuning.extended}")
    for key, values in tuning.flat.items():
        near = ", ".join(f"{v:g}" for v in values)
        notes.append(f"the tuning seeds cannot tell {key.rpartition('.')[2]} {near} from the chosen value")
    return {
        "name": label,
        "label": label,
        "knobs": knobs | chosen,
        "on_edge": bool(tuning.on_edge),
        "stuck": sum(r.outcome.stuck for r in result.finals[label]),
        "note": "; ".join(notes),
        "tuning": _sensitivity(result, label),
    }


def _sensitivity(result: Result, label: str) -> list[dict[str, Any]]:
    """The best score at each learning rate that was tried, with its epochs where those are fewer than all."""
    tuning = result.tunings[label]
    by_rate: dict[float, Score] = {}
    for point, score in tuning.scores.items():
        rate = dict(point).get("optimizer.lr")
        if rate is None:
            continue
        if rate not in by_rate or rank(score, result.monitor) < rank(by_rate[rate], result.monitor):
            by_rate[rate] = score
    chosen = dict(tuning.chosen).get("optimizer.lr")
    return [
        {"lr": rate, "value": score.value, "n": score.n, "chosen": rate == chosen, "epochs": score.epochs}
        for rate, score in sorted(by_rate.items())
    ]


def _metrics(result: Result, metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """Every metric with its rows: the first is the primary one, all others are one family of their own."""
    protocol, primary = result.protocol, metrics[0]
    questions = {
        m.name: analysis.Question(_values(result, m.name), m.direction, protocol.margin if m == primary else None)
        for m in metrics
    }
    judged: dict[str, list[analysis.Judgement]] = {}
    for family in (metrics[:1], metrics[1:]):
        judged |= analysis.judge_family({m.name: questions[m.name] for m in family}, baseline=protocol.baseline)
    return [
        {
            "key": f"test/{m.name}",
            "label": f"test {m.short}",
            "direction": m.direction,
            "primary": m == primary,
            "percent": m.is_share,
            "margin": questions[m.name].margin,
            "rows": [row.to_json() for row in judged[m.name]],
        }
        for m in metrics
    ]


def _values(result: Result, name: str) -> dict[str, dict[int, float | None]]:
    """Loss -> seed -> final test value of one metric."""
    seeds = result.protocol.final_seeds
    return {
        label: {seed: r.outcome.test.get(name) for seed, r in zip(seeds, records, strict=True)}
        for label, records in result.finals.items()
    }


def _curves(result: Result, key: str) -> dict[str, Any]:
    drawn = {}
    for label, records in result.finals.items():
        length = max(len(r.curves[key]) for r in records)
        rows = [[v for _, _, v in r.curves[key]] + [None] * (length - len(r.curves[key])) for r in records]
        band = analysis.band(rows)
        drawn[label] = {
            "epochs": list(range(1, length + 1)),
            "count": band.count.tolist(),
            **{part: [_finite(v) for v in getattr(band, part)] for part in ("mean", "low", "high")},
        }
    return drawn


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _target(result: Result, monitor: Metric, target: float, horizon: int) -> dict[str, Any]:
    table = {
        label: {seed: r.outcome.epochs_to_target for seed, r in zip(result.protocol.final_seeds, records, strict=True)}
        for label, records in result.finals.items()
    }
    rows = analysis.time_to_target(table, horizon)
    return {
        "metric": f"val/{monitor.name}",
        "label": f"validation {monitor.short}",
        "target": target,
        "horizon": horizon,
        "percent": monitor.is_share,
        "rows": [
            {k: _finite(v) if isinstance(v, float) else v for k, v in dataclasses.asdict(row).items()} for row in rows
        ],
    }


def _cost(label: str, records: Sequence[TrialRecord]) -> dict[str, Any]:
    steps = [v for r in records for _, _, v in r.curves["speed/ms_per_step"] if v is not None]
    return {
        "loss": label,
        "ms_per_step": statistics.median(steps) if steps else None,
        "seconds": statistics.median(r.outcome.seconds for r in records),
    }


def _protocol(result: Result, first: TrialRecord, monitor: Metric) -> dict[str, str]:
    protocol, trainer = result.protocol, result.protocol.base["trainer"]
    trials = ", ".join(f"{label} {count}" for label, count in result.tuning_trials.items())
    epochs = ", ".join(f"{label} {count}" for label, count in result.tuning_epochs.items())
    stuck = {label: sum(r.outcome.stuck for r in records) for label, records in result.finals.items()}
    diverged = {label: sum(r.outcome.diverged for r in records) for label, records in result.finals.items()}
    return {
        "dataset": first.tags["dataset"],
        "model": first.tags["model"],
        "optimizer": first.tags["optimizer"],
        "epochs": str(trainer["epochs"]),
        "batch size": str(trainer["batch_size"] or "by task"),
        "fairness": _FAIRNESS[protocol.mode],
        "search": _search(protocol),
        "tuning": _spaces(protocol),
        "tuning trials": trials,
        "tuning trial-epochs": epochs,
        "selected by": f"validation {monitor.short}, final epoch; the test set is read by final trials only",
        "tuning seeds": ", ".join(map(str, protocol.tuning_seeds)),
        "final seeds": ", ".join(map(str, protocol.final_seeds)),
        "stuck": ", ".join(f"{label} {count}" for label, count in stuck.items()),
        "diverged": ", ".join(f"{label} {count}" for label, count in diverged.items()),
        "equivalence margin": "none" if protocol.margin is None else f"{protocol.margin:g} on test {monitor.short}",
    }


_FAIRNESS = {
    "tuned": "tuned: every loss at its own best point",
    "shared": "shared: one point for all losses",
    "matched": "matched: learning rates scaled so that first updates have equal norms",
}


def _search(protocol: Protocol) -> str:
    if protocol.search == "halving":
        rungs = describe_rungs(protocol.rungs)
        return f"halving, the same for every loss: {rungs}; a point that starts slowly may leave before it would lead"
    return protocol.search + (f", {protocol.trials} points" if protocol.search != "grid" else "")


def _spaces(protocol: Protocol) -> str:
    """What was searched: once where all losses share it, else for each."""

    def words(space: Space) -> str:
        return "; ".join(f"{k} in {', '.join(f'{v:g}' for v in values)}" for k, values in space.items())

    described = {label: words(space) for label, space in protocol.spaces.items()}
    if len(set(described.values())) == 1:
        return next(iter(described.values()))
    return " | ".join(f"{label}: {text}" for label, text in described.items())


def _environment(environment: Mapping[str, Any]) -> dict[str, str]:
    git = environment["git"]
    return {
        "python": str(environment["python"]),
        **{name: str(version) for name, version in environment["packages"].items() if version},
        "platform": str(environment["platform"]),
        "processor": f"{environment['processor']}, {environment['cores']} cores",
        "devices": ", ".join(environment["devices"]),
        **({"commit": git["commit"] + (" with changes" if git["diff"] else "")} if git else {}),
    }


def _signature(result: Result) -> str:
    """sha256 over the signatures of the final trials, in order: the same comparison has the same one."""
    facts = {label: [r.signature for r in records] for label, records in result.finals.items()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

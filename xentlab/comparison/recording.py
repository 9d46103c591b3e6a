"""From a comparison's trials to the record that its report shows: every number computed once, here, by `analysis`."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import inspect
import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from xentlab import analysis
from xentlab.analysis.judgement import known
from xentlab.comparison import diagnose
from xentlab.comparison.answers import answers_by_loss, duels, wider
from xentlab.comparison.cross import cross_matrix
from xentlab.comparison.overlay import leaves
from xentlab.comparison.runner import Result, first_trial, judged_at_looks
from xentlab.comparison.search import ON_GRIDS, Score, rank
from xentlab.data import split
from xentlab.dotted import locate
from xentlab.journal import TrialRecord
from xentlab.metrics import Metric
from xentlab.report.record import RULE, Cost, JudgedMetric, Loss, MeanCurve, Record, Target, TuningPoint
from xentlab.report.setup import Axes, Setup, environment_of
from xentlab.run.session import Session
from xentlab.schema import knobs
from xentlab.tasks import find
from xentlab.train import Trainer
from xentlab.train.modules import first_module

# What convergence is drawn of, beside the monitored metric.
_CURVES = ("nll",)
# The trainer's knobs that a reader is told where they are not at their defaults.
_TOLD = ("accumulate", "sampling", "decay", "ema", "clip_norm", "class_weights")


def make_record(result: Result, session: Session, command: str, axes: Axes | None = None) -> Record:
    """The record of a comparison."""
    protocol, trainer = result.protocol, result.protocol.base["trainer"]
    first = next(iter(result.finals.values()))[0]
    task = find(first.tags["task"])
    monitor = task.metric(result.monitor)
    found = {name for records in result.finals.values() for r in records for name in r.outcome.test}
    ordered = [monitor, *(m for m in task.metrics if m != monitor), *(m for m in task.truth_metrics if m.name in found)]
    curves = [monitor, *(m for m in task.metrics if m.name in _CURVES and m != monitor)]
    target = trainer["target"]
    looked = judged_at_looks(result) if protocol.looks is not None else None
    judged = _metrics(result, ordered, looked)
    answers, alpha = answers_by_loss(result, session.root), _alpha(result)
    pairs = list(zip(judged, ordered, strict=True))
    return Record(
        name=protocol.name,
        question=protocol.question,
        command=command,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        baseline=protocol.baseline,
        losses=[_loss(result, label) for label in protocol.losses],
        failed=dict(result.failed),
        imported=diagnose.imported_by_loss(result, session.records),
        metrics=judged,
        setup=_setup(result, session, first, axes or {}),
        environment=environment_of(session.environment),
        signature=_signature(result),
        fingerprint=first.tags["fingerprint"],
        curves={f"val/{m.name}": _curves(result, f"val/{m.name}") for m in curves},
        time_to_target=[] if target is None else [_target(result, monitor, target, trainer["epochs"])],
        cost=[_cost(label, records) for label, records in result.finals.items()],
        reliability=diagnose.reliability_by_loss(result, of_levels=task.floats),
        predicted=diagnose.predicted_by_loss(result, session.root),
        cross=cross_matrix(result, session),
        examples=diagnose.examples_by_loss(result, session.root),
        wider=[w for m, of in pairs for w in wider(answers, m, of, protocol.baseline, alpha)] if answers else [],
        duels=duels(answers, protocol.final_seeds, protocol.baseline) if answers is not None else [],
        rounding=diagnose.rounding_by_loss(result, monitor, judged[0], alpha),
        leader=analysis.leader(
            result.values(monitor.name), direction=monitor.direction, trivial=result.trivial.get(monitor.name)
        ),
        references=dict(session.dataset(first_trial(protocol)).references) if monitor == task.primary else {},
    )


def _loss(result: Result, label: str) -> Loss:
    protocol, tuning, finals = result.protocol, result.tunings[label], result.finals[label]
    node = protocol.losses[label]
    knobs = {key: value for key, value in leaves(node) if "_" not in key[:1] and "._" not in key}
    defaults = _defaults("loss", node)
    times, keys = tuning.times, tuple(protocol.spaces[label]) if protocol.search in ON_GRIDS else ()
    same = next(iter(times)) if len(times) == 1 else ()
    return Loss(
        name=label,
        label=label,
        knobs={k: ", ".join(map(str, v)) if isinstance(v, (list, tuple)) else v for k, v in knobs.items()}
        | {_last(key): value for key, value in same},
        on_edge=bool(tuning.on_edge),
        edges=list(tuning.on_edge),
        stuck=sum(r.outcome.stuck for r in finals),
        diverged=sum(r.outcome.diverged for r in finals),
        extended=tuning.extended,
        near={_last(key): values for key, values in (tuning.flat(keys) if protocol.mode == "tuned" else {}).items()},
        note="; ".join(tuning.notes),
        given=[key for key in knobs if knobs[key] != defaults.get(key)],
        trials={seed: r.id for seed, r in zip(protocol.final_seeds, finals, strict=True)},
        space={key: list(values) for key, values in protocol.spaces[label].items()},
        tuning_trials=result.tuning_trials[label],
        tuning_epochs=result.tuning_epochs[label],
        tuning=_sensitivity(result, label),
    )


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _sensitivity(result: Result, label: str) -> list[TuningPoint]:
    """The best score at each learning rate that was tried, with its epochs where those are fewer than all."""
    tuning = result.tunings[label]
    by_rate: dict[float, Score] = {}
    for point, score in tuning.scores.items():
        rate = dict(point).get("optimizer.lr")
        if rate is not None:
            by_rate[rate] = min(by_rate.get(rate, score), score, key=lambda s: rank(s, result.monitor))
    times: Counter[float | None] = Counter()
    for point, count in tuning.times.items():
        times[dict(point).get("optimizer.lr")] += count
    most, alone = max(times.values()), len(tuning.replicates) == 1
    return [
        TuningPoint(rate, s.value, s.n, times[rate] == most, s.epochs, times=0 if alone else times[rate])
        for rate, s in sorted(by_rate.items())
    ]


def _metrics(result: Result, metrics: Sequence[Metric], looked: analysis.Looked | None) -> list[JudgedMetric]:
    """Every metric with its rows: the first is the primary one, all others are one family of their own."""
    protocol, primary = result.protocol, metrics[0]
    questions = {m.name: result.question(m, protocol.margin if m == primary else None) for m in metrics}
    judged = _judge(questions, primary.name, protocol.baseline, _alpha(result))
    if looked is not None:
        judged[primary.name] = looked.rows
    return [
        JudgedMetric(
            key=f"test/{m.name}",
            label=f"test {m.short}",
            direction=m.direction,
            rows=judged[m.name],
            primary=m == primary,
            percent=m.is_share,
            margin=questions[m.name].margin,
            short=m.short,
            when_worse=m.when_worse,
        )
        for m in metrics
    ]


def _alpha(result: Result) -> float:
    """The level of each judgement."""
    looks = result.protocol.looks
    return 0.05 if looks is None else looks.level


def _judge(
    questions: Mapping[str, analysis.Question], primary: str, baseline: str, alpha: float = 0.05
) -> dict[str, list[analysis.Judgement]]:
    """The rows of each metric: the primary one is judged by itself, all others as one family."""
    others = {name: question for name, question in questions.items() if name != primary}
    judged = analysis.judge_family({primary: questions[primary]}, baseline=baseline, alpha=alpha)
    return judged | analysis.judge_family(others, baseline=baseline, alpha=alpha)


def judged_today(record: Record) -> Record:
    """The record with its values judged by today's rule, so that it compares with one that was made today."""
    if record.rule == RULE or record.setup.looks:
        return record
    edge = frozenset(loss.name for loss in record.losses if loss.on_edge)
    questions = {
        m.key: analysis.Question(
            {row.loss: row.values for row in m.rows},
            m.direction,
            m.margin,
            m.rows[0].failure_score,
            len(record.failed),
            edge,
        )
        for m in record.metrics
    }
    rows = _judge(questions, record.primary.key, record.baseline)
    metrics = [dataclasses.replace(metric, rows=rows[metric.key]) for metric in record.metrics]
    return dataclasses.replace(record, metrics=metrics, rule=RULE)


def _curves(result: Result, key: str) -> dict[str, MeanCurve]:
    drawn = {}
    for label, records in result.finals.items():
        length = max(r.epochs for r in records)
        rows = [[r.at(key, epoch) for epoch in range(1, length + 1)] for r in records]
        band = analysis.band(rows)
        mean, low, high = ([known(float(v)) for v in part] for part in (band.mean, band.low, band.high))
        drawn[label] = MeanCurve([float(e) for e in range(1, length + 1)], mean, low, high, band.count.tolist())
    return drawn


def _target(result: Result, monitor: Metric, target: float, horizon: int) -> Target:
    seeds = result.protocol.final_seeds
    table = {
        label: {seed: r.outcome.epochs_to_target for seed, r in zip(seeds, records, strict=True)}
        for label, records in result.finals.items()
    }
    return Target(
        metric=f"val/{monitor.name}",
        label=f"validation {monitor.short}",
        target=float(target),
        horizon=float(horizon),
        percent=monitor.is_share,
        rows=analysis.time_to_target(table, horizon),
    )


def _cost(label: str, records: Sequence[TrialRecord]) -> Cost:
    steps = [v for r in records for _, _, v in r.curves["speed/ms_per_step"] if v is not None]
    seconds = statistics.median(r.outcome.seconds for r in records)
    return Cost(label, statistics.median(steps) if steps else None, seconds)


def _setup(result: Result, session: Session, first: TrialRecord, axes: Axes) -> Setup:
    protocol, trainer = result.protocol, result.protocol.base["trainer"]
    trial = first_trial(protocol)
    data = session.dataset(trial)
    module, _ = first_module(trial, data, 0)
    own = {name: knob.default for name, knob in knobs(Trainer).items()}
    parts = split(data, trial.seed, **trial.sampling)
    return Setup(
        dataset=first.tags["dataset"],
        model=first.tags["model"],
        optimizer=first.tags["optimizer"],
        epochs=trainer["epochs"],
        batch_size=trainer["batch_size"],
        mode=protocol.mode,
        axes=dict(axes),
        search=protocol.search,
        points=protocol.trials if protocol.search not in ON_GRIDS else None,
        rungs=list(protocol.rungs) if protocol.search == "halving" else [],
        tuning_seeds=list(protocol.tuning_seeds),
        final_seeds=list(protocol.final_seeds),
        replicate=protocol.replicate,
        looks=list(protocol.looks.seeds) if protocol.looks is not None else [],
        added_after=list(result.looked),
        sizes={"train": len(parts.train), "val": len(parts.val), "test": len(parts.test)},
        own_test="test" in data.source_splits,
        schedule=_described("schedule", protocol.base["schedule"]),
        augment=_described("augment", trial.config["augment"]) if trial.names["augment"] != "unchanged" else "",
        patience=trial.trainer.patience,
        training={
            name.replace("_", " "): str(found) for name in _TOLD if (found := trainer.get(name, own[name])) != own[name]
        },
        decay=protocol.base["optimizer"].get("weight_decay"),
        parameters=sum(p.numel() for p in module.parameters() if p.requires_grad),
        start=_start(first),
        own_tests=len(data.test_sets),
    )


def _start(first: TrialRecord) -> str:
    node = first.config["model"]
    words = [first.tags.get("model_found", ""), f"sha256 {node['_sha256_']}" if "_sha256_" in node else ""]
    words.append(f"model.freeze={node['freeze']}" if node.get("freeze", "none") != "none" else "")
    return "; ".join(filter(None, words))


def _defaults(group: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """Knob -> its default, of the function that a node names."""
    return {p.name: p.default for p in inspect.signature(locate(group, node["_target_"])).parameters.values()}


def _described(group: str, node: Mapping[str, Any]) -> str:
    """Its name, with what is not its default."""
    words = [f"{name} {node[name]}" for name, own in _defaults(group, node).items() if node.get(name, own) != own]
    return ", ".join([_last(node["_target_"]).replace("_", " "), *words])


def _signature(result: Result) -> str:
    """sha256 over the signatures of the final trials, in order."""
    facts = {label: [r.signature for r in records] for label, records in result.finals.items()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

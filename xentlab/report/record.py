"""The record of a comparison: everything that its report shows, as typed values, and nothing that must be computed.

`Record.from_json` is the border: it accepts what `to_json` wrote (or anyone else, or an earlier version), checks every
field by its annotation, and says in one sentence which one is wrong. Numbers that do not exist are None.

To add a field: one line here with its meaning, its place in `record_tables`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from xentlab.analysis import Judgement, Leader, TimeToTarget
from xentlab.errors import UserError, unknown
from xentlab.report.diagnostics import (
    Cross,
    Duel,
    MaskExamples,
    Predicted,
    Reliability,
    Rounding,
    Wider,
    check_examples,
)
from xentlab.report.setup import Environment, ImportedTrials, Setup
from xentlab.report.upgrade import present_record
from xentlab.typed import from_json, to_json

VERSION = 2
RULE = 4
"""How `xentlab.analysis` judges: 2, families, simultaneous intervals; 3, no edge decides; 4, marks follow verdicts."""


@dataclass(frozen=True)
class TuningPoint:
    """One point of a loss's tuning: the mean of the selection metric over `n` finished tuning trials at `lr`.

    `epochs`: what they were trained for, where that is fewer than all; such values are not comparable with the others.
    `times`: how many final seeds chose it, where each chose for itself.
    """

    lr: float
    value: float | None
    n: int
    chosen: bool = False
    epochs: int | None = None
    times: int = 0


@dataclass(frozen=True)
class Loss:
    """One loss, what tuning chose for it and from what.

    Attributes:
        name: by which the record names it.
        label: by which it is shown.
        knobs: what it was trained with, tuned values among them.
        on_edge: whether the choice lies on the edge of its search space.
        edges: the knobs that lie there.
        stuck: how many of its final trials never became clearly better than a constant answer.
        diverged: how many of them diverged.
        extended: by how many points its grid grew because a winner sat on an edge.
        near: tuned knob -> neighbouring values that the tuning seeds cannot tell from the chosen one.
        note: how the point was chosen, where it is not simply the best.
        given: which of the knobs were given beside the loss's defaults; None in older records.
        trials: final seed -> the id of its trial.
        style: whose colour and line it has, by its place; None is its own place in the record.
        space: dotted key -> the values, or the two bounds, that were searched.
        tuning_trials, tuning_epochs: what its tuning was given.
        tuning: the best score at each learning rate.
    """

    name: str
    label: str
    knobs: dict[str, float | int | str | bool | None] = field(default_factory=dict)
    on_edge: bool = False
    edges: list[str] = field(default_factory=list)
    stuck: int = 0
    diverged: int = 0
    extended: int = 0
    near: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""
    given: list[str] | None = None
    trials: dict[int, str] = field(default_factory=dict)
    style: int | None = None
    space: dict[str, list[float]] = field(default_factory=dict)
    tuning_trials: int = 0
    tuning_epochs: int = 0
    tuning: list[TuningPoint] = field(default_factory=list)


@dataclass(frozen=True)
class JudgedMetric:
    """One metric with a row for each loss.

    Attributes:
        key: its name in the runs, such as `test/error`.
        label: its name in sentences, such as `test error`.
        direction: whether smaller or larger is better.
        rows: one for each loss, in the order of `Record.losses`.
        primary: whether the comparison was designed to decide on this metric; exactly one is.
        percent: whether values are fractions to be shown as percent, and differences as points.
        margin: the largest difference that would not matter, in the metric's unit, or null.
        short: its name where the data's part goes without saying.
        when_worse: what it means for a user if it gets worse, in words; empty where its name says so.
    """

    key: str
    label: str
    direction: Literal["min", "max"]
    rows: list[Judgement]
    primary: bool = False
    percent: bool = False
    margin: float | None = None
    short: str = ""
    when_worse: str = ""


@dataclass(frozen=True)
class Target:
    """Epochs until `metric` (its key among the curves) first reached `target`; trials that never did are censored."""

    metric: str
    label: str
    target: float
    horizon: float
    rows: list[TimeToTarget]
    percent: bool = False


@dataclass(frozen=True)
class Cost:
    """What one trial of a loss costs: milliseconds per training step and seconds in all, median over its trials."""

    loss: str
    ms_per_step: float | None
    seconds: float | None
    peak_mb: float | None = None


@dataclass(frozen=True)
class MeanCurve:
    """Mean of one validation metric over the seeds with its 95 % band, at each of `epochs`."""

    epochs: list[float]
    mean: list[float | None]
    low: list[float | None]
    high: list[float | None]
    count: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Record:
    """One comparison, judged.

    Attributes:
        name, question, command: what it is called, what it asks in one sentence, and what runs it again.
        created: when it ended, ISO 8601.
        baseline: the loss that all others are compared with.
        losses: in the order in which they are shown.
        metrics: the primary one first by convention; each has a row for every loss.
        setup: data, model, seeds, search and fairness mode.
        environment: versions, hardware, code.
        signature, fingerprint: sha256 of what decides the result, and of the data.
        curves: metric key -> loss -> curve.
        time_to_target, cost: one entry for each target, one for each loss.
        reliability: at most one entry for each loss.
        predicted: the same, where a number is predicted.
        cross: one entry for each pair of losses, or none at all.
        examples: of a segmentation.
        wider: intervals for new test examples too, where a metric is one of single examples.
        duels: one entry for each loss and seed, where an example is right or wrong.
        leader: on the primary metric, with its value on held-out seeds.
        rounding: one entry for each loss, where the final seeds were trained in float64 too.
        references: what predictors that were not trained here score on the primary metric, by their names.
        sentences: the verdict in words, the headline first; where empty, they are written from the rows.
        failed: losses not trained, each with its sentence; in Holm p = 1. `imported`: of each loss, where any trial is.
        rule: by which the rows were judged, see `RULE`; `version`: of this schema.
    """

    name: str
    question: str
    command: str
    created: str
    baseline: str
    losses: list[Loss]
    metrics: list[JudgedMetric]
    setup: Setup = field(default_factory=Setup)
    environment: Environment = field(default_factory=Environment)
    signature: str = ""
    fingerprint: str = ""
    curves: dict[str, dict[str, MeanCurve]] = field(default_factory=dict)
    time_to_target: list[Target] = field(default_factory=list)
    cost: list[Cost] = field(default_factory=list)
    reliability: list[Reliability] = field(default_factory=list)
    predicted: list[Predicted] = field(default_factory=list)
    cross: list[Cross] = field(default_factory=list)
    examples: MaskExamples | None = None
    wider: list[Wider] = field(default_factory=list)
    duels: list[Duel] = field(default_factory=list)
    leader: Leader | None = None
    rounding: list[Rounding] = field(default_factory=list)
    references: dict[str, float] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    imported: list[ImportedTrials] = field(default_factory=list)
    rule: int = RULE
    version: int = VERSION

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """The record that `data` describes.

        Raises:
            UserError: a field is missing, unknown or of the wrong type, or the parts do not belong together.
        """
        data = present_record(data)
        if isinstance(data, Mapping) and (version := data.get("version", VERSION)) != VERSION:
            raise UserError(f"record.version must be 1 or {VERSION}, which this xentlab reads, got {version}.")
        record: Record = from_json(cls, data, "record")
        check_record(record)
        return record

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return dict(to_json(self))

    @property
    def primary(self) -> JudgedMetric:
        """The metric that decides."""
        return next(m for m in self.metrics if m.primary)

    @property
    def selection(self) -> str:
        """What tuning selected by, in words: the primary metric on validation, which is what `TuningPoint.value` is."""
        return f"validation {self.primary.short}"

    def curve_metric(self, key: str) -> JudgedMetric | None:
        """The metric that a curve is of."""
        name = key.rpartition("/")[2]
        return next((m for m in self.metrics if m.key.rpartition("/")[2] == name), None)

    def curve_label(self, key: str) -> str:
        """A curve's name in words."""
        metric = self.curve_metric(key)
        return f"validation {metric.short}" if metric is not None else key

    @property
    def labels(self) -> dict[str, str]:
        """Loss name -> the label that it is shown by."""
        return {loss.name: loss.label for loss in self.losses}


def check_record(record: Record) -> None:
    """Refuse a record whose parts name losses that it does not hold, or whose columns differ in length."""
    names = [loss.name for loss in record.losses]
    if len(set(names)) != len(names):
        raise UserError(f"record.losses must have different names, got {', '.join(names)}.")
    if record.baseline not in names:
        raise unknown("record.baseline", record.baseline, names)
    if [m.primary for m in record.metrics].count(True) != 1:
        raise UserError("record.metrics must have exactly one that is primary.")
    for metric in record.metrics:
        if sorted(found := [row.loss for row in metric.rows]) != sorted(names):
            one_each = f"must have one row for each of {', '.join(names)}"
            raise UserError(f"record.metrics {metric.key} {one_each}, got {', '.join(found)}.")
    named = [row.loss for target in record.time_to_target for row in target.rows] + [row.loss for row in record.cost]
    parts: list[Sequence[Any]] = [record.reliability, record.predicted, record.wider, record.duels, record.rounding]
    named += [each.loss for part in parts for each in part]
    named += [name for entry in record.cross for name in (entry.loss, entry.under)]
    named += record.examples.predictions if record.examples else ()
    named += [record.leader.loss] if record.leader else []
    for loss in [*named, *(loss for curves in record.curves.values() for loss in curves)]:
        if loss not in names:
            raise unknown("loss in the record", loss, names)
    for key, curves in record.curves.items():
        for loss, curve in curves.items():
            _of_one_length(f"record.curves {key} of {loss}", curve.epochs, curve.mean, curve.low, curve.high)
    for interval in record.wider:
        if interval.metric not in (keys := [m.key for m in record.metrics]):
            raise unknown("metric in the record", interval.metric, keys)
    for entry in record.reliability:
        columns = (entry.low, entry.high, entry.share, entry.confidence, entry.frequency)
        _of_one_length(f"record.reliability of {entry.loss}", *columns)
    for each in record.predicted:
        _of_one_length(f"record.predicted of {each.loss}", each.true, each.predicted)
        if not each.residuals or any(len(row) != 6 for row in each.residuals):
            raise UserError(f"record.predicted of {each.loss} must have six residuals a row.")
    if record.cross and sorted((e.loss, e.under) for e in record.cross) != sorted((a, b) for a in names for b in names):
        raise UserError("record.cross must have one entry for each pair of losses.")
    if record.examples is not None:
        check_examples(record.examples)


def _of_one_length(what: str, *columns: Sequence[Any]) -> None:
    if len(lengths := {len(column) for column in columns}) > 1:
        raise UserError(f"{what} must have columns of one length, got {sorted(lengths)}.")

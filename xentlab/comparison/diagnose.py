"""What a report shows of final trials beside their metrics: how reliable they are, what rounding does, and examples."""

from __future__ import annotations

import base64
import dataclasses
import math
import statistics
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xentlab import analysis
from xentlab.comparison.runner import Result
from xentlab.journal import Records
from xentlab.metrics import Metric
from xentlab.report.diagnostics import MaskExamples, Pixels, Predicted, Reliability, Rounding
from xentlab.report.record import JudgedMetric
from xentlab.report.setup import ImportedTrials
from xentlab.run.artifacts import read_answers

# MaskExamples of a segmentation that a report shows.
_EXAMPLES = 3
_TENTHS, _SHOWN = 10, 200  # groups of predicted numbers, and examples that are drawn one by one


def reliability_by_loss(result: Result, *, of_levels: bool) -> list[Reliability]:
    """For each loss, all final seeds together: what its probabilities say and what comes true, in 15 equal bins.

    With `of_levels` they are those of quantiles of a predicted number. A probability of exactly 1 counts to the last
    bin. Losses none of whose trials ended well have no entry.
    """
    entries = []
    for label, records in result.finals.items():
        found = [bins for r in records if (bins := r.outcome.reliability) is not None]
        if not found:
            continue
        count, correct, confidence = (
            np.sum([getattr(bins, name) for bins in found], axis=0, dtype=float)
            for name in ("count", "correct", "confidence")
        )
        for column in (count, correct, confidence):
            column[-2] += column[-1]
        count, correct, confidence = count[:-1], correct[:-1], confidence[:-1]
        edges = np.linspace(0, 1, len(count) + 1)
        said, true = (
            [float(v / c) if c else None for v, c in zip(x, count, strict=True)] for x in (confidence, correct)
        )
        if of_levels:  # bins do not weigh by how many targets fall into them
            said, true = edges[1:].tolist(), (count.cumsum() / count.sum()).tolist()
        low, high, share = edges[:-1].tolist(), edges[1:].tolist(), (count / count.sum()).tolist()
        of: Literal["quantiles", "probabilities"] = "quantiles" if of_levels else "probabilities"
        entries.append(Reliability(label, len(found), low, high, share, said, true, of))
    return entries


def predicted_by_loss(result: Result, root: Path) -> list[Predicted]:
    """For each loss what its final trials predict of the test examples, where they kept predicted numbers."""
    entries = []
    for label, records in result.finals.items():
        kept = [read_answers(root / str(r.artifacts)) for r in records if not r.outcome.diverged]
        kept = [answers for answers in kept if "predicted" in answers]
        if not kept:
            continue
        true, predicted = (
            np.concatenate([each[key] for each in kept]).astype(np.float64) for key in ("true", "predicted")
        )
        tenths = np.array_split(np.argsort(predicted, kind="stable"), min(_TENTHS, len(predicted)))
        rows = [
            [np.median(predicted[tenth]), *np.quantile((true - predicted)[tenth], [0.05, 0.25, 0.5, 0.75, 0.95])]
            for tenth in tenths
        ]
        first = (_brief(kept[0]["true"][:_SHOWN]), _brief(kept[0]["predicted"][:_SHOWN]))
        entries.append(Predicted(label, len(kept), *first, [_brief(row) for row in rows]))
    return entries


def _brief(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def rounding_by_loss(result: Result, monitor: Metric, judged: JudgedMetric, alpha: float) -> list[Rounding]:
    """What the final seeds differ in when they are trained again in float64; nothing where they were not."""
    if not result.rounded:
        return []
    table = result.values_of(result.rounded, monitor.name)
    question = dataclasses.replace(result.question(monitor, judged.margin), table=table)
    rows = analysis.judge_family({"": question}, baseline=result.protocol.baseline, alpha=alpha)[""]
    found = []
    for row, before in zip(rows, judged.rows, strict=True):
        pairs = [(v, w) for s, v in row.values.items() if v is not None and (w := before.values[s]) is not None]
        changes = [v - w for v, w in pairs]
        found.append(
            Rounding(
                loss=row.loss,
                n=len(changes),
                sd=statistics.stdev(w for _, w in pairs) if len(pairs) > 1 else None,
                noise=statistics.stdev(changes) / math.sqrt(2) if len(changes) > 1 else None,
                change=statistics.fmean(changes) if changes else None,
                difference=row.difference,
                diff_low=row.diff_low,
                diff_high=row.diff_high,
                verdict=row.verdict,
            )
        )
    return found


def examples_by_loss(result: Result, root: Path) -> MaskExamples | None:
    """The first test examples of the first final seed under each loss, as its trials kept them; None without any.

    Losses whose trial saw other examples (its seed is another one) are left out.
    """
    shown: MaskExamples | None = None
    truth: NDArray[Any] | None = None
    for label, records in result.finals.items():
        path = root / (records[0].artifacts or "") / "examples.npz"
        if records[0].outcome.diverged or not path.is_file():
            continue
        with np.load(path, allow_pickle=False) as kept:
            mask = kept["truth"][:_EXAMPLES]
            if shown is None:
                truth = mask
                images = np.clip(np.moveaxis(kept["inputs"][:_EXAMPLES], 1, -1) * 255, 0, 255)
                ignored = int(kept["ignore_index"])
                shown = MaskExamples(
                    class_names=[str(name) for name in kept["class_names"]],
                    ignore_index=None if ignored < 0 else ignored,
                    images=_pixels(images),
                    truth=_pixels(mask),
                    predictions={},
                )
            if truth is not None and np.array_equal(mask, truth):
                shown.predictions[label] = _pixels(kept["prediction"][:_EXAMPLES])
    return shown


def _pixels(values: NDArray[Any]) -> Pixels:
    """An array of small whole numbers, packed."""
    packed = zlib.compress(np.ascontiguousarray(values.astype(np.uint8)).tobytes(), 9)
    return Pixels(list(values.shape), base64.b64encode(packed).decode())


def imported_by_loss(result: Result, records: Records) -> list[ImportedTrials]:
    """Of each loss how many trials are another's; nothing where all were trained here."""
    found = []
    for label in result.finals:
        trials = [records.trials[name] for name in records.groups[result.loss_groups[label]].members]
        files = [file for trial in trials if (file := records.imported(trial)) is not None]
        found.append(ImportedTrials(label, len(files), len(trials), sorted(set(files))))
    return found if any(one.count for one in found) else []

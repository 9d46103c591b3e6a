"""The one yardstick: what trials are compared by, whatever loss they were trained with.

What lives here are pure functions of *probabilities* (after the loss's link, normalised), never of logits, batched
over a leading axis R of trials, on whatever device the probabilities live:

    parts = [statistics(task, probs, target, ignore_index=None) for each chunk]
    values = finish(task, combine(task, parts))  # {metric: float64 [R]}

so that the chunks of a large split give what the whole would. A trial's non-finite probabilities reach none of its
neighbours; its own `nll`, `brier` and `ece` become NaN, while what only counts decisions stays finite.

To add a metric: compute it in its task's `*_metrics`, give it its line in `METRICS`, `DIRECTIONS` and `LABELS`, and
its reference in the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from xentlab.metrics.bins import calibration_counts
from xentlab.metrics.categorical import (
    constant_counts,
    multiclass_counts,
    multiclass_metrics,
    segmentation_counts,
    segmentation_metrics,
)
from xentlab.metrics.multilabel import multilabel_metrics, posterior_metrics

if TYPE_CHECKING:
    from xentlab.data.dataset import Task

__all__ = [
    "DIRECTIONS",
    "LABELS",
    "METRICS",
    "POSTERIOR_METRICS",
    "PRIMARY",
    "add",
    "combine",
    "finish",
    "multiclass_counts",
    "multiclass_metrics",
    "multilabel_metrics",
    "posterior_metrics",
    "reliability",
    "segmentation_counts",
    "segmentation_metrics",
    "statistics",
    "trivial",
]

METRICS: dict[Task, tuple[str, ...]] = {
    "multiclass": ("error", "nll", "brier", "ece"),
    "multilabel": ("map", "f1_micro", "f1_macro", "subset_accuracy", "hamming", "nll", "brier", "ece"),
    "segmentation": ("miou", "dice", "pixel_accuracy", "class_accuracy", "error", "nll", "brier", "ece"),
}

# Beside those of the task, on test, where the dataset knows the true probability of every label.
POSTERIOR_METRICS = ("excess_risk", "posterior_error", "true_calibration")

PRIMARY: dict[Task, str] = {"multiclass": "error", "multilabel": "map", "segmentation": "miou"}

DIRECTIONS: dict[str, Literal["min", "max"]] = {
    "error": "min",
    "nll": "min",
    "brier": "min",
    "ece": "min",
    "hamming": "min",
    "excess_risk": "min",
    "posterior_error": "min",
    "true_calibration": "min",
    "map": "max",
    "f1_micro": "max",
    "f1_macro": "max",
    "subset_accuracy": "max",
    "miou": "max",
    "dice": "max",
    "pixel_accuracy": "max",
    "class_accuracy": "max",
}

LABELS: dict[str, str] = {
    "error": "Error (fraction)",
    "nll": "Negative log-likelihood (nats)",
    "brier": "Brier score (squared probability)",
    "ece": "Expected calibration error (fraction)",
    "hamming": "Hamming loss (fraction of labels)",
    "excess_risk": "Excess risk over Bayes (nats)",
    "posterior_error": "Error against the true posterior (fraction)",
    "true_calibration": "Calibration error against the true posterior (fraction)",
    "map": "Mean average precision (fraction)",
    "f1_micro": "F1 over all labels (fraction)",
    "f1_macro": "F1, mean over labels (fraction)",
    "subset_accuracy": "All labels right (fraction)",
    "miou": "Mean IoU (fraction)",
    "dice": "Mean Dice (fraction)",
    "pixel_accuracy": "Pixel accuracy (fraction)",
    "class_accuracy": "Class accuracy, mean recall (fraction)",
}


def statistics(task: Task, probs: Tensor, target: Tensor, *, ignore_index: int | None = None) -> dict[str, Tensor]:
    """What one chunk of examples [R, N, ...] contributes to the metrics of its task.

    Args:
        task: which metrics.
        probs: probabilities [R, N, C], or [R, N, C, H, W] for segmentation.
        target: class indices [N] or [R, N], n-hot [N, C] or [R, N, C], or masks [N, H, W] or [R, N, H, W].
        ignore_index: the target value of elements that count nowhere; multilabel targets have none.

    Returns:
        Tensors with a leading axis R, for `combine`.
    """
    if task == "multilabel":
        assert ignore_index is None, "an n-hot target has no ignored value"
        return {"probs": probs, "target": target if target.ndim == 3 else target[None]}
    if task == "segmentation":
        return segmentation_counts(probs, target, ignore_index=ignore_index)
    return multiclass_counts(probs, target, None if ignore_index is None else target != ignore_index)


def add(a: dict[str, Tensor], b: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sum two sets of additive statistics, name by name.

    Args:
        a: statistics, each with a leading axis R.
        b: statistics of other examples, of the same names and shapes.

    Returns:
        The statistics of the examples of both.
    """
    assert a.keys() == b.keys()
    return {name: value + b[name] for name, value in a.items()}


def combine(task: Task, parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Join the statistics of chunks: sums where they add up, all scores where a ranking needs them (multilabel).

    Args:
        task: which metrics.
        parts: what `statistics` gave for each chunk, at least one.

    Returns:
        The statistics of all examples.
    """
    if task == "multilabel":
        return {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}
    total = parts[0]
    for part in parts[1:]:
        total = add(total, part)
    return total


def finish(task: Task, stats: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn statistics into the metrics of the task.

    Args:
        task: which metrics.
        stats: what `statistics` or `combine` gave.

    Returns:
        A float64 tensor [R] for every name in `METRICS[task]`; NaN where a metric is undefined (no example at
        all; no positive label at all for `map`; F1 is then 0).
    """
    if task == "multilabel":
        return multilabel_metrics(stats["probs"], stats["target"])
    return segmentation_metrics(stats) if task == "segmentation" else multiclass_metrics(stats)


def reliability(task: Task, stats: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a reliability diagram is drawn of: how often in each bin of stated probability, and how often rightly.

    Args:
        task: which metrics.
        stats: what `statistics` or `combine` gave.

    Returns:
        `count` and `correct` (int64) and `confidence` (sums, float64), each [R, 16]: 15 bins of equal width on [0, 1),
        and one of exactly 1; of the predicted class, or of every label's probability (multilabel).
    """
    if task == "multilabel":
        probs = stats["probs"]
        truth = (stats["target"] > 0.5).expand(probs.shape)
        stats = calibration_counts(probs.flatten(1), truth.flatten(1))
    return {name: stats[f"bin_{name}"] for name in ("count", "correct", "confidence")}


def trivial(
    task: Task, class_frequency: Tensor, target: Tensor, *, ignore_index: int | None = None
) -> dict[str, float]:
    """Metrics of the predictor that always answers with the class frequencies of the training set.

    Args:
        task: which metrics.
        class_frequency: fraction of each class, or of examples with each label [C], in [0, 1].
        target: class indices [N], n-hot [N, C] or masks [N, H, W] to be judged on.
        ignore_index: the target value of elements that count nowhere.

    Returns:
        A number for every name in `METRICS[task]`.
    """
    if task == "multilabel":
        values = multilabel_metrics(class_frequency.to(target.device).double().expand(1, *target.shape), target)
    else:
        values = finish(task, constant_counts(class_frequency, target, ignore_index=ignore_index))
    return {name: float(value) for name, value in values.items()}

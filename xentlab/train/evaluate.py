"""Evaluation: every metric of a task over one part of the data, for all rows of a stack; and the predictor to beat."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from xentlab import metrics
from xentlab.data import Dataset
from xentlab.losses.contract import Link
from xentlab.losses.links import probabilities
from xentlab.step import Lift
from xentlab.train.batches import Batches

# Logits of one evaluation batch: 32 MB of float32, whatever the number of classes, pixels and trials.
_ELEMENTS = 2**23


def evaluate(
    lifts: Sequence[Lift],
    batches: Batches,
    dataset: Dataset,
    link: Link,
    part: str,
    batch_size: int,
    limit: int | None = None,
) -> dict[str, Tensor]:
    """Every metric of the task on one part of the data, float64 [R] on the host.

    Args:
        lifts: which hold all rows of the stack, in order.
        batches: the data under each row's split.
        dataset: what the batches are of.
        link: of the loss.
        part: `train` (with the labels trained on), `val` or `test`.
        batch_size: examples at most; less where the logits of all rows would be large.
        limit: only that many examples.
    """
    task = dataset.task
    pixels = math.prod(dataset.input_shape[1:]) if task == "segmentation" else 1
    rows: list[dict[str, Tensor]] = []
    for lift in lifts:
        lift.enter()
        size = max(1, min(batch_size, _ELEMENTS // (dataset.num_classes * pixels * len(lift.params))))
        parts = []
        for inputs, target in batches.evaluation(lift.rows, part, size, limit):
            logits = lift.predict(inputs)
            probs = probabilities(logits.flatten(0, 1), link, exclusive=task != "multilabel")
            probs = probs.unflatten(0, logits.shape[:2])
            parts.append(metrics.statistics(task, probs, target, ignore_index=dataset.ignore_index))
        rows.append(metrics.finish(task, metrics.combine(task, parts)))
    names = list(rows[0])
    table = torch.cat([torch.stack([row[name] for name in names]) for row in rows], dim=1).cpu()
    return dict(zip(names, table, strict=True))


def constant_predictor(dataset: Dataset, train: Tensor, judged: Tensor) -> dict[str, float]:
    """The metrics on `judged` targets of the predictor that always answers with the class frequencies of `train`."""
    if dataset.task == "multilabel":
        frequency = train.double().mean(0)
    else:
        valid = train if dataset.ignore_index is None else train[train != dataset.ignore_index]
        frequency = torch.bincount(valid.flatten().long(), minlength=dataset.num_classes).double()
        frequency = frequency / frequency.sum()
    return metrics.trivial(dataset.task, frequency, judged, ignore_index=dataset.ignore_index)


def is_stuck(metric: str, best: float, constant: float) -> bool:
    """Whether `best` is less than 5 % of the way from the constant predictor's value to perfection."""
    if metrics.DIRECTIONS[metric] == "min":
        return best > 0.95 * constant
    return best < constant + 0.05 * (1.0 - constant)

"""Evaluation: every metric of a task over one part of the data, for all rows of a stack; and the predictor to beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from xentlab import metrics
from xentlab.data import Dataset
from xentlab.losses.contract import Link
from xentlab.losses.links import probabilities
from xentlab.step import Lift
from xentlab.train.batches import Batches

# What one evaluation batch may hold in tensors, whatever the model and the number of trials.
_BYTES = 2**28


def evaluate(
    lifts: Sequence[Lift],
    batches: Batches,
    dataset: Dataset,
    link: Link,
    part: str,
    batch_size: int,
    limit: int | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Every metric of the task on one part of the data, float64 [R], and its reliability bins [R, 16]; on the host.

    Where the dataset knows the true probability of every label, test metrics are also taken against those.

    Args:
        lifts: which hold all rows of the stack, in order.
        batches: the data under each row's split.
        dataset: what the batches are of.
        link: of the loss.
        part: `train` (with the labels trained on), `val` or `test`.
        batch_size: examples at most; less where a batch of all rows would be large.
        limit: only that many examples.
    """
    task = dataset.task
    rows: list[dict[str, Tensor]] = []
    bins: list[dict[str, Tensor]] = []
    for lift in lifts:
        parts = []
        for logits, target in predictions(lift, batches, part, batch_size, limit):
            probs = probabilities(logits.flatten(0, 1), link, exclusive=task != "multilabel")
            probs = probs.unflatten(0, logits.shape[:2])
            parts.append(metrics.statistics(task, probs, target, ignore_index=dataset.ignore_index))
        stats = metrics.combine(task, parts)
        rows.append(metrics.finish(task, stats))
        if part == "test":
            bins.append(metrics.reliability(task, stats))
            if dataset.posterior is not None:
                truth = dataset.posterior[batches.examples(lift.rows, part).cpu()]
                rows[-1] |= metrics.posterior_metrics(stats["probs"], truth.to(batches.device))
    names = list(rows[0])
    table = torch.cat([torch.stack([row[name] for name in names]) for row in rows], dim=1).cpu()
    reliability = {name: torch.cat([b[name] for b in bins]).cpu() for name in (bins[0] if bins else ())}
    return dict(zip(names, table, strict=True)), reliability


def predictions(
    lift: Lift, batches: Batches, part: str, batch_size: int, limit: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits [rows, B, C, ...] and targets ([B, ...] or [rows, B, ...]) of a lift's rows, chunk after chunk."""
    if not batches.size[part]:
        raise ValueError(f"this trial has no {part} data")
    lift.enter()
    inputs, _ = next(batches.evaluation(lift.rows, part, 2, limit))
    size = max(1, min(batch_size, _BYTES // lift.example_bytes(inputs)))
    for inputs, target in batches.evaluation(lift.rows, part, size, limit):
        yield lift.predict(inputs), target


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

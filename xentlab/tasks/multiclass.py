"""Multiclass: exactly one class is true of each example. Targets uint8 or int64 class indices [N]."""

from __future__ import annotations

import torch
from torch import Tensor

from xentlab import metrics
from xentlab.tasks import classes
from xentlab.tasks.contract import Examples, Statistics, Task


def _check(examples: Examples) -> None:
    classes.check_indices(examples, 0)


def _strata(examples: Examples) -> Tensor:
    return examples.targets.long()


def _disturb(examples: Examples, train: Tensor, rate: float, kind: str, draws: torch.Generator) -> Tensor:
    # All labels of the source are drawn for, so that the seed's noise does not hang on its split.
    return classes.disturb_indices(examples.targets, examples, rate, kind, draws)[train]


def _statistics(probs: Tensor, target: Tensor, ignore_index: int | None) -> Statistics:
    return metrics.multiclass_counts(probs, target, None if ignore_index is None else target != ignore_index)


def _trivial(train: Tensor, judged: Tensor, examples: Examples) -> dict[str, float]:
    frequency = classes.frequencies(train, examples)
    counts = metrics.constant_counts(frequency, judged, ignore_index=examples.ignore_index)
    return classes.to_values(metrics.multiclass_metrics(counts))


MULTICLASS = Task(
    name="multiclass",
    check=_check,
    columns="class",
    strata=_strata,
    noise=("symmetric", "asymmetric", "pairs"),
    disturb=_disturb,
    soft_targets=True,
    output="vector",
    num_outputs=classes.num_classes,
    link="softmax",
    links=classes.LINKS,
    exclusive=classes.always,
    weigh=classes.weigh_indices,
    facts={"class_counts": classes.counts},
    class_weights=classes.class_weights,
    predict=classes.predict_one,
    metrics=metrics.CLASS_METRICS,
    statistics=_statistics,
    combine=metrics.add,
    finish=metrics.multiclass_metrics,
    trivial=_trivial,
    reliability=classes.reliability,
    answers=metrics.multiclass_answers,
    forms=("index", "soft"),
    draw=classes.draw_distributions,
)

"""Multiclass: exactly one class is true of each example. Targets uint8 or int64 class indices [N]."""

import torch
from torch import Tensor

from xentlab import metrics
from xentlab.tasks import classes
from xentlab.tasks.contract import Examples


def _check(examples: Examples) -> None:
    classes.check_indices(examples, 0)


def _strata(examples: Examples) -> Tensor:
    return examples.targets.long()


def _disturb(examples: Examples, train: Tensor, rate: float, kind: str, draws: torch.Generator) -> Tensor:
    # All labels of the source are drawn for, so that the seed's noise does not hang on its split.
    return classes.disturb_indices(examples.targets, examples, rate, kind, draws)[train]


def _trivial(train: Tensor, judged: Tensor, examples: Examples) -> dict[str, float]:
    return classes.to_values(metrics.multiclass_metrics(classes.constant_answers(train, judged, examples)))


MULTICLASS = classes.exclusive_task(
    name="multiclass",
    check=_check,
    columns="class",
    strata=_strata,
    noise=("symmetric", "asymmetric", "pairs"),
    disturb=_disturb,
    soft_targets=True,
    output="vector",
    metrics=metrics.CLASS_METRICS,
    statistics=metrics.multiclass_counts,
    finish=metrics.multiclass_metrics,
    trivial=_trivial,
    answers=metrics.multiclass_answers,
)

"""From a loss and a task to what the training step needs: the bound function, its link, its targets and its weights.

Cross-entropy on multilabel data compares with the n-hot target divided by its sum (an example without a label weighs
0). One-vs-rest losses on a single true class see its one-hot target. Ignored pixels and class weights are weights of
the objective, for every loss alike.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from xentlab.errors import UserError
from xentlab.losses.contract import Link, spec_of
from xentlab.schema import knobs


@dataclass(frozen=True)
class BoundLoss:
    """A loss as one task uses it.

    Attributes:
        function: `(logits, target, **float knobs) -> values`, with the structural knobs already bound.
        data: the float knobs and their values; they may differ inside a stack.
        link: from logits to probabilities, on this task.
        as_distribution: whether n-hot targets are divided by their sum.
    """

    function: Callable[..., Tensor]
    data: dict[str, float]
    link: Link
    as_distribution: bool


def bind(loss: functools.partial[Any], task: str) -> BoundLoss:
    """What `loss` means on `task`.

    Raises:
        UserError: the loss declares that it has no meaning there.
    """
    spec, given = spec_of(loss), dict(loss.keywords)
    name = getattr(loss.func, "__name__", str(loss.func))
    if task not in spec.tasks:
        raise UserError(f"loss {name} has no meaning on {task}: it is defined for {', '.join(spec.tasks)} only.")
    link: Link = ("sigmoid" if task == "multilabel" else "softmax") if spec.link == "task" else spec.link
    schema = knobs(loss.func)
    if spec.link == "task" and "link" in schema:
        link = given["link"] = given["link"] or link
    data = {k: v for k, v in given.items() if schema[k].is_data}
    structure = {k: v for k, v in given.items() if k not in data}
    function = functools.partial(loss.func, **structure)
    return BoundLoss(function, data, link, as_distribution=task == "multilabel" and link == "softmax")


ClassWeights = Literal["none", "inverse", "median_frequency"]


def class_weights(kind: ClassWeights, targets: Tensor, num_classes: int, ignore_index: int | None) -> Tensor | None:
    """Weight of each class [C], float64, from training `targets`: class indices [N], maps [N, H, W] or n-hot [N, C].

    inverse: `total / (C count_c)`. median_frequency: `median(f) / f_c` with `f_c` the share of class c among the pixels
    of the images that contain it. A class that never occurs weighs 0. None for `none`.

    Reference: Eigen & Fergus, Predicting depth, surface normals and semantic labels, 2015 (median frequency).
    """
    if kind == "none":
        return None
    if targets.ndim == 2:
        counts, totals = targets.double().sum(0), torch.full((num_classes,), float(len(targets)), dtype=torch.float64)
    else:
        per_image = _class_counts(targets, num_classes, ignore_index)
        counts = per_image.sum(0)
        present = (per_image > 0).double() if targets.ndim > 1 else torch.ones_like(per_image)
        totals = (present * per_image.sum(1, keepdim=True)).sum(0)
    seen = counts > 0
    safe = counts.clamp_min(1.0)
    if kind == "inverse":
        weights = counts.sum() / (num_classes * safe)
    else:
        frequency = counts / totals.clamp_min(1.0)
        weights = torch.quantile(frequency[seen], 0.5) / frequency.clamp_min(1e-300)
    return torch.where(seen, weights, torch.zeros_like(weights))


def _class_counts(targets: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """How often each class occurs in each example [N, C], float64."""
    flat = targets.reshape(len(targets), -1)
    return torch.stack(
        [((flat == c) & (flat != (-1 if ignore_index is None else ignore_index))).sum(1) for c in range(num_classes)], 1
    ).double()


def objective_weights(
    target: Tensor, *, weights: Tensor | None, ignore_index: int | None, as_distribution: bool
) -> tuple[Tensor, Tensor | None]:
    """The target as a loss takes it, and each element's weight in the objective's mean (None: all equal).

    Args:
        target: class indices [N] or [N, H, W], or n-hot [N, C] as floats.
        weights: class weights [C] or None; an n-hot example weighs the mean weight of its labels.
        ignore_index: value of targets that count nowhere; they become class 0 with weight 0.
        as_distribution: divide n-hot targets by their sum; an example without labels then weighs 0.
    """
    if target.is_floating_point():
        labels = target.sum(1)
        distribution = target / labels.clamp_min(1.0).unsqueeze(1)
        weight = (distribution * weights.to(target.dtype)).sum(1) if weights is not None else None
        if not as_distribution:
            if weight is not None:
                weight = torch.where(labels > 0, weight, torch.ones_like(weight))
            return target, weight
        labelled = (labels > 0).to(target.dtype)
        return distribution, labelled if weight is None else weight
    target = target.long()
    if ignore_index is None:
        return target, None if weights is None else weights[target]
    valid = target != ignore_index
    target = target.masked_fill(~valid, 0)
    return target, valid if weights is None else weights[target] * valid

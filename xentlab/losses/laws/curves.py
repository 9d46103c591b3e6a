"""What a loss does to one class's logit: its value and its gradient along a line, as numbers for a picture."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from xentlab.errors import UserError
from xentlab.losses.contract import spec_of
from xentlab.losses.laws.cases import one_true, space
from xentlab.losses.laws.contract import subject
from xentlab.tasks import find, probabilities

_REACH = 8.0  # how far from 0 the logits go


@dataclass(frozen=True)
class LossCurve:
    """A loss along the true class's logit; of a loss of numbers, along its first output.

    The other logits are at 0; under a sigmoid link at minus the true one; under the identity they share what it leaves
    of 1.
    """

    name: str  # of the loss
    link: str  # from its logits to probabilities
    # Of the true class; of numbers the first output, less the target (log link: less the target's logarithm).
    logit: list[float]
    # Of the true class, as the link implies it; those of all classes sum to one. Empty where there are no classes.
    probability: list[float]
    value: list[float]  # of the loss
    gradient_norm: list[float]  # Euclidean norm of the gradient over all logits of the element


def curve(
    loss: Callable[..., Any],
    *,
    classes: int = 2,
    points: int = 321,
    name: str | None = None,
    numbers: bool = False,
) -> LossCurve:
    """The curve of `loss` at its default knobs, on the first task that it declares; of a loss of images, on one pixel.

    Args:
        loss: a loss, or a partial of one.
        classes: C, >= 2.
        points: how many logits of the true class, evenly spaced from -8 to 8, >= 2.
        name: what it is called; None for its own name.
        numbers: on a task of numbers, if it declares one.

    Raises:
        UserError: fewer than two classes, or no loss.
    """
    if classes < 2:
        raise UserError(f"classes must be >= 2, got {classes}.")
    tasks = spec_of(loss).tasks
    this = subject(loss, next((name for name in tasks if numbers and find(name).numeric), tasks[0]))
    logits = torch.zeros(points, this.bound.outputs if this.task.numeric else classes, dtype=torch.float64)
    logits[:, 0] = torch.linspace(-_REACH, _REACH, points, dtype=torch.float64)
    pixel = tuple(1 for _ in space(this))
    if this.task.numeric:  # a target of 0, under the log link of 1
        target = torch.full((points, 1), 1.0 if this.link == "log" else 0.0, dtype=torch.float64)
    else:
        if this.link == "sigmoid":  # each class for itself: all move, so that every probability is reached
            logits[:, 1:] = -logits[:, :1]
        if this.link == "identity":  # outputs are probabilities already
            logits[:, 0] = torch.linspace(0.0, 1.0, points, dtype=torch.float64)
            logits[:, 1:] = (1 - logits[:, :1]) / (classes - 1)
        target = one_true(this, torch.zeros(points, *pixel, dtype=torch.int64), classes, torch.float64)
    # Along the batch axis elements are independent unless declared otherwise; then each is taken alone.
    size = 1 if this.spec.coupled else points
    pairs = zip(logits.reshape(*logits.shape, *pixel).split(size), target.split(size), strict=True)
    parts = [this.gradient(z, t) for z, t in pairs]
    values, slopes = (torch.cat(column).reshape(points, -1) for column in zip(*parts, strict=True))
    return LossCurve(
        name=name or this.name,
        link=this.link,
        logit=logits[:, 0].tolist(),
        probability=[] if this.task.numeric else probabilities(logits, this.link, exclusive=True)[:, 0].tolist(),
        value=values[:, 0].tolist(),
        gradient_norm=slopes.norm(dim=1).tolist(),
    )

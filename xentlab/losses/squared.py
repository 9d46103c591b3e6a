"""Squared distances, on probabilities or on logits. Obeys `xentlab.losses.contract`."""

import functools
from typing import Literal

import torch
from torch import Tensor

from xentlab.losses.contract import Limit, as_distribution, loss
from xentlab.losses.residual import squared_error
from xentlab.schema import PositiveFloat
from xentlab.tasks.links import softmax

_squared = functools.partial(loss, family="squared", proper=True)


@_squared(
    link="task",
    tasks=("multiclass", "multilabel", "segmentation", "regression"),
    reference="Brier 1950",
    values="in [0, 2] for softmax and [0, C] for sigmoid",
    shift_invariant=True,
    elsewhere=(squared_error,),
)
def mse(logits: Tensor, target: Tensor, *, link: Literal["softmax", "sigmoid"] | None = None) -> Tensor:
    """Squared error of the probabilities, summed over classes: `sum_c (link(z)_c - t_c)^2`, the Brier score.

    On regression the outputs are the prediction itself: `sum_d (z_d - t_d)^2`, least at the mean.

    Args:
        logits: [N, C] or [N, C, H, W]; points [N, D] in regression.
        target: class indices [N] or [N, H, W], or floats shaped like `logits`.
        link: softmax or sigmoid; None is the task's own (sigmoid on multilabel) and softmax outside a task.
            It has no meaning on regression.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> mse(logits, torch.tensor([0, 0]))
        tensor([0.0284, 1.5516])

    Reference: Brier, Verification of forecasts expressed in terms of probability, 1950.
    """
    probs = torch.sigmoid(logits) if link == "sigmoid" else softmax(logits)
    return (probs - as_distribution(target, logits)).square().sum(1)


@_squared(link="identity", reference="Hui & Belkin 2021", limits=(Limit({}, "huber", {"delta": 1e6}, factor=2.0),))
def mse_logits(logits: Tensor, target: Tensor, *, k: PositiveFloat = 1.0, M: PositiveFloat = 1.0) -> Tensor:
    """Squared error of the logits themselves, summed over classes. Link: identity.

        sum_c (1 + (k - 1) t_c) (z_c - M t_c)^2

    so that the true class costs `k (z - M)^2` and every other one `z^2`. The paper takes the mean over classes, 1/C of
    this, and raises `k` and `M` above 1 where there are many.

    Args:
        k: weight of the true class's term, > 0.
        M: target of the true class's logit, > 0; proper at 1 (with k = 1) only.

    Reference: Hui & Belkin, Evaluation of neural architectures trained with square loss vs cross-entropy in
    classification tasks, 2021.
    """
    truth = as_distribution(target, logits)
    return ((1.0 + (k - 1.0) * truth) * (logits - M * truth).square()).sum(1)

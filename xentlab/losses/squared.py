"""Squared distances, on probabilities or on logits. Obeys `xentlab.losses.contract`.

To add one: write the function here with its formula, ranges and reference, and a YAML in `configs/loss`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xentlab.losses.contract import as_distribution, loss


@loss(family="squared", link="task", reference="Brier 1950", shift_invariant=True, proper=True)
def mse(logits: Tensor, target: Tensor, *, link: Literal["softmax", "sigmoid"] | None = None) -> Tensor:
    """Squared error of the probabilities, summed over classes: `sum_c (link(z)_c - t_c)^2`, the Brier score.

    Args:
        logits: [N, C] or [N, C, H, W].
        target: class indices [N] or [N, H, W], or floats shaped like `logits`.
        link: softmax or sigmoid; None is the task's own (sigmoid on multilabel) and softmax outside a task.

    Returns:
        [N] or [N, H, W], in [0, 2] for softmax and [0, C] for sigmoid.

    Reference: Brier, Verification of forecasts expressed in terms of probability, 1950.
    """
    probs = torch.sigmoid(logits) if link == "sigmoid" else torch.softmax(logits, dim=1)
    return (probs - as_distribution(target, logits)).square().sum(1)


@loss(family="squared", link="identity", reference="Hui & Belkin 2021", proper=True)
def mse_logits(logits: Tensor, target: Tensor) -> Tensor:
    """Squared error of the logits themselves, summed over classes: `sum_c (z_c - t_c)^2`. Link: identity.

    Args:
        logits: [N, C] or [N, C, H, W].
        target: class indices [N] or [N, H, W], or floats shaped like `logits`.

    Returns:
        [N] or [N, H, W], >= 0.

    Reference: Hui & Belkin, Evaluation of neural architectures trained with square loss vs cross-entropy, 2021.
    """
    return (logits - as_distribution(target, logits)).square().sum(1)

"""Losses made to survive wrong labels: cross-entropy normalised, reversed, and sums of the two. Link: softmax.

All obey `xentlab.losses.contract`. A normalised (active) loss pulls up the true class; a reversed one or `linear`
(passive) pushes down the others too.
"""

import math
from typing import Annotated

import torch
from torch import Tensor

from xentlab.losses.contract import Limit, as_distribution, of_truth
from xentlab.losses.cross_entropy import ce
from xentlab.losses.robust import linear, robust_loss
from xentlab.schema import NonNegativeFloat, Range
from xentlab.tasks.links import log_softmax, softmax

_LOG_1E_4 = math.log(1e-4)


@robust_loss(reference="Wang 2019", limits=(Limit({}, "sce", {"alpha": 0.0, "beta": 1.0, "log_zero": _LOG_1E_4}),))
def rce(
    logits: Tensor, target: Tensor, *, log_zero: Annotated[float, Range(None, 0, open_high=True)] = _LOG_1E_4
) -> Tensor:
    """Reverse cross-entropy, the roles of target and prediction swapped, with `p = softmax(z)`:

        -sum_c p_c max(log t_c, log_zero)

    Args:
        log_zero: what stands for log 0, < 0; log 1e-4 as in the code of Ma et al.

    Returns:
        [N] or [N, H, W], in [0, -log_zero]; `-log_zero (1 - p_y)` where one class y is true.

    Reference: Wang et al., Symmetric cross entropy for robust learning with noisy labels, 2019; Ma et al., Normalized
    loss functions for deep learning with noisy labels, 2020.
    """
    if not target.is_floating_point():
        return -log_zero * linear(logits, target)
    truth = as_distribution(target, logits)
    log_truth = torch.log(torch.where(truth > 0, truth, 1.0))
    floor = torch.as_tensor(log_zero, dtype=logits.dtype, device=logits.device)
    clipped = torch.where(truth > 0, torch.maximum(log_truth, floor), floor)
    return -(softmax(logits) * clipped).sum(1)


@robust_loss(
    reference="Wang 2019",
    limits=(Limit({"alpha": 1.0, "beta": 0.0}, "ce"), Limit({"alpha": 0.0, "beta": 1.0}, "rce", {"log_zero": -4.0})),
)
def sce(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: NonNegativeFloat = 0.1,
    beta: NonNegativeFloat = 1.0,
    log_zero: Annotated[float, Range(None, 0, open_high=True)] = -4.0,
) -> Tensor:
    """Symmetric cross-entropy, both directions at once: `alpha ce(z, t) + beta rce(z, t)`.

    The paper takes -4 for log 0; the authors' code clips targets at 1e-4, which is `log_zero=-9.21`.

    Args:
        alpha: weight of the cross-entropy, >= 0.
        beta: weight of the reverse cross-entropy, >= 0.
        log_zero: what stands for log 0 in the reverse one, < 0.

    Reference: Wang et al., Symmetric cross entropy for robust learning with noisy labels, 2019.
    """
    return alpha * ce(logits, target) + beta * rce(logits, target, log_zero=log_zero)


@robust_loss(
    reference="Ma 2020",
    values="in [0, 1]",
    limits=(Limit({}, "nce_rce", {"alpha": 1.0, "beta": 0.0}), Limit({}, "nce_mae", {"alpha": 1.0, "beta": 0.0})),
)
def nce(logits: Tensor, target: Tensor) -> Tensor:
    """Normalised cross-entropy, its share in the sum over all possible labels, with `p = softmax(z)`:

        sum_c t_c log p_c / sum_c log p_c

    A class masked by -inf is left out of both sums.

    Reference: Ma et al., Normalized loss functions for deep learning with noisy labels, 2020.
    """
    log_p = log_softmax(logits)
    truth, log_true = of_truth(target, logits, log_p)
    total = log_p.masked_fill(log_p == -torch.inf, 0.0).sum(1)
    # Where one class alone is left, nothing can be wrong.
    return (truth * log_true).sum(1) / torch.where(total < 0.0, total, -1.0)


@robust_loss(reference="Ma 2020", limits=(Limit({"beta": 0.0}, "nce"), Limit({"alpha": 0.0, "beta": 1.0}, "rce")))
def nce_rce(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: NonNegativeFloat = 1.0,
    beta: NonNegativeFloat = 10.0,
    log_zero: Annotated[float, Range(None, 0, open_high=True)] = _LOG_1E_4,
) -> Tensor:
    """Active and passive loss in one: `alpha nce(z, t) + beta rce(z, t)`.

    The defaults, 1 and 10, are the authors' released setting for their `nce_mae` on MNIST; their own for CIFAR-10 is 1
    and 1, and for CIFAR-100, with its many classes, 10 and a small beta (0.1 in the paper).

    Args:
        alpha: weight of the normalised cross-entropy, >= 0.
        beta: weight of the reverse cross-entropy, >= 0.
        log_zero: what stands for log 0 in the reverse one, < 0; log 1e-4 as in the authors' code.

    Returns:
        [N] or [N, H, W], in [0, alpha - beta log_zero].

    Reference: Ma et al., Normalized loss functions for deep learning with noisy labels, 2020.
    """
    return alpha * nce(logits, target) + beta * rce(logits, target, log_zero=log_zero)


@robust_loss(reference="Ma 2020", limits=(Limit({"beta": 0.0}, "nce"), Limit({"alpha": 0.0, "beta": 1.0}, "linear")))
def nce_mae(logits: Tensor, target: Tensor, *, alpha: NonNegativeFloat = 1.0, beta: NonNegativeFloat = 10.0) -> Tensor:
    """Active and passive loss in one: `alpha nce(z, t) + beta linear(z, t)`.

    The authors' code takes `1 - p_y` for the mean absolute error, which is half of it; so does this. The defaults, 1
    and 10, are their released setting for MNIST; for CIFAR-10 it is 1 and 1, for CIFAR-100 10 and 1.

    Args:
        alpha: weight of the normalised cross-entropy, >= 0.
        beta: weight of the linear loss, >= 0.

    Returns:
        [N] or [N, H, W], in [0, alpha + beta].

    Reference: Ma et al., Normalized loss functions for deep learning with noisy labels, 2020.
    """
    return alpha * nce(logits, target) + beta * linear(logits, target)

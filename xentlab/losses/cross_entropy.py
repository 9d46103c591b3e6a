"""Cross-entropy and its family. Link: softmax. Obeys `xentlab.losses.contract`.

To add one: write the function here with its formula, ranges and reference, and a YAML in `configs/loss`.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab.losses.contract import Limit, as_distribution, loss
from xentlab.schema import Range


@loss(family="cross_entropy", link="softmax", reference="Shannon 1948", shift_invariant=True, proper=True)
def ce(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy in nats, per element: `-sum_c t_c log softmax(z)_c`.

    Args:
        logits: [N, C] or [N, C, H, W].
        target: class indices [N] or [N, H, W], or a distribution shaped like `logits`.

    Returns:
        [N] or [N, H, W], in nats, >= 0.
    """
    return F.cross_entropy(logits, target if target.is_floating_point() else target.long(), reduction="none")


@loss(
    family="cross_entropy",
    link="softmax",
    reference="Szegedy 2016, Lin 2017, Leng 2022",
    shift_invariant=True,
    proper=True,
    limits=(Limit({}, "ce"), Limit({"base": 2.0}, "ce", factor=1 / math.log(2))),
)
def custom_ce(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: Annotated[float, Range(0, 1, open_high=True)] = 0.0,
    temperature: Annotated[float, Range(0, None, open_low=True)] = 1.0,
    gamma: Annotated[float, Range(0, None)] = 0.0,
    epsilon: Annotated[float, Range(-1, None)] = 0.0,
    z_weight: Annotated[float, Range(0, None)] = 0.0,
    base: Annotated[float, Range(1, None, open_low=True)] = math.e,
) -> Tensor:
    """Cross-entropy from its definition, as one continuous family; neutral knobs give exactly `ce`.

    With `q = softmax(z / temperature)` and `t' = (1 - smoothing) t + smoothing / C`:

        sum_c t'_c [ -(1 - q_c)^gamma log_base q_c + epsilon (1 - q_c) ] + z_weight log^2 sum_c exp(z_c / temperature)

    Args:
        logits: [N, C] or [N, C, H, W].
        target: class indices [N] or [N, H, W], or floats shaped like `logits` (a distribution, or n-hot).
        smoothing: share of the target spread evenly over all classes, in [0, 1).
        temperature: divides the logits, > 0.
        gamma: focal exponent, >= 0; down-weights what is already right.
        epsilon: weight of the first polynomial term, >= -1.
        z_weight: weight of the squared log-normaliser, >= 0.
        base: of the logarithm, > 1; e gives nats, 2 gives bits.

    Returns:
        [N] or [N, H, W].

    Reference: Szegedy et al. 2016 (smoothing), Lin et al. 2017 (focal), Leng et al. 2022 (PolyLoss), de Brebisson &
    Vincent 2016 (z-loss).
    """
    num_classes = logits.shape[1]
    scaled = logits / temperature
    log_normaliser = torch.logsumexp(scaled, dim=1, keepdim=True)
    log_q = scaled - log_normaliser
    truth = (1.0 - smoothing) * as_distribution(target, logits) + smoothing / num_classes
    log_rest = log_complement(scaled, log_q)
    focus = torch.exp(gamma * log_rest)
    log_base = torch.log(torch.as_tensor(base, dtype=logits.dtype, device=logits.device))
    terms = -focus * log_q / log_base + epsilon * torch.exp(log_rest)
    return (truth * terms).sum(1) + z_weight * log_normaliser.squeeze(1).square()


def log_complement(logits: Tensor, log_probs: Tensor) -> Tensor:
    """`log(1 - softmax(z)_c)` for every class, shaped like `logits` [N, C, ...], exact where a probability rounds to 1.

    Only the largest class can come close to certainty; its complement is the log-sum-exp of the others. For the rest
    `log1p(-p)` is safe. The naive form has NaN gradients at certainty.
    """
    largest = F.one_hot(logits.max(1).indices, num_classes=logits.shape[1]).movedim(-1, 1).bool()
    others = torch.logsumexp(logits.masked_fill(largest, -torch.inf), dim=1, keepdim=True)
    normaliser = torch.logsumexp(logits, dim=1, keepdim=True)
    probs = torch.exp(log_probs.masked_fill(largest, -torch.inf))
    return torch.where(largest, others - normaliser, torch.log1p(-probs))

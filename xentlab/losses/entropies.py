"""Divergences between the target and the prediction, and a cross-entropy of the top k. Link: softmax.

All obey `xentlab.losses.contract`. A divergence is 0 exactly where softmax(z) is the target, soft targets included.
To add one: write the function here with its formula, ranges and reference, and a YAML in `configs/loss`.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab.losses.contract import Limit, as_distribution, loss
from xentlab.schema import Range


@loss(
    family="entropies",
    link="softmax",
    reference="Kullback & Leibler 1951",
    shift_invariant=True,
    proper=True,
    limits=(Limit({}, "js", {"pi": 1e-9}, rtol=1e-5), Limit({}, "tsallis", {"alpha": 1 + 1e-8}, rtol=1e-6)),
)
def kl(logits: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the prediction from the target, with `q = softmax(z)`:

        sum_c t_c (log t_c - log q_c)

    It is `ce` less the entropy of the target: the same gradients, and the same values where one class is true.

    Args:
        logits: [N, C] or [N, C, H, W].
        target: class indices [N] or [N, H, W], or a distribution shaped like `logits`.

    Returns:
        [N] or [N, H, W], in nats, >= 0.

    Reference: Kullback & Leibler, On information and sufficiency, 1951.
    """
    truth = as_distribution(target, logits)
    return (truth * (_safe_log(truth) - F.log_softmax(logits, dim=1))).sum(1)


@loss(
    family="entropies",
    link="softmax",
    reference="Englesson & Azizpour 2021",
    shift_invariant=True,
    limits=(Limit({"pi": 1e-9}, "kl", rtol=1e-5),),
)
def js(
    logits: Tensor,
    target: Tensor,
    *,
    pi: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.5,
) -> Tensor:
    """Jensen-Shannon divergence of target and prediction with the target's weight `pi`, scaled, with `q = softmax(z)`:

        [ pi KL(t || m) + (1 - pi) KL(q || m) ] / ( -(1 - pi) log(1 - pi) ),   m = pi t + (1 - pi) q

    It leads from `kl` (pi to 0) to, where one class is true, half of `mae` (pi to 1), and is robust in between.

    Args:
        logits: [N, C] or [N, C, H, W].
        target: class indices [N] or [N, H, W], or a distribution shaped like `logits`.
        pi: weight of the target in the mixture, in (0, 1).

    Returns:
        [N] or [N, H, W], in [0, H(pi, 1 - pi) / (-(1 - pi) log(1 - pi))] with H the entropy in nats.

    Reference: Englesson & Azizpour, Generalized Jensen-Shannon divergence loss for learning with noisy labels, 2021.
    """
    q = torch.softmax(logits, dim=1)
    truth = as_distribution(target, logits)
    weight = torch.as_tensor(pi, dtype=logits.dtype, device=logits.device)
    from_truth = _divergence(truth, (1.0 - weight) * (q - truth))
    from_prediction = _divergence(q, weight * (truth - q))
    return -(weight * from_truth / (1.0 - weight) + from_prediction) / torch.log1p(-weight)


@loss(
    family="entropies",
    link="softmax",
    reference="Tsallis 1988, Basu 1998",
    shift_invariant=True,
    proper=True,
    limits=(Limit({"alpha": 2.0}, "brier"), Limit({"alpha": 1 + 1e-8}, "kl", rtol=1e-6)),
)
def tsallis(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: Annotated[float, Range(1, None, open_low=True)] = 1.5,
) -> Tensor:
    """Divergence of the prediction from the target by Tsallis entropy of order `alpha`, with `q = softmax(z)`:

        sum_c [ t_c^alpha - alpha t_c q_c^(alpha - 1) + (alpha - 1) q_c^alpha ] / (alpha - 1)

    The Bregman divergence of that entropy (the density power divergence), hence strictly proper for every `alpha`. It
    leads from `kl` (alpha to 1) to the Brier score (alpha = 2). Unlike `gce`, it keeps the term of all classes.

    Args:
        logits: [N, C] or [N, C, H, W].
        target: class indices [N] or [N, H, W], or a distribution shaped like `logits`.
        alpha: order of the entropy, > 1.

    Returns:
        [N] or [N, H, W], in [0, alpha / (alpha - 1)].

    Reference: Tsallis, Possible generalization of Boltzmann-Gibbs statistics, 1988; Basu et al., Robust and efficient
    estimation by minimising a density power divergence, 1998.
    """
    beta = alpha - 1.0
    log_q = F.log_softmax(logits, dim=1)
    truth = as_distribution(target, logits)
    gained = (torch.expm1(beta * _safe_log(truth)) - torch.expm1(beta * log_q)) / beta
    return (truth * gained + torch.exp(beta * log_q) * (torch.exp(log_q) - truth)).sum(1)


@loss(
    family="entropies",
    link="softmax",
    reference="Lapin 2016",
    shift_invariant=True,
    limits=(Limit({"k": 1}, "ce"),),
)
def topk_ce(logits: Tensor, target: Tensor, *, k: Annotated[int, Range(1, None)] = 2) -> Tensor:
    """Cross-entropy that forgives the `k - 1` strongest rivals of the true class: the truncated top-k entropy,

        sum_c t_c log( 1 + sum_{j in J_c} exp(z_j - z_c) )

    where `J_c` are the C - k classes with the smallest logits among all but c, at least one. Continuous, but not convex
    for k > 1.

    Args:
        logits: [N, C] or [N, C, H, W].
        target: class indices [N] or [N, H, W], or a distribution shaped like `logits` (the expected loss).
        k: number of guesses that count as right, >= 1; 1 is `ce`. C - 1 stands for any larger number, with which
            nothing could be wrong.

    Returns:
        [N] or [N, H, W], in nats, >= 0.

    Reference: Lapin, Hein & Schiele, Loss functions for top-k error: analysis and insights, 2016.
    """
    k = min(k, logits.shape[1] - 1)
    strongest = logits.topk(k, dim=1).indices
    nothing = torch.zeros_like(logits, dtype=torch.bool)
    first = nothing.scatter(1, strongest, True)
    before = nothing.scatter(1, strongest[:, : k - 1], True)
    # A class among the first k competes with those behind them; any other with all from rank k on, itself included.
    behind = torch.logsumexp(logits.masked_fill(first, -torch.inf), dim=1, keepdim=True)
    from_k = torch.logsumexp(logits.masked_fill(before, -torch.inf), dim=1, keepdim=True)
    values = torch.where(first, -F.logsigmoid(logits - behind), from_k - logits)
    return (as_distribution(target, logits) * values).sum(1)


def _safe_log(probs: Tensor) -> Tensor:
    """`log p`, and 0 where p is 0, for factors that vanish there."""
    return torch.log(torch.where(probs > 0, probs, 1.0))


def _divergence(probs: Tensor, step: Tensor) -> Tensor:
    """`KL(p || p + step)` over axis 1 for a `step` that sums to 0; each class's term is >= 0 in rounding, too.

    The terms are `p (u - log(1 + u))` with `u = step / p`: exact for small steps, and `step` itself where p is 0.
    """
    # Below the floor p log p vanishes beside any value; a smaller one would overflow in the gradient. The ratio can
    # only round to -1, where a mixture's weight rounds to 1.
    floor, eps = torch.finfo(probs.dtype).tiny ** 0.4, torch.finfo(probs.dtype).eps
    ratio = (step / probs.clamp_min(floor)).clamp_min(eps - 1.0)
    return torch.where(probs > floor, probs * (ratio - torch.log1p(ratio)), step).sum(1)

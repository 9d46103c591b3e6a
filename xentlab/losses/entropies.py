"""Divergences between the target and the prediction, and a cross-entropy of the top k. Link: softmax.

All obey `xentlab.losses.contract`. A divergence is 0 exactly where softmax(z) is the target, soft targets included.
"""

import functools
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab.losses.contract import Limit, as_distribution, bounded, fitting, loss, of_truth
from xentlab.losses.likelihood import leading, set_apart
from xentlab.schema import PositiveInt, Range
from xentlab.tasks.links import log_softmax

_entropies = functools.partial(loss, family="entropies", link="softmax", shift_invariant=True)


@_entropies(
    reference="Kullback & Leibler 1951",
    values="in nats, >= 0",
    proper=True,
    limits=(Limit({}, "js", {"pi": 1e-9}, rtol=1e-5), Limit({}, "tsallis", {"alpha": 1 + 1e-8}, rtol=1e-6)),
)
def kl(logits: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the prediction from the target, with `q = softmax(z)`:

        sum_c t_c (log t_c - log q_c)

    It is `ce` less the entropy of the target: the same gradients, and the same values where one class is true.

    Reference: Kullback & Leibler, On information and sufficiency, 1951.
    """
    truth, log_q = of_truth(target, logits, log_softmax(logits))
    return (truth * (_safe_log(truth) - log_q)).sum(1)


@_entropies(reference="Englesson & Azizpour 2021", limits=(Limit({"pi": 1e-9}, "kl", rtol=1e-5),))
def js(
    logits: Tensor, target: Tensor, *, pi: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.5
) -> Tensor:
    """Jensen-Shannon divergence of target and prediction with the target's weight `pi`, scaled, with `q = softmax(z)`:

        [ pi KL(t || m) + (1 - pi) KL(q || m) ] / ( -(1 - pi) log(1 - pi) ),   m = pi t + (1 - pi) q

    It leads from `kl` (pi to 0) to, where one class is true, half of `mae` (pi to 1), and is robust in between.

    Args:
        pi: weight of the target in the mixture, in (0, 1).

    Returns:
        [N] or [N, H, W], in [0, H(pi, 1 - pi) / (-(1 - pi) log(1 - pi))] with H the entropy in nats.

    Reference: Englesson & Azizpour, Generalized Jensen-Shannon divergence loss for learning with noisy labels, 2021.
    """
    # float16 has no number near 0, and float32 none near 1: what pi leaves of it is formed in float64.
    log_q = log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)))
    exact = torch.as_tensor(pi, dtype=torch.float64, device=logits.device)
    if isinstance(pi, Tensor):
        # In a stack, 1 stands for the largest number below.
        exact = exact.clamp_max(1.0 - torch.finfo(log_q.dtype).eps / 2.0)
    weight, rest, log_rest = (x.to(log_q.dtype) for x in (exact, 1.0 - exact, torch.log1p(-exact)))
    if target.is_floating_point():
        q, truth = torch.exp(log_q), as_distribution(target, log_q)
        from_truth = _divergence(truth, q, rest, weight)
        from_prediction = _divergence(q, truth, weight, rest)
    else:
        # All classes but the true one share one ratio of q and m.
        _, log_true = of_truth(target, log_q, log_q)
        q, others = torch.exp(log_true.squeeze(1)), -torch.expm1(log_true.squeeze(1))
        step = rest * others
        from_truth = -torch.where(step < 0.5, torch.log1p(-step.clamp_max(0.5)), torch.log(weight + rest * q))
        excess = (exact + torch.log1p(-exact)).to(log_q.dtype)
        ratio = weight * others / q.clamp_min(_floor(q))
        from_prediction = (
            torch.where(q > _floor(q), q * (ratio - torch.log1p(ratio)), weight * others) - others * excess
        )
    return (-(weight * from_truth / rest + from_prediction) / log_rest).to(logits.dtype)


@_entropies(
    reference="Tsallis 1988, Basu 1998",
    values="in [0, alpha / (alpha - 1)]",
    proper=True,
    limits=(Limit({"alpha": 2.0}, "brier"), Limit({"alpha": 1 + 1e-8}, "kl", rtol=1e-6)),
)
def tsallis(logits: Tensor, target: Tensor, *, alpha: Annotated[float, Range(1, None, open_low=True)] = 1.5) -> Tensor:
    """Divergence of the prediction from the target by Tsallis entropy of order `alpha`, with `q = softmax(z)`:

        sum_c [ t_c^alpha - alpha t_c q_c^(alpha - 1) + (alpha - 1) q_c^alpha ] / (alpha - 1)

    The Bregman divergence of that entropy (the density power divergence), hence strictly proper for every `alpha`. It
    leads from `kl` (alpha to 1) to the Brier score (alpha = 2). Unlike `gce`, it keeps the term of all classes.

    Args:
        alpha: order of the entropy, > 1.

    Reference: Tsallis, Possible generalization of Boltzmann-Gibbs statistics, 1988; Basu et al., Robust and efficient
    estimation by minimising a density power divergence, 1998.
    """
    beta = alpha - 1.0
    if isinstance(beta, Tensor):
        # In a stack, 1 stands for the smallest number above.
        beta = beta.clamp_min(torch.finfo(beta.dtype).eps)
    log_q = log_softmax(logits)
    if not target.is_floating_point():
        true = fitting(target, logits).unsqueeze(1)
        own = log_q.gather(1, true)
        others = torch.exp(alpha * log_q).scatter(1, true, torch.exp(beta * own) * torch.expm1(own))
        return others.sum(1) - (torch.expm1(beta * own) / beta).squeeze(1)
    truth = as_distribution(target, logits)
    gained = (torch.expm1(beta * _safe_log(truth)) - torch.expm1(beta * log_q)) / beta
    return (truth * gained + torch.exp(beta * log_q) * (torch.exp(log_q) - truth)).sum(1)


@_entropies(reference="Lapin 2016", values="in nats, >= 0", limits=(Limit({"k": 1}, "ce"),))
def topk_ce(logits: Tensor, target: Tensor, *, k: PositiveInt = 2) -> Tensor:
    """Cross-entropy that forgives the `k - 1` strongest rivals of the true class: the truncated top-k entropy,

        sum_c t_c log( 1 + sum_{j in J_c} exp(z_j - z_c) )

    where `J_c` are the C - k classes with the smallest logits among all but c, at least one. Continuous, but not convex
    for k > 1.

    Args:
        target: class indices [N] or [N, H, W], or a distribution shaped like `logits` (the expected loss).
        k: number of guesses that count as right, >= 1; 1 is `ce`. C - 1 stands for any larger number, with which
            nothing could be wrong.

    Reference: Lapin, Hein & Schiele, Loss functions for top-k error: analysis and insights, 2016.
    """
    k = max(min(k, logits.shape[1] - 1), 1)
    if not target.is_floating_point():
        # The strongest rivals are forgiven; among the others the true class competes as in `ce`.
        true = fitting(target, logits).unsqueeze(1)
        rivals = logits.scatter(1, true, -torch.inf)
        values, forgiven = leading(rivals) if k == 2 else rivals.topk(k - 1, dim=1)
        own, others = set_apart(logits, torch.cat([true, forgiven], 1))
        odds = own[:, :1] - others
        # NaN counts as the largest number, and is not forgiven.
        return -F.logsigmoid(odds.masked_fill(values.isnan().any(1, keepdim=True), torch.nan)).squeeze(1)
    logits = bounded(logits)
    strongest = logits.topk(k, dim=1).indices
    nothing = torch.zeros_like(logits, dtype=torch.bool)
    first = nothing.scatter(1, strongest, True)
    before = nothing.scatter(1, strongest[:, : k - 1], True)
    # A class among the first k competes with those behind them; any other with all from rank k on, itself included.
    _, behind = set_apart(logits, strongest)
    from_k = torch.logsumexp(logits.masked_fill(before, -torch.inf), dim=1, keepdim=True)
    values = torch.where(first, -F.logsigmoid(logits - behind), from_k - logits)
    return (as_distribution(target, logits) * values).sum(1)


def _safe_log(probs: Tensor) -> Tensor:
    """`log p`, and 0 where p is 0, for factors that vanish there."""
    return torch.log(torch.where(probs > 0, probs, 1.0))


def _divergence(probs: Tensor, other: Tensor, share: Tensor, own: Tensor) -> Tensor:
    """`KL(p || m)` over axis 1, `m = own p + share other` a mixture whose shares sum to 1; each term >= 0 in rounding.

    The terms are `p (u - log(1 + u))` with `u = m / p - 1`: exact for small steps, and `m - p` itself where p is 0.
    """
    step = share * (other - probs)
    floor = _floor(probs)
    least = probs.clamp_min(floor)
    ratio = step / least
    # What is left of 1 is formed from its parts where it is small.
    log_ratio = torch.where(ratio > -0.5, torch.log1p(ratio.clamp_min(-0.5)), torch.log(own + share * other / least))
    return torch.where(probs > floor, probs * (ratio - log_ratio), step).sum(1)


def _floor(probs: Tensor) -> float:
    """Below it p log p vanishes beside any value; a smaller one would overflow in the gradient of a ratio to p."""
    return float(torch.finfo(probs.dtype).tiny ** 0.4)

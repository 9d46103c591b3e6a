"""Losses made to survive wrong labels: bounded, clipped or self-correcting. Link: softmax.

All obey `xentlab.losses.contract`. On soft targets each is the expected loss under the target. The normalised and the
reversed cross-entropies are in `active_passive`.
"""

import functools
from typing import Annotated

import torch
from torch import Tensor

from xentlab.losses.contract import Limit, as_distribution, bounded, loss, of_truth
from xentlab.schema import Range
from xentlab.tasks.links import log_softmax

robust_loss = functools.partial(loss, family="robust", link="softmax", shift_invariant=True)


@robust_loss(reference="Menon 2020", limits=(Limit({}, "gce", {"q": 1.0}), Limit({}, "taylor_ce", {"order": 1})))
def linear(logits: Tensor, target: Tensor) -> Tensor:
    """Linear loss, the probability of being wrong: `sum_c t_c (1 - softmax(z)_c)`.

    Returns:
        [N] or [N, H, W], in [0, 1]; half of `mae` where one class is true.

    Reference: Menon et al., Can gradient clipping mitigate label noise?, 2020 (the name).
    """
    truth, log_p = of_truth(target, logits, log_softmax(logits))
    return -(truth * torch.expm1(log_p)).sum(1)


@robust_loss(
    reference="Zhang & Sabuncu 2018", limits=(Limit({"q": 1.0}, "linear"), Limit({"q": 1e-8}, "ce", rtol=1e-6))
)
def gce(logits: Tensor, target: Tensor, *, q: Annotated[float, Range(0, 1, open_low=True)] = 0.7) -> Tensor:
    """Generalised cross-entropy, from `ce` (q to 0) to `linear` (q = 1), with `p = softmax(z)`:

        sum_c t_c (1 - p_c^q) / q

    Use it where labels are wrong: an example that contradicts the model can cost no more than `1 / q`.

    Args:
        q: exponent, in (0, 1].

    Returns:
        [N] or [N, H, W], in [0, 1 / q].

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 20.0]])
        >>> gce(logits, torch.tensor([0, 0]))
        tensor([0.1215, 1.4286])

    Reference: Zhang & Sabuncu, Generalized cross entropy loss for training deep neural networks with noisy labels,
    2018.
    """
    truth, log_p = of_truth(target, logits, log_softmax(logits))
    return (truth * _gce_values(log_p, q)).sum(1)


@robust_loss(reference="Menon 2020", limits=(Limit({"tau": 1.0}, "linear"), Limit({"tau": 1e15}, "ce")))
def phuber_ce(logits: Tensor, target: Tensor, *, tau: Annotated[float, Range(1, None)] = 10.0) -> Tensor:
    """Partially Huberised cross-entropy, linear where its slope in `p = softmax(z)` would pass `tau`:

        sum_c t_c h(p_c),   h(p) = -log p for p > 1 / tau,   1 + log tau - tau p below

    Args:
        tau: largest slope, >= 1; 1 is `linear`, infinity is `ce`.

    Returns:
        [N] or [N, H, W], in [0, 1 + log tau].

    Reference: Menon et al., Can gradient clipping mitigate label noise?, 2020.
    """
    truth, log_p = of_truth(target, logits, log_softmax(logits))
    log_tau = torch.log(torch.as_tensor(tau, dtype=logits.dtype, device=logits.device))
    values = torch.where(log_p > -log_tau, -log_p, 1.0 + log_tau - torch.exp(log_tau + log_p))
    return (truth * values).sum(1)


@robust_loss(
    reference="Menon 2020",
    values="in [0, 1 / q]",
    limits=(Limit({"tau": 1.0}, "linear"), Limit({"tau": 1e15}, "gce"), Limit({"q": 1e-8}, "phuber_ce", rtol=1e-6)),
)
def phuber_gce(
    logits: Tensor,
    target: Tensor,
    *,
    q: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.7,
    tau: Annotated[float, Range(1, None)] = 10.0,
) -> Tensor:
    """Partially Huberised `gce`, linear where its slope in `p = softmax(z)` would pass `tau`:

        sum_c t_c h(p_c),   h(p) = (1 - p^q) / q for p > p0,   (1 - p0^q) / q + tau (p0 - p) below

    with `p0 = tau^(-1 / (1 - q))`, where the slope of `gce` is `tau`.

    Args:
        q: exponent of `gce`, in (0, 1).
        tau: largest slope, >= 1; 1 is `linear`, infinity is `gce`.

    Reference: Menon et al., Can gradient clipping mitigate label noise?, 2020.
    """
    truth, log_p = of_truth(target, logits, log_softmax(logits))
    log_tau = torch.log(torch.as_tensor(tau, dtype=logits.dtype, device=logits.device))
    log_p0 = -log_tau / (1.0 - q)
    straight = _gce_values(log_p0, q) + torch.exp(log_tau + log_p0) - torch.exp(log_tau + log_p)
    values = torch.where(log_p > log_p0, _gce_values(log_p, q), straight)
    return (truth * values).sum(1)


@robust_loss(reference="Reed 2015", values="in nats, >= 0", limits=(Limit({"beta": 1.0}, "ce"),))
def bootstrap_soft(logits: Tensor, target: Tensor, *, beta: Annotated[float, Range(0, 1)] = 0.95) -> Tensor:
    """Cross-entropy with a target that partly believes the prediction, `p = softmax(z)`, gradient included:

        -sum_c [ beta t_c + (1 - beta) p_c ] log p_c

    Args:
        beta: trust in the label, in [0, 1]; 1 is `ce`.

    Reference: Reed et al., Training deep neural networks on noisy labels with bootstrapping, 2015.
    """
    log_p = bounded(log_softmax(logits))
    believed = beta * as_distribution(target, logits) + (1.0 - beta) * torch.exp(log_p)
    return -(believed * log_p).sum(1)


@robust_loss(reference="Reed 2015", values="in nats, >= 0", limits=(Limit({"beta": 1.0}, "ce"),))
def bootstrap_hard(logits: Tensor, target: Tensor, *, beta: Annotated[float, Range(0, 1)] = 0.8) -> Tensor:
    """Cross-entropy with a target that partly believes the predicted class `k = argmax_c z_c`, with `p = softmax(z)`:

        -beta sum_c t_c log p_c - (1 - beta) log p_k

    Args:
        beta: trust in the label, in [0, 1]; 1 is `ce`.

    Reference: Reed et al., Training deep neural networks on noisy labels with bootstrapping, 2015.
    """
    log_p = log_softmax(logits)
    truth, log_true = of_truth(target, logits, log_p)
    return -beta * (truth * log_true).sum(1) - (1.0 - beta) * log_p.max(1).values


def _gce_values(log_p: Tensor, q: float) -> Tensor:
    """`(1 - p^q) / q` from `log p`, exact for q near 0 and p near 1."""
    return -torch.expm1(q * log_p) / q

"""Losses made to survive wrong labels: bounded, clipped, self-correcting, normalised or reversed. Link: softmax.

All obey `xentlab.losses.contract`. On soft targets those down to `bootstrap_hard` are the expected loss under the
target. Of the others a normalised (active) one pulls up the true class, a reversed one or `linear` (passive) pushes
down the others too.
"""

import functools
import math
from typing import Annotated

import torch
from torch import Tensor

from xentlab.losses.contract import Limit, as_distribution, bounded, loss, of_truth, unmasked
from xentlab.losses.cross_entropy import ce
from xentlab.schema import NonNegativeFloat, Range
from xentlab.tasks.links import log_softmax

_LOG_1E_4 = math.log(1e-4)

_robust = functools.partial(loss, family="robust", link="softmax", shift_invariant=True)


@_robust(reference="Menon 2020", limits=(Limit({}, "gce", {"q": 1.0}), Limit({}, "taylor_ce", {"order": 1})))
def linear(logits: Tensor, target: Tensor) -> Tensor:
    """Linear loss, the probability of being wrong: `sum_c t_c (1 - softmax(z)_c)`.

    Returns:
        [N] or [N, H, W], in [0, 1]; half of `mae` where one class is true.

    Reference: Menon et al., Can gradient clipping mitigate label noise?, 2020 (the name).
    """
    truth, log_p = of_truth(target, logits, log_softmax(logits))
    return -(truth * torch.expm1(log_p)).sum(1)


@_robust(reference="Zhang & Sabuncu 2018", limits=(Limit({"q": 1.0}, "linear"), Limit({"q": 1e-8}, "ce", rtol=1e-6)))
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


@_robust(reference="Menon 2020", limits=(Limit({"tau": 1.0}, "linear"), Limit({"tau": 1e15}, "ce")))
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


@_robust(
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


@_robust(reference="Reed 2015", values="in nats, >= 0", limits=(Limit({"beta": 1.0}, "ce"),))
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


@_robust(reference="Reed 2015", values="in nats, >= 0", limits=(Limit({"beta": 1.0}, "ce"),))
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


@_robust(reference="Wang 2019", limits=(Limit({}, "sce", {"alpha": 0.0, "beta": 1.0, "log_zero": _LOG_1E_4}),))
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
    return -(torch.softmax(logits, 1) * clipped).sum(1)


@_robust(
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


@_robust(
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
    total = unmasked(log_p).sum(1)
    # Where one class alone is left, nothing can be wrong.
    return (truth * log_true).sum(1) / torch.where(total < 0.0, total, -1.0)


@_robust(reference="Ma 2020", limits=(Limit({"beta": 0.0}, "nce"), Limit({"alpha": 0.0, "beta": 1.0}, "rce")))
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


@_robust(reference="Ma 2020", limits=(Limit({"beta": 0.0}, "nce"), Limit({"alpha": 0.0, "beta": 1.0}, "linear")))
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


def _gce_values(log_p: Tensor, q: float) -> Tensor:
    """`(1 - p^q) / q` from `log p`, exact for q near 0 and p near 1."""
    return -torch.expm1(q * log_p) / q

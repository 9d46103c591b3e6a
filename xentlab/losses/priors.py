"""Cross-entropies that know how often each class occurs. Link: softmax. Obeys `xentlab.losses.contract`.

They take `class_counts` [C] of the training set after the target; a class that never occurs there counts as seen once.
"""

import functools
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab.losses.contract import Limit, loss, of_truth
from xentlab.losses.cross_entropy import ce
from xentlab.losses.likelihood import focal_terms, log_odds
from xentlab.schema import NonNegativeFloat, PositiveFloat, Range
from xentlab.tasks.links import log_softmax

_priors = functools.partial(loss, family="priors", link="softmax", symmetric=False, shift_invariant=True)


@_priors(reference="Menon 2021", values="in nats, >= 0", limits=(Limit({"tau": 0.0}, "ce"),))
def logit_adjusted(logits: Tensor, target: Tensor, class_counts: Tensor, *, tau: NonNegativeFloat = 1.0) -> Tensor:
    """Cross-entropy of logits shifted by the log of the class prior, so that softmax(z) answers as if all classes were
    equally common: `ce(z + tau log prior, t)` with `prior_c = class_counts_c / sum class_counts`.

    Args:
        tau: strength of the shift, >= 0; 0 is `ce`.

    Example:
        >>> logits, counts = torch.zeros(2, 2), torch.tensor([90.0, 10.0])
        >>> logit_adjusted(logits, torch.tensor([0, 1]), counts)
        tensor([0.1054, 2.3026])

    Reference: Menon et al., Long-tail learning via logit adjustment, 2021.
    """
    # The total of the counts is one constant for all classes, which softmax does not see.
    return ce(logits + (tau * torch.log(_per_class(class_counts, logits))).to(logits.dtype), target)


@_priors(
    reference="Cao 2019",
    limits=(
        Limit({"max_margin": 0.0, "scale": 1.0}, "ce"),
        Limit({"max_margin": 0.0}, "custom_ce", {"temperature": 1 / 30}),
    ),
)
def ldam(
    logits: Tensor,
    target: Tensor,
    class_counts: Tensor,
    *,
    max_margin: NonNegativeFloat = 0.5,
    scale: PositiveFloat = 30.0,
) -> Tensor:
    """Cross-entropy that asks for a margin, the larger the rarer the true class:

        sum_c t_c log( 1 + sum_{j != c} exp(scale (z_j - z_c + m_c)) ),   m_c = max_margin (min n / n_c)^(1/4)

    It takes the logits as they are, like the authors' released loss; their networks end in a layer of cosines, for
    which `scale` is meant. The most frequent form of the margin, `C n^(-1/4)`, has its C chosen by `max_margin`.

    Args:
        target: class indices [N] or [N, H, W], or a distribution shaped like `logits` (the expected loss).
        class_counts: how often each class occurs in the training set [C], >= 0.
        max_margin: the margin of the rarest class, >= 0, in units of the logits.
        scale: multiplies the logits, > 0.

    Reference: Cao et al., Learning imbalanced datasets with label-distribution-aware margin loss, 2019.
    """
    counts = _per_class(class_counts, logits)
    margins = (max_margin * torch.exp(0.25 * (counts.amin().log() - counts.log()))).to(logits.dtype)
    scaled = scale * logits
    if target.is_floating_point():
        # log sum_{j != c} exp(scale (z_j - z_c)) is log(1 - q_c) - log q_c: the normaliser cancels.
        truth, log_q, log_rest = focal_terms(scaled, target)
        odds = log_q - log_rest
    else:
        truth, margins = of_truth(target, logits, margins.expand_as(logits))
        odds = log_odds(scaled, target)
    return -(truth * F.logsigmoid(odds - scale * margins)).sum(1)


@_priors(reference="Cui 2019", limits=(Limit({"beta": 0.0}, "ce"),))
def class_balanced(
    logits: Tensor, target: Tensor, class_counts: Tensor, *, beta: Annotated[float, Range(0, 1, open_high=True)] = 0.999
) -> Tensor:
    """Cross-entropy in which a class weighs the inverse of its effective number of samples:

        -sum_c w_c t_c log softmax(z)_c,   w_c proportional to (1 - beta) / (1 - beta^n_c)

    The weights average 1 over the classes that occur. They scale each value, as in the paper; the objective's class
    weights divide by their sum in a batch as well.

    Args:
        beta: in [0, 1); 0 weighs all classes alike, towards 1 by inverse frequency.

    Reference: Cui et al., Class-balanced loss based on effective number of samples, 2019.
    """
    counts = _per_class(class_counts, logits)
    # In float64: float32 has no number between 1 - 6e-8 and 1. A stack's beta that became 1 weighs by 1 / n, the limit.
    log_beta = torch.log(torch.as_tensor(beta, dtype=torch.float64, device=counts.device))
    exponent = torch.where(log_beta < 0.0, counts * log_beta, -1.0)
    weights = torch.where(log_beta < 0.0, -1.0 / torch.expm1(exponent), 1.0 / counts).to(counts.dtype)
    occurs = (class_counts > 0).reshape(counts.shape).to(counts.dtype)
    weights = weights * occurs.sum() / (weights * occurs).sum()
    every = weights.to(logits.dtype).expand_as(logits)
    truth, weight, log_q = of_truth(target, logits, every, log_softmax(logits))
    return -(truth * weight * log_q).sum(1)


def _per_class(class_counts: Tensor, logits: Tensor) -> Tensor:
    """The counts [C] shaped to broadcast along the logits' axis 1, 1 in the place of 0.

    In the logits' precision, but no less than float32: 1 - beta is nothing in bfloat16.
    """
    counts = class_counts.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.where(counts > 0, counts, 1.0).reshape(-1, *[1] * (logits.ndim - 2))

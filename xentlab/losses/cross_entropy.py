"""Cross-entropy and its family. Link: softmax. Obeys `xentlab.losses.contract`."""

import functools
import math
from typing import Annotated

import torch
from torch import Tensor

from xentlab.losses.contract import Limit, as_distribution, fitting, loss, of_truth, unmasked
from xentlab.losses.likelihood import focal_terms, log_likelihood
from xentlab.schema import NonNegativeFloat, PositiveFloat, PositiveInt, Range
from xentlab.tasks.links import log_softmax

_cross_entropy = functools.partial(loss, family="cross_entropy", link="softmax", shift_invariant=True)


@_cross_entropy(reference="Shannon 1948", values="in nats, >= 0", proper=True)
def ce(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy in nats, per element: `-sum_c t_c log softmax(z)_c`. The first choice where one class is true.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> ce(logits, torch.tensor([0, 0]))
        tensor([0.1269, 2.1269])
        >>> ce(logits, torch.tensor([[0.5, 0.5], [0.5, 0.5]]))
        tensor([1.1269, 1.1269])
    """
    target = fitting(target, logits)
    if target.is_floating_point():
        return -log_likelihood(logits, target)[0]
    # A gather and no `nll_loss`: under vmap that one is Python, whose first call imports for a second.
    return -log_softmax(logits).gather(1, target.unsqueeze(1)).squeeze(1)


@_cross_entropy(
    reference="Szegedy 2016, Lin 2017, Leng 2022",
    proper=True,
    limits=(Limit({}, "ce"), Limit({"base": 2.0}, "ce", factor=1 / math.log(2))),
)
def custom_ce(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: Annotated[float, Range(0, 1, open_high=True)] = 0.0,
    temperature: PositiveFloat = 1.0,
    gamma: NonNegativeFloat = 0.0,
    epsilon: Annotated[float, Range(-1, None)] = 0.0,
    z_weight: NonNegativeFloat = 0.0,
    base: Annotated[float, Range(1, None, open_low=True)] = math.e,
) -> Tensor:
    """Cross-entropy from its definition, as one continuous family; neutral knobs give exactly `ce`.

    With `q = softmax(z / temperature)` and `t' = (1 - smoothing) t + smoothing / C`:

        sum_c t'_c [ -(1 - q_c)^gamma log_base q_c + epsilon (1 - q_c) ] + z_weight log^2 sum_c exp(z_c / temperature)

    Args:
        target: class indices [N] or [N, H, W], or floats shaped like `logits` (a distribution, or n-hot).
        smoothing: share of the target spread evenly over all classes, in [0, 1).
        temperature: divides the logits, > 0.
        gamma: focal exponent, >= 0; down-weights what is already right.
        epsilon: weight of the first polynomial term, >= -1.
        z_weight: weight of the squared log-normaliser, >= 0.
        base: of the logarithm, > 1; e gives nats, 2 gives bits.

    Returns:
        [N] or [N, H, W].

    Example:
        >>> logits, target = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0])
        >>> custom_ce(logits, target, smoothing=0.1, temperature=2.0)
        tensor([0.3633, 1.2633])
        >>> custom_ce(logits, target, gamma=2.0, base=2.0)
        tensor([0.0026, 2.3806])

    Reference: Szegedy et al. 2016 (smoothing), Lin et al. 2017 (focal), Leng et al. 2022 (PolyLoss), de Brebisson &
    Vincent 2016 (z-loss).
    """
    # A number that is neutral costs nothing; a tensor (knobs of a stack) is always computed. Equal by law.
    scaled = logits if _is(temperature, 1.0) else logits / temperature
    # In a stack, a base that became 1 stands for the smallest number above.
    log_base = torch.log(base).clamp_min(torch.finfo(base.dtype).eps) if isinstance(base, Tensor) else math.log(base)
    if _is(gamma, 0.0) and _is(epsilon, 0.0):
        log_true, log_q = log_likelihood(scaled, target)
        if not _is(smoothing, 0.0):
            # A masked class has no share.
            log_true = (1.0 - smoothing) * log_true + smoothing * unmasked(log_q).mean(1)
        values = -log_true / log_base
    else:
        if not _is(smoothing, 0.0):
            target = (1.0 - smoothing) * as_distribution(target, logits) + smoothing / logits.shape[1]
        truth, log_q, log_rest = focal_terms(scaled, target)
        terms = -torch.exp(gamma * log_rest) * log_q / log_base
        values = (truth * (terms if _is(epsilon, 0.0) else terms + epsilon * torch.exp(log_rest))).sum(1)
    if _is(z_weight, 0.0):
        return values
    return values + z_weight * torch.logsumexp(scaled, dim=1).square()


@_cross_entropy(
    reference="Szegedy 2016", limits=(Limit({"smoothing": 0.0}, "ce"), Limit({}, "custom_ce", {"smoothing": 0.1}))
)
def label_smoothing(
    logits: Tensor, target: Tensor, *, smoothing: Annotated[float, Range(0, 1, open_high=True)] = 0.1
) -> Tensor:
    """Cross-entropy with a share of the target spread over all classes, `t' = (1 - smoothing) t + smoothing / C`:

        -sum_c t'_c log softmax(z)_c

    Against overconfidence. A class masked by -inf is left out of the sum.

    Args:
        smoothing: share of the target spread evenly over all classes, in [0, 1).

    Returns:
        [N] or [N, H, W], in nats, at least the entropy of `t'`.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [8.0, 0.0]])
        >>> label_smoothing(logits, torch.tensor([0, 0]), smoothing=0.1)
        tensor([0.2269, 0.4003])

    Reference: Szegedy et al., Rethinking the inception architecture for computer vision, 2016.
    """
    return custom_ce(logits, target, smoothing=smoothing)


@_cross_entropy(reference="Lin 2017", limits=(Limit({"gamma": 0.0}, "ce"), Limit({}, "custom_ce", {"gamma": 2.0})))
def focal(logits: Tensor, target: Tensor, *, gamma: NonNegativeFloat = 2.0) -> Tensor:
    """Cross-entropy that pays less for what is already right, with `q = softmax(z)`:

        -sum_c t_c (1 - q_c)^gamma log q_c

    The paper's `alpha_t` is a weight of classes, and those belong to the objective's mean. Use it where most examples
    are easy; on label sets see `focal_bce`.

    Args:
        gamma: focal exponent, >= 0.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> focal(logits, torch.tensor([0, 0]))
        tensor([0.0018, 1.6501])

    Reference: Lin et al., Focal loss for dense object detection, 2017.
    """
    return custom_ce(logits, target, gamma=gamma)


@_cross_entropy(reference="Leng 2022", limits=(Limit({"epsilon": 0.0}, "ce"), Limit({}, "custom_ce", {"epsilon": 1.0})))
def poly1(logits: Tensor, target: Tensor, *, epsilon: Annotated[float, Range(-1, None)] = 1.0) -> Tensor:
    """Cross-entropy with the first term of its series in `1 - q` changed, with `q = softmax(z)`:

        sum_c t_c [ -log q_c + epsilon (1 - q_c) ]

    Args:
        epsilon: added to the first coefficient, >= -1.

    Reference: Leng et al., PolyLoss: a polynomial expansion perspective of classification loss functions, 2022.
    """
    truth, log_q = of_truth(target, logits, log_softmax(logits))
    return (truth * (-log_q - epsilon * torch.expm1(log_q))).sum(1)


@_cross_entropy(reference="Feng 2020", limits=(Limit({"order": 1}, "linear"),))
def taylor_ce(logits: Tensor, target: Tensor, *, order: PositiveInt = 2) -> Tensor:
    """Cross-entropy cut off after the first terms of its Taylor series, bounded and so robust, with `q = softmax(z)`:

        sum_c t_c sum_{k=1}^{order} (1 - q_c)^k / k

    Args:
        order: number of terms, >= 1; 1 is `linear`, infinitely many are `ce`.

    Returns:
        [N] or [N, H, W], in [0, 1 + 1/2 + ... + 1/order].

    Reference: Feng et al., Can cross entropy loss be robust to label noise?, 2020.
    """
    truth, log_q = of_truth(target, logits, log_softmax(logits))
    rest = -torch.expm1(log_q)
    series = torch.full_like(rest, 1.0 / order)
    for k in range(order - 1, 0, -1):
        series = 1.0 / k + rest * series
    return (truth * rest * series).sum(1)


@_cross_entropy(
    reference="de Brebisson 2016, Chowdhery 2022",
    proper=True,
    shift_invariant=False,
    limits=(Limit({"z_weight": 0.0}, "ce"), Limit({}, "custom_ce", {"z_weight": 1e-4})),
)
def z_loss(logits: Tensor, target: Tensor, *, z_weight: NonNegativeFloat = 1e-4) -> Tensor:
    """Cross-entropy that also holds the log-normaliser near 0: `ce(z, t) + z_weight log^2 sum_c exp(z_c)`.

    Args:
        z_weight: weight of the squared log-normaliser, >= 0; 1e-4 as in PaLM.

    Reference: de Brebisson & Vincent, The Z-loss: a shift and scale invariant classification loss belonging to the
    spherical family, 2016 (the name); Chowdhery et al., PaLM: scaling language modeling with pathways, 2022 (the
    formula).
    """
    return ce(logits, target) + z_weight * torch.logsumexp(logits, dim=1).square()


@_cross_entropy(reference="Wei 2022", values="in nats, in (0, sqrt(2) / temperature + log C)", shift_invariant=False)
def logit_norm(logits: Tensor, target: Tensor, *, temperature: PositiveFloat = 0.04) -> Tensor:
    """Cross-entropy of the logits' direction alone, so that training cannot grow their length: `ce(z', t)` with

        z' = z / (temperature (||z|| + 1e-7))

    The tiny number is that of the authors' code. Probabilities are still softmax(z), as in the paper.

    Args:
        temperature: divides the unit vector, > 0; 0.04 is the paper's for ten classes.

    Reference: Wei et al., Mitigating neural network overconfidence with logit normalization, 2022.
    """
    present = unmasked(logits)
    # A root has no slope at 0.
    length = present.square().sum(1, keepdim=True).clamp_min(torch.finfo(logits.dtype).tiny).sqrt()
    masks = (logits - present).detach()
    return ce(present / (temperature * (length + 1e-7)) + masks, target)


def _is(knob: float | Tensor, neutral: float) -> bool:
    """Whether a knob is a plain number equal to `neutral`; a tensor never is, whatever it holds."""
    return not isinstance(knob, Tensor) and knob == neutral

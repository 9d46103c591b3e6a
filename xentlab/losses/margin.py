"""Margin losses: the true logit must lead, and the lead that is enough costs nothing. Obeys `xentlab.losses.contract`.

Hinges imply no probabilities; their link only keeps the order (softmax) or the sign (sigmoid) of the logits. Angular
margins (ArcFace, CosFace) are not here: they need the cosines between features and class vectors, which a function of
the logits does not see.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab.losses.contract import Limit, as_distribution, bounded, fitting, loss, one_vs_rest
from xentlab.losses.cross_entropy import ce
from xentlab.schema import NonNegativeFloat, PositiveFloat

_margin = functools.partial(loss, family="margin")


@_margin(
    link="softmax",
    tasks=("multiclass", "segmentation"),
    reference="Crammer & Singer 2001",
    shift_invariant=True,
    limits=(Limit({}, "multi_margin", binary=True),),
)
def hinge(logits: Tensor, target: Tensor, *, margin: PositiveFloat = 1.0) -> Tensor:
    """Multiclass hinge: how far the true logit is from leading the best other one by the margin.

        sum_y t_y max(0, margin + max_{c != y} z_c - z_y)

    It has no meaning on label sets, whose labels would compete with each other; see `ovr_hinge`.

    Args:
        logits: [N, C] or [N, C, H, W], C >= 2.
        target: class indices [N] or [N, H, W], or a distribution shaped like `logits` (the expected hinge).
        margin: lead that is enough, in units of logits, > 0.

    Reference: Crammer & Singer, On the algorithmic implementation of multiclass kernel-based vector machines, 2001.
    """
    if not target.is_floating_point():
        true = fitting(target, logits).unsqueeze(1)
        rival = logits.scatter(1, true, -torch.inf).amax(1, keepdim=True)
        return F.relu(margin + rival - logits.gather(1, true)).squeeze(1)
    logits = bounded(logits)
    best, at = logits.max(1, keepdim=True)
    leads = torch.zeros_like(logits, dtype=torch.bool).scatter(1, at, True)
    second = logits.masked_fill(leads, -torch.inf).amax(1, keepdim=True)
    rival = torch.where(leads, second, best)
    return (as_distribution(target, logits) * F.relu(margin + rival - logits)).sum(1)


@_margin(
    link="softmax",
    tasks=("multiclass", "segmentation"),
    reference="Weston & Watkins 1999",
    shift_invariant=True,
    limits=(Limit({}, "hinge", binary=True),),
)
def multi_margin(logits: Tensor, target: Tensor, *, margin: PositiveFloat = 1.0) -> Tensor:
    """Multiclass hinge summed over all rivals of the true class: C times `torch.nn.functional.multi_margin_loss`.

        sum_y t_y sum_{c != y} max(0, margin + z_c - z_y)

    It has no meaning on label sets, whose labels would compete with each other; see `ovr_hinge`.

    Args:
        target: class indices [N] or [N, H, W], or a distribution shaped like `logits` (the expected value, which
            needs memory for all C^2 pairs of classes).
        margin: lead that is enough, in units of logits, > 0.

    Reference: Weston & Watkins, Support vector machines for multi-class pattern recognition, 1999.
    """
    truth = as_distribution(target, logits)
    if not target.is_floating_point():
        leader = logits.gather(1, target.long().unsqueeze(1))
        return ((1.0 - truth) * F.relu(margin + (logits - leader))).sum(1)
    size = logits.shape[1]
    itself = torch.eye(size, dtype=torch.bool, device=logits.device).reshape(size, size, *[1] * (logits.ndim - 2))
    logits = bounded(logits)
    pairs = F.relu(margin + (logits.unsqueeze(1) - logits.unsqueeze(2))).masked_fill(itself, 0.0)
    return (truth * pairs.sum(2)).sum(1)


@_margin(link="sigmoid", reference="Rifkin & Klautau 2004")
def ovr_hinge(logits: Tensor, target: Tensor, *, margin: PositiveFloat = 1.0) -> Tensor:
    """One-vs-rest hinge: every class is a two-class support vector machine of its own, summed over classes.

        sum_c [ t_c max(0, margin - z_c) + (1 - t_c) max(0, margin + z_c) ]

    Args:
        margin: distance from zero that is enough, in units of logits, > 0.

    Reference: Rifkin & Klautau, In defense of one-vs-all classification, 2004.
    """
    return _one_vs_rest(logits, target, margin, 1)


@_margin(link="sigmoid", reference="Janocha & Czarnecki 2017")
def squared_hinge(logits: Tensor, target: Tensor, *, margin: PositiveFloat = 0.5) -> Tensor:
    """One-vs-rest hinge, each term squared: `sum_c max(0, margin - y_c z_c)^2` with `y_c = 2 t_c - 1`.

    A label in between 0 and 1 is the expectation over its yes and no.

    Args:
        margin: distance from zero that is enough, in units of logits, > 0; 1/2 in the reference.

    Reference: Janocha & Czarnecki, On loss functions for deep neural networks in classification, 2017.
    """
    return _one_vs_rest(logits, target, margin, 2)


@_margin(link="sigmoid", reference="Janocha & Czarnecki 2017")
def cubed_hinge(logits: Tensor, target: Tensor, *, margin: PositiveFloat = 0.5) -> Tensor:
    """One-vs-rest hinge, each term cubed: `sum_c max(0, margin - y_c z_c)^3` with `y_c = 2 t_c - 1`.

    A label in between 0 and 1 is the expectation over its yes and no.

    Args:
        margin: distance from zero that is enough, in units of logits, > 0; 1/2 in the reference.

    Reference: Janocha & Czarnecki, On loss functions for deep neural networks in classification, 2017.
    """
    return _one_vs_rest(logits, target, margin, 3)


def _one_vs_rest(logits: Tensor, target: Tensor, margin: float, power: int) -> Tensor:
    """The hinge of every class's yes-or-no question to a power, summed over classes: [N] or [N, H, W]."""
    return one_vs_rest(logits, target, lambda z: F.relu(margin - z) ** power, lambda z: F.relu(margin + z) ** power)


@_margin(link="softmax", reference="Liu 2022", shift_invariant=True, limits=(Limit({"penalty": 0.0}, "ce"),))
def margin_smoothing(
    logits: Tensor, target: Tensor, *, penalty: NonNegativeFloat = 0.1, margin: NonNegativeFloat = 10.0
) -> Tensor:
    """Margin-based label smoothing: cross-entropy that charges logits for trailing the largest by more than a margin.

        -sum_c t_c log softmax(z)_c + penalty sum_c max(0, max_k z_k - z_c - margin)

    The paper's sum; the authors' code takes the mean over classes, so that the same effect needs a weight of
    `C penalty` there. The defaults are the paper's weight 0.1, and its margin for Tiny-ImageNet, CUB and segmentation:
    10, where CIFAR-10 takes 6. A class masked by -inf is not charged. Proper only where
    no true probability lies below `exp(-margin)` times the largest: smaller ones it raises towards that share.

    Args:
        penalty: weight of the margin term, >= 0.
        margin: distance to the largest logit that is free, in units of logits, >= 0.

    Reference: Liu, Ben Ayed, Galdran & Dolz, The devil is in the margin: Margin-based label smoothing for network
    calibration, 2022.
    """
    excess = F.relu(logits.amax(1, keepdim=True) - logits - margin).masked_fill(logits == -torch.inf, 0.0)
    return ce(logits, target) + penalty * excess.sum(1)

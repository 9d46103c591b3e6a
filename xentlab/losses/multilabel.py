"""Losses of label sets: several classes may be true at once. Link: sigmoid. Obeys `xentlab.losses.contract`.

On one true class they see its one-hot target: every class is a yes-or-no question of its own.
"""

import functools
import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab.losses.contract import Limit, as_distribution, bounded, fitting, loss, one_vs_rest
from xentlab.losses.likelihood import set_apart
from xentlab.schema import NonNegativeFloat, PositiveFloat, Range
from xentlab.tasks.links import sigmoid, softplus

# The logarithms of a yes-or-no question's two probabilities.
_LOG_ANSWERS = (F.logsigmoid, lambda z: F.logsigmoid(-z))

_multilabel = functools.partial(loss, family="multilabel", link="sigmoid")


@loss(family="binary", link="sigmoid", reference="Good 1952", values="in nats, >= 0", proper=True)
def bce(logits: Tensor, target: Tensor, *, pos_weight: PositiveFloat = 1.0) -> Tensor:
    """Binary cross-entropy of every class, summed over classes, in nats, with `s` the sigmoid:

        sum_c [ -pos_weight t_c log s(z_c) - (1 - t_c) log(1 - s(z_c)) ]

    The first choice where several classes may be true.

    Args:
        target: class indices [N] or [N, H, W] (one-vs-rest), or n-hot floats shaped like `logits`.
        pos_weight: weight of the positive answers, > 0.

    Example:
        >>> bce(torch.tensor([[2.0, -2.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
        tensor([0.9470])
    """
    return one_vs_rest(logits, target, lambda z: pos_weight * softplus(-z), softplus)


@_multilabel(reference="Lin 2017", limits=(Limit({"gamma": 0.0, "alpha": 0.5}, "bce", factor=0.5),))
def focal_bce(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: NonNegativeFloat = 2.0,
    alpha: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.25,
) -> Tensor:
    """Focal loss of every class's yes-or-no question, summed over classes, with `s` the sigmoid:

        sum_c [ -alpha t_c (1 - s(z_c))^gamma log s(z_c) - (1 - alpha) (1 - t_c) s(z_c)^gamma log(1 - s(z_c)) ]

    It is linear in the target: a soft label is the expectation over its yes and no.

    Args:
        gamma: focal exponent, >= 0; down-weights what is already right.
        alpha: weight of the positive answers, in (0, 1); the negative ones weigh `1 - alpha`.

    Reference: Lin, Goyal, Girshick, He & Dollar, Focal loss for dense object detection, 2017.
    """
    return one_vs_rest(
        logits,
        target,
        lambda log_yes, log_no: -alpha * torch.exp(gamma * log_no) * log_yes,
        lambda log_yes, log_no: -(1.0 - alpha) * torch.exp(gamma * log_yes) * log_no,
        *_LOG_ANSWERS,
    )


@_multilabel(
    reference="Ridnik 2021",
    limits=(
        Limit({"gamma_pos": 0.0, "gamma_neg": 0.0, "clip": 0.0}, "bce"),
        Limit({"gamma_pos": 2.0, "gamma_neg": 2.0, "clip": 0.0}, "focal_bce", {"gamma": 2.0, "alpha": 0.5}, factor=2.0),
    ),
)
def asl(
    logits: Tensor,
    target: Tensor,
    *,
    gamma_pos: NonNegativeFloat = 0.0,
    gamma_neg: NonNegativeFloat = 4.0,
    clip: Annotated[float, Range(0, 1, open_high=True)] = 0.05,
    constant_focus: bool = False,
) -> Tensor:
    """Asymmetric loss: focal with an exponent for each answer, and easy negatives left out, summed over classes.

        sum_c [ -t_c (1 - p_c)^gamma_pos log p_c - (1 - t_c) m_c^gamma_neg log(1 - m_c) ],   m_c = max(p_c - clip, 0)

    with `p = s(z)` the sigmoid. The gradient is that of the formula, or, with `constant_focus`, the one with which the
    authors' scripts train: the two powers are weights and have none. It is linear in the target. Use it where each
    example has few of many labels, or labels are missing.

    Args:
        gamma_pos: focal exponent of the positive answers, >= 0.
        gamma_neg: focal exponent of the negative answers, >= 0.
        clip: probability below which a negative answer costs nothing, in [0, 1).
        constant_focus: whether the focal weights have no gradient.

    Example:
        >>> logits = torch.tensor([[2.0, -2.0, -6.0]])
        >>> asl(logits, torch.tensor([[1.0, 0.0, 0.0]])), bce(logits, torch.tensor([[1.0, 0.0, 0.0]]))
        (tensor([0.1269]), tensor([0.2563]))

    Reference: Ridnik, Ben-Baruch, Zamir, Noy, Friedman, Protter & Zelnik-Manor, Asymmetric loss for multi-label
    classification, 2021.
    """
    log_clip = torch.log(torch.as_tensor(clip, dtype=logits.dtype, device=logits.device))

    def yes(log_yes: Tensor, log_no: Tensor) -> Tensor:
        attention = torch.exp(gamma_pos * log_no)
        return -(attention.detach() if constant_focus else attention) * log_yes

    def no(log_yes: Tensor, log_no: Tensor) -> Tensor:
        shifted = torch.exp(log_yes) - clip
        # A power of zero has no finite gradient for exponents below 1: what is free has the power of 1, and costs 0.
        focus = torch.exp(gamma_neg * torch.log(F.threshold(shifted, 0.0, 1.0)))
        costs = torch.sign(F.relu(shifted.detach()))
        log_rest = torch.logaddexp(log_no, log_clip)
        return F.relu(-(focus.detach() if constant_focus else focus) * log_rest) * costs

    return one_vs_rest(logits, target, yes, no, *_LOG_ANSWERS)


@_multilabel(reference="Su 2022", limits=(Limit({}, "bce", binary=True),))
def zlpr(logits: Tensor, target: Tensor) -> Tensor:
    """Zero-bounded log-sum-exp pairwise ranking: labels above 0, all other classes below it.

        log(1 + sum_c t_c exp(-z_c)) + log(1 + sum_c (1 - t_c) exp(z_c))

    Labels in between 0 and 1 weigh in both sums, the authors' form for soft labels; its minimum lies at
    `s(2 z) = t`, so that the sign of a logit answers yes or no while `s(z)` is not a calibrated probability.

    Args:
        target: class indices [N] or [N, H, W] (one label), or labels in [0, 1] shaped like `logits`.

    Reference: Su, Zhu, Murtadha, Pan, Wen & Liu, ZLPR: A novel loss for multi-label classification, 2022.
    """
    logits = bounded(logits)
    if not target.is_floating_point():
        own, others = set_apart(logits, fitting(target, logits).unsqueeze(1))
        return -(F.logsigmoid(own) + F.logsigmoid(-others)).squeeze(1)
    truth = as_distribution(target, logits)
    zero = torch.zeros_like(logits[:, :1])
    labels = torch.cat([zero, torch.log(truth) - logits], dim=1)
    others = torch.cat([zero, torch.log(1.0 - truth) + logits], dim=1)
    return torch.logsumexp(labels, dim=1) + torch.logsumexp(others, dim=1)


@_multilabel(reference="Zhang & Zhou 2006", values="in [exp(-2), exp(2)], or 0 without a pair", minimum=math.exp(-2.0))
def bp_mll(logits: Tensor, target: Tensor) -> Tensor:
    """Pairwise exponential ranking: the mean of `exp(o_l - o_k)` over pairs of a label k and another class l.

        1 / (|Y| |not Y|) sum_{k in Y} sum_{l not in Y} exp(o_l - o_k),   o = tanh(z)

    As in the paper the outputs are squashed by tanh. The double sum is a product of two sums, so that it costs O(C).
    Labels in between 0 and 1 weigh in both means. Where all classes are labels, or none, there is no pair: 0.

    Args:
        target: class indices [N] or [N, H, W] (one label), or labels in [0, 1] shaped like `logits`.

    Reference: Zhang & Zhou, Multilabel neural networks with applications to functional genomics and text
    categorization, 2006.
    """
    truth = as_distribution(target, logits)
    outputs = torch.tanh(logits)
    labels = (truth * torch.exp(-outputs)).sum(1)
    others = ((1.0 - truth) * torch.exp(outputs)).sum(1)
    pairs = truth.sum(1) * (1.0 - truth).sum(1)
    return labels * others / torch.where(pairs > 0, pairs, torch.ones_like(pairs))


@_multilabel(reference="Zhang 2021")
def hill(
    logits: Tensor,
    target: Tensor,
    *,
    lam: Annotated[float, Range(1, None)] = 1.5,
    margin: NonNegativeFloat = 1.0,
    gamma: NonNegativeFloat = 2.0,
) -> Tensor:
    """Hill loss: a focal term for labels, and for other classes a hill that forgives what looks like a missing label.

        sum_c [ -t_c (1 - m_c)^gamma log m_c + (1 - t_c) (lam - p_c) p_c^2 ],   p = s(z), m = s(z - margin)

    with `s` the sigmoid: the authors' released form. It is linear in the target.

    Args:
        target: class indices [N] or [N, H, W] (one label), or labels in [0, 1] shaped like `logits`.
        lam: height of the hill, >= 1; at 1.5 a negative with probability 1 pulls no longer.
        margin: subtracted from the logits of labels, >= 0.
        gamma: focal exponent of labels, >= 0.

    Reference: Zhang, Cheng, Huang, Wen, Feng, Li & Guo, Simple and robust loss design for multi-label learning with
    missing labels, 2021.
    """

    def no(z: Tensor) -> Tensor:
        probs = sigmoid(z)
        return (lam - probs) * probs.square()

    return one_vs_rest(
        logits, target, lambda z: -torch.exp(gamma * F.logsigmoid(margin - z)) * F.logsigmoid(z - margin), no
    )


@_multilabel(reference="Paszke 2019", proper=True, limits=(Limit({}, "bce", factor=0.5, binary=True),))
def multilabel_soft_margin(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy averaged over classes, `bce / C`, as PyTorch's loss of this name.

        -1/C sum_c [ t_c log s(z_c) + (1 - t_c) log(1 - s(z_c)) ]

    Returns:
        [N] or [N, H, W], in nats per class, >= 0.

    Reference: Paszke et al., PyTorch: An imperative style, high-performance deep learning library, 2019.
    """
    return bce(logits, target) / logits.shape[1]


@_multilabel(reference="Benedict 2021", values="in [0, 1]")
def sigmoid_f1(
    logits: Tensor, target: Tensor, *, slope: PositiveFloat = 1.0, offset: Annotated[float, Range(None, None)] = 0.0
) -> Tensor:
    """One minus the F1 score of each element's own label set, its counts made smooth by a sigmoid:

        1 - 2 tp / (2 tp + fp + fn),   tp = sum S_c t_c, fp = sum S_c (1 - t_c), fn = sum (1 - S_c) t_c,
        S = sigmoid(slope (z + offset))

    The paper counts over the batch for each class, which couples its examples; here the counts run over the classes of
    one element. `S` acts on the logits, as in the paper (the authors' code squashes them by a sigmoid first). Where no
    class is a label the F1 score does not depend on the logits, and the value is 1.

    Args:
        target: class indices [N] or [N, H, W] (one label), or labels in [0, 1] shaped like `logits`.
        slope: of the sigmoid, > 0.
        offset: added to the logits.

    Reference: Benedict, Koops, Odijk & de Rijke, sigmoidF1: A smooth F1 score surrogate loss for multilabel
    classification, 2021.
    """
    target = fitting(target, logits)
    sharpened = slope * (logits + offset)
    chosen = sigmoid(sharpened)
    if not target.is_floating_point():
        true = target.unsqueeze(1)
        wrong = chosen.scatter(1, true, sigmoid(-sharpened.gather(1, true))).sum(1)
        return wrong / (1.0 + chosen.sum(1))
    wrong = ((1.0 - target) * chosen + target * sigmoid(-sharpened)).sum(1)
    labels = target.sum(1)
    labelled = labels > 0
    total = torch.where(labelled, labels + chosen.sum(1), torch.ones_like(labels))
    # 0 times what is wrong keeps its NaN.
    return torch.where(labelled, wrong / total, 1.0 + 0.0 * wrong)

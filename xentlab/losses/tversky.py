"""Jaccard, and Tversky's weighing of false positives against false negatives. Link: softmax. See `dense`."""

import torch
from torch import Tensor

from xentlab.losses.contract import Limit
from xentlab.losses.dense import Classes, class_mean, of_images, overlap, ratio
from xentlab.schema import NonNegativeFloat, PositiveFloat


@of_images(reference="Rahman & Wang 2016", limits=(Limit({}, "tversky", {"alpha": 1.0, "beta": 1.0}),))
def jaccard(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    class_weights: Tensor | None = None,
    *,
    smooth: NonNegativeFloat = 1.0,
    classes: Classes = "all",
) -> Tensor:
    """Soft Jaccard loss (1 - IoU) of each image, averaged over classes; sums run over pixels, each times its weight:

        mean_c [ 1 - (sum min(q_c, t_c) + smooth) / (sum max(q_c, t_c) + smooth) ],  q = softmax(z)

    Where the truth is hard the minimum is the product `q_c t_c`; on a soft truth see `dice`.

    Args:
        smooth: added to intersection and union, in pixels, >= 0.
        classes: average over all classes, or over those present in the image's truth.

    Reference: Rahman & Wang, Optimizing intersection-over-union in deep neural networks for image segmentation, 2016.
    """
    hit, false, missed = overlap(logits, target, weight)
    wrong = false + missed
    return class_mean(ratio(wrong, wrong + hit + smooth), hit + missed, classes, class_weights)


@of_images(
    reference="Salehi 2017",
    limits=(Limit({"alpha": 0.5, "beta": 0.5, "smooth": 0.5}, "dice"), Limit({"alpha": 1.0, "beta": 1.0}, "jaccard")),
)
def tversky(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    class_weights: Tensor | None = None,
    *,
    alpha: NonNegativeFloat = 0.3,
    beta: NonNegativeFloat = 0.7,
    smooth: NonNegativeFloat = 1.0,
    classes: Classes = "all",
) -> Tensor:
    """Soft Tversky loss: false positives and false negatives weighed apart, averaged over classes:

        mean_c [ 1 - (TP_c + smooth) / (TP_c + alpha FP_c + beta FN_c + smooth) ]
        TP_c = sum min(q_c, t_c),  FP_c = sum q_c - TP_c,  FN_c = sum t_c - TP_c,  q = softmax(z)

    Where the truth is hard the minimum is the product `q_c t_c`; on a soft truth see `dice`.

    Args:
        alpha: weight of false positives, >= 0.
        beta: weight of false negatives, >= 0; above alpha it favours recall.
        smooth: added to both areas, in pixels, >= 0; half of what it is in `dice`.
        classes: average over all classes, or over those present in the image's truth.

    Reference: Salehi et al., Tversky loss function for image segmentation using 3D fully convolutional deep networks,
    2017.
    """
    terms, area = _tversky(logits, target, weight, alpha, beta, smooth)
    return class_mean(terms, area, classes, class_weights)


@of_images(reference="Abraham & Khan 2019", limits=(Limit({"gamma": 1.0}, "tversky"),))
def focal_tversky(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    class_weights: Tensor | None = None,
    *,
    alpha: NonNegativeFloat = 0.3,
    beta: NonNegativeFloat = 0.7,
    gamma: PositiveFloat = 4 / 3,
    smooth: NonNegativeFloat = 1.0,
    classes: Classes = "all",
) -> Tensor:
    """Focal Tversky loss: each class's Tversky loss to the power 1 / gamma, averaged over classes:

        mean_c (1 - TI_c)^(1 / gamma),  TI_c as in `tversky`

    The paper calls the weight of false negatives alpha and sums over classes; here the letters are those of `tversky`.

    Args:
        alpha: weight of false positives, >= 0.
        beta: weight of false negatives, >= 0.
        gamma: focus, > 0; above 1 what is nearly right still pulls, 1 is `tversky`.
        smooth: added to both areas, in pixels, >= 0.
        classes: average over all classes, or over those present in the image's truth.

    Reference: Abraham & Khan, A novel focal Tversky loss function with improved attention U-Net for lesion
    segmentation, 2019.
    """
    terms, area = _tversky(logits, target, weight, alpha, beta, smooth)
    # At a perfect class the power's slope is infinite where the loss has reached its minimum: none is wanted there.
    wrong = ~(terms <= 0)  # NaN is
    focused = torch.where(wrong, torch.where(wrong, terms, 1.0).pow(1.0 / gamma), 0.0)
    return class_mean(focused, area, classes, class_weights)


def _tversky(
    logits: Tensor, target: Tensor, weight: Tensor | None, alpha: float, beta: float, smooth: float
) -> tuple[Tensor, Tensor]:
    """`1 - TI_c` of every class and its area in the truth, each [N, C]."""
    hit, false, missed = overlap(logits, target, weight)
    wrong = alpha * false + beta * missed
    return ratio(wrong, wrong + hit + smooth), hit + missed

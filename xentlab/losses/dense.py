"""Losses of whole images: overlap of predicted and true regions, for segmentation. Link: softmax.

Their signature is `(logits [N, C, H, W], target, weight=None, *, knobs) -> [N]`. `weight` [N, H, W] is the weight of
each pixel, 0 where it is ignored; it weighs every sum over pixels, so that an ignored pixel changes nothing. Obeys
`xentlab.losses.contract`.

To add one: from the sums of `overlap`.
"""

import functools
from typing import Literal

import torch
from torch import Tensor

from xentlab.losses.contract import Limit, as_distribution, loss
from xentlab.schema import NonNegativeFloat, PositiveFloat

Classes = Literal["all", "present"]

of_images = functools.partial(
    loss, family="dense", link="softmax", tasks=("segmentation",), shift_invariant=True, values="in [0, 1]"
)


@of_images(reference="Drozdzal 2016", limits=(Limit({}, "tversky", {"alpha": 0.5, "beta": 0.5, "smooth": 0.5}),))
def dice(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    class_weights: Tensor | None = None,
    *,
    smooth: NonNegativeFloat = 1.0,
    classes: Classes = "all",
) -> Tensor:
    """Soft Dice loss of each image, averaged over classes; sums run over pixels, each times its weight:

        mean_c [ 1 - (2 sum min(q_c, t_c) + smooth) / (sum q_c + sum t_c + smooth) ],  q = softmax(z)

    The minimum is the product `q_c t_c` where the truth is hard. On a soft truth it is the semimetric form, 0 where
    q = t; the product's is least at a truth made hard.

    A class absent from truth and prediction costs 0. One absent from the truth alone costs `m / (m + smooth)` for a
    predicted mass m, a constant 1 where smooth is 0: then choose the classes that are present.

    Args:
        smooth: added to both areas, in pixels, >= 0; evens the steep loss of a class of a few pixels.
        classes: average over all classes, or over those present in the image's truth.

    Example:
        >>> target = torch.tensor([[[0, 0, 1]]])
        >>> right, wrong = (torch.tensor([[[[x, x, -x]], [[-x, -x, x]]]]) for x in (3.0, -3.0))
        >>> dice(right, target), dice(wrong, target)
        (tensor([0.0020]), tensor([0.7481]))

    Reference: Drozdzal et al., The importance of skip connections in biomedical image segmentation, 2016; Wang et al.,
    Dice semimetric losses: optimizing the Dice score with soft labels, 2023 (soft truth).
    """
    hit, false, missed = overlap(logits, target, weight)
    wrong = false + missed
    return class_mean(ratio(wrong, wrong + 2.0 * hit + smooth), hit + missed, classes, class_weights)


@of_images(reference="Milletari 2016")
def squared_dice(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    class_weights: Tensor | None = None,
    *,
    smooth: NonNegativeFloat = 1.0,
    classes: Classes = "all",
) -> Tensor:
    """Soft Dice loss with squares in the denominator, averaged over classes:

        mean_c [ 1 - (2 sum q_c t_c + smooth) / (sum q_c^2 + sum t_c^2 + smooth) ],  q = softmax(z)

    It is `sum (q_c - t_c)^2 / (sum q_c^2 + sum t_c^2 + smooth)`: least where q = t, for a soft truth too.

    Args:
        smooth: added to both areas, in pixels, >= 0.
        classes: average over all classes, or over those present in the image's truth.

    Reference: Milletari et al., V-Net: fully convolutional neural networks for volumetric medical image segmentation,
    2016.
    """
    probs, truth = maps(logits, target)
    distance = weighed_area((probs - truth).square(), weight)
    areas = weighed_area(probs.square() + truth.square(), weight)
    return class_mean(ratio(distance, areas + smooth), weighed_area(truth, weight), classes, class_weights)


@of_images(reference="Sudre 2017")
def generalised_dice(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    class_weights: Tensor | None = None,
    *,
    power: NonNegativeFloat = 2.0,
) -> Tensor:
    """Generalised Dice loss: one ratio for all classes, in which a rare class counts as much as a large one:

        1 - 2 sum_c v_c sum min(q_c, t_c) / sum_c v_c (sum q_c + sum t_c),  v_c = 1 / (sum t_c)^power,  q = softmax(z)

    The minimum is as in `dice`. The defaults are the paper's equation: power 2, no smoothing, and the background a
    class like any other. Chosen where it is silent: areas are those of one image, not of the batch, and a class that is
    absent from an image's truth weighs as much as its rarest present class, as in the authors' code.

    Args:
        power: of the area in a class's weight, >= 0; 2 is the paper's, at 1 all areas weigh alike, at 0 all pixels: the
            mean of `1 - q_true`.

    Reference: Sudre et al., Generalised Dice overlap as a deep learning loss function for highly unbalanced
    segmentations, 2017.
    """
    hit, false, missed = overlap(logits, target, weight)
    area = (hit + missed).detach()
    present = area > 0
    # Relative to the rarest class: 1 / area^power overflows for soft areas far below one pixel.
    rarest = area.masked_fill(~present, torch.inf).amin(1, keepdim=True)
    volume = torch.where(present, rarest, 1.0) / torch.where(present, area, 1.0)
    volume = volume.pow(power)
    if class_weights is not None:
        volume = volume * class_weights.to(volume.dtype)
    wrong = (volume * (false + missed)).sum(1)
    right = (volume * hit).sum(1)
    return ratio(wrong, wrong + 2.0 * right)


@of_images(reference="Jadon 2020", values="in [0, log cosh 1 = 0.4338]")
def log_cosh_dice(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    class_weights: Tensor | None = None,
    *,
    smooth: NonNegativeFloat = 1.0,
    classes: Classes = "all",
) -> Tensor:
    """Logarithm of the hyperbolic cosine of the soft Dice loss, which flattens it near its minimum:

        log cosh dice(z, t)

    Args:
        smooth: as in `dice`, >= 0.
        classes: as in `dice`.

    Reference: Jadon, A survey of loss functions for semantic segmentation, 2020.
    """
    value = dice(logits, target, weight, class_weights, smooth=smooth, classes=classes)
    # cosh x = 1 + 2 sinh^2(x / 2) keeps all digits near 0.
    return torch.log1p(2.0 * torch.sinh(value / 2.0).square())


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


def overlap(logits: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """True positives, false positives and false negatives of every class, in weighted pixels, each [N, C]."""
    probs, truth = maps(logits, target)
    # The smaller of the two: their product where the truth is 0 or 1, and, unlike it, all of a soft truth where q = t.
    right = torch.where(probs <= truth, probs, truth) if target.is_floating_point() else probs * truth
    # Sums of what is wrong, not differences of sums: exact and >= 0 where nearly nothing is wrong.
    return weighed_area(right, weight), weighed_area(probs - right, weight), weighed_area(truth - right, weight)


def maps(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and truth, each [N, C, pixels]."""
    return torch.softmax(logits, dim=1).flatten(2), as_distribution(target, logits).flatten(2)


def weighed_area(values: Tensor, weight: Tensor | None) -> Tensor:
    """The weighted sum over pixels [N, C] of `values` [N, C, pixels]."""
    if weight is None:
        return values.sum(2)
    return (values * weight.to(values.dtype).flatten(1).unsqueeze(1)).sum(2)


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """`part / whole` with 0 / 0 = 0: nothing there, nothing wrong."""
    return part / whole.clamp_min(torch.finfo(whole.dtype).tiny)


def class_mean(values: Tensor, area: Tensor, classes: Classes, class_weights: Tensor | None) -> Tensor:
    """The weighted mean [N] of `values` [N, C] over all classes, or over those with an area in the truth."""
    counts = torch.ones_like(area) if classes == "all" else (area.detach() > 0).to(values.dtype)
    if class_weights is not None:
        counts = counts * class_weights.to(values.dtype)
    return ratio((values * counts).sum(1), counts.sum(1))


def _tversky(
    logits: Tensor, target: Tensor, weight: Tensor | None, alpha: float, beta: float, smooth: float
) -> tuple[Tensor, Tensor]:
    """`1 - TI_c` of every class and its area in the truth, each [N, C]."""
    hit, false, missed = overlap(logits, target, weight)
    wrong = alpha * false + beta * missed
    return ratio(wrong, wrong + hit + smooth), hit + missed

"""Metrics where exactly one class is true: of an example (multiclass) or of a pixel (segmentation).

Contract: `*_counts` gives additive float64 or int64 statistics with a leading axis R, `*_metrics` turns a sum of them
into float64 [R]. The class axis is number 2 in both [R, N, C] and [R, B, C, H, W], so both share their code.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from xentlab.metrics.bins import PROB_FLOOR, calibration_counts, calibration_error, tally
from xentlab.metrics.contract import Metric

CONFIDENCE = "its confidence can be trusted less"
CLASS_METRICS = (
    Metric("error", "min", "fraction", True, "error", "Error"),
    Metric("nll", "min", "nats", False, "NLL", "Negative log-likelihood", when_worse=CONFIDENCE),
    Metric("brier", "min", "squared probability", False, "Brier score", "Brier score", when_worse=CONFIDENCE),
    Metric("ece", "min", "fraction", True, "ECE", "Expected calibration error", when_worse=CONFIDENCE),
)
MAP_METRICS = (
    Metric("miou", "max", "fraction", True, "mean IoU", "Mean IoU", 1.0),
    Metric("dice", "max", "fraction", True, "mean Dice", "Mean Dice", 1.0),
    Metric("pixel_accuracy", "max", "fraction", True, "pixel accuracy", "Pixel accuracy", 1.0),
    Metric("class_accuracy", "max", "fraction", True, "class accuracy", "Class accuracy, mean recall", 1.0),
    *CLASS_METRICS,
)


def multiclass_counts(probs: Tensor, target: Tensor, ignore_index: int | None = None) -> dict[str, Tensor]:
    """Additive statistics of predictions [R, N, C] against class indices.

    Args:
        probs: probabilities [R, N, C], each in [0, 1], sum to one over C.
        target: class indices [N] or [R, N] in [0, C), or `ignore_index`.
        ignore_index: the target value of examples that count nowhere, inside or outside [0, C).

    Returns:
        `count` and `correct` (int64 [R]), `nll` and `brier` (sums, float64 [R]), `bin_*` ([R, bins]).
    """
    return _counts(probs, target, ignore_index)[0]


def multiclass_answers(probs: Tensor, target: Tensor) -> dict[str, Tensor]:
    """What each example came to, by the metric that is its mean: `error` (bool) and `nll` (float16), [R, N].

    Args:
        probs: as `multiclass_counts` takes them.
        target: class indices [N] or [R, N] in [0, C).
    """
    truth = target.long().expand(probs.shape[:2])
    of_truth = probs.gather(2, truth.unsqueeze(2)).squeeze(2)
    return {"error": probs.max(2).indices != truth, "nll": -of_truth.float().clamp(min=PROB_FLOOR).log().half()}


def multiclass_metrics(counts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Metrics of multiclass statistics.

    The predicted class is the first among the most probable. `nll` takes probabilities at or above 1e-7, so a sure
    mistake costs 16.1 nats. `brier` is the squared difference to the one-hot truth, summed over classes.

    Args:
        counts: what `multiclass_counts` gave, or a sum of such.

    Returns:
        `error` (fraction), `nll` (nats), `brier` (0 to 2), `ece` (fraction): float64 [R], means over examples.

    Reference:
        Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950.
    """
    return {
        "error": (counts["count"] - counts["correct"]) / counts["count"].double(),
        "nll": counts["nll"] / counts["count"],
        "brier": counts["brier"] / counts["count"],
        "ece": calibration_error(counts),
    }


def segmentation_counts(probs: Tensor, target: Tensor, ignore_index: int | None = None) -> dict[str, Tensor]:
    """Additive statistics of predicted maps [R, B, C, H, W] against masks.

    Args:
        probs: probabilities [R, B, C, H, W], each in [0, 1], sum to one over C.
        target: class indices [B, H, W] or [R, B, H, W] in [0, C), or `ignore_index`.
        ignore_index: the target value of pixels that count nowhere, inside or outside [0, C).

    Returns:
        What `multiclass_counts` gives, over pixels, and `confusion` (int64 [R, C, C]: truth by prediction).
    """
    R, C = probs.shape[0], probs.shape[2]
    counts, predicted = _counts(probs, target, ignore_index)
    cell = target.long() * C + predicted
    if ignore_index is not None:
        cell = torch.where(target != ignore_index, cell, C * C)
    counts["confusion"] = tally(cell.reshape(R, -1), C * C + 1)[:, :-1].view(R, C, C)
    return counts


def segmentation_metrics(counts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Metrics of segmentation statistics, all over the pixels of all images together.

    `class_accuracy` is the mean recall of the classes that occur in the truth; `miou` and `dice` are means over the
    classes that occur in truth or prediction. `nll`, `brier` and `ece` are those of multiclass, over pixels.

    Args:
        counts: what `segmentation_counts` gave, or a sum of such.

    Returns:
        `miou`, `dice`, `pixel_accuracy`, `class_accuracy`, `error`, `ece` (fractions), `nll` (nats), `brier`
        (0 to 2): float64 [R].
    """
    confusion = counts["confusion"].double()
    right, truth, predicted = confusion.diagonal(dim1=1, dim2=2), confusion.sum(2), confusion.sum(1)
    either = truth + predicted > 0
    of_pixels = multiclass_metrics(counts)
    return {
        "miou": _mean_over(either, right / (truth + predicted - right)),
        "dice": _mean_over(either, 2 * right / (truth + predicted)),
        "pixel_accuracy": counts["correct"] / counts["count"].double(),
        "class_accuracy": _mean_over(truth > 0, right / truth),
        **of_pixels,
    }


def add(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The statistics of all examples from those of chunks, where they are sums: name by name.

    Args:
        parts: statistics of one or more chunks, of the same names and shapes.
    """
    total = parts[0]
    for part in parts[1:]:
        total = {name: value + part[name] for name, value in total.items()}
    return total


def join(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The statistics of all examples where they are one for each, as a ranking or a median needs them: in a row."""
    return {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}


def constant_counts(frequency: Tensor, target: Tensor, *, ignore_index: int | None = None) -> dict[str, Tensor]:
    """Statistics of the predictor that answers `frequency` everywhere, in closed form from the target's histogram.

    Args:
        frequency: the constant probabilities [C], sum to one.
        target: class indices of any shape in [0, C), or `ignore_index`.
        ignore_index: the target value of elements that count nowhere.

    Returns:
        What `segmentation_counts` gives for such maps, with R = 1.
    """
    f, C = frequency.double().to(target.device), frequency.numel()
    labels = target.reshape(1, -1).long()
    if ignore_index is not None:
        labels = torch.where(labels != ignore_index, labels, C)
    present = tally(labels, C + 1)[:, :-1]  # [1, C]
    per_class, predicted = _counts(f.expand(1, C, C), torch.arange(C, device=f.device), None)
    answer = predicted[0, :1]
    count, correct = present.sum(1), present[:, answer].sum(1)
    squared = f.square().sum() - f.square() + (1 - f).square()
    confusion = torch.zeros(1, C, C, dtype=torch.int64, device=f.device)
    confusion[0].index_copy_(1, answer, present.T)
    bin_share = per_class["bin_count"] // C  # every answer has the same confidence: one bin holds all
    return {
        "count": count,
        "correct": correct,
        "nll": -(present * f.clamp(min=PROB_FLOOR).log()).sum(1),
        "brier": (present * squared).sum(1),
        "bin_count": bin_share * count,
        "bin_correct": bin_share * correct,
        "bin_confidence": bin_share * count * f[answer],
        "confusion": confusion,
    }


def _counts(probs: Tensor, target: Tensor, ignore_index: int | None) -> tuple[dict[str, Tensor], Tensor]:
    """Statistics that multiclass and segmentation share, and the predicted classes, shaped like the target with R."""
    if probs.dtype in (torch.float16, torch.bfloat16):
        probs = probs.float()
    R = probs.shape[0]
    shape = (R, probs.shape[1], *probs.shape[3:])
    valid = None if ignore_index is None else (target != ignore_index).expand(shape)
    truth = (target if valid is None else torch.where(valid, target, 0)).long().expand(shape)
    confidence, predicted = probs.max(2)  # on maps ten times faster than argmax, and the confidence comes with it
    of_truth = probs.gather(2, truth.unsqueeze(2))
    nll = of_truth.clamp(min=PROB_FLOOR).log_().neg_().squeeze(2)
    # The truth's own term replaces its square, so nothing is subtracted and a perfect answer scores exactly 0.
    brier = probs.square().scatter_(2, truth.unsqueeze(2), (1 - of_truth).square_()).sum(2)
    if valid is not None:
        nll, brier = torch.where(valid, nll, 0), torch.where(valid, brier, 0)
        valid = valid.reshape(R, -1)
    bins = calibration_counts(confidence.reshape(R, -1), (predicted == truth).reshape(R, -1), valid)
    counts = {
        "count": bins["bin_count"].sum(1),
        "correct": bins["bin_correct"].sum(1),
        "nll": nll.reshape(R, -1).sum(1, dtype=torch.float64),
        "brier": brier.reshape(R, -1).sum(1, dtype=torch.float64),
        **bins,
    }
    return counts, predicted


def _mean_over(chosen: Tensor, values: Tensor) -> Tensor:
    """Mean of the chosen among values [R, C]; NaN where none is chosen."""
    return torch.where(chosen, values, 0).sum(1) / chosen.sum(1)

"""Metrics where any number of labels is true of an example, against drawn labels or against their true probabilities.

Contract: a ranking needs all scores, so there are no additive statistics here; chunks are concatenated first.
"""

import torch
from torch import Tensor

from xentlab.metrics.bins import NUM_BINS, PROB_FLOOR, calibration_bins, calibration_counts, calibration_error, tally
from xentlab.metrics.categorical import CLASS_METRICS
from xentlab.metrics.contract import Metric

LABEL_METRICS = (
    Metric("map", "max", "fraction", True, "mAP", "Mean average precision", 1.0),
    Metric("f1_micro", "max", "fraction", True, "F1 micro", "F1 over all labels", 1.0),
    Metric("f1_macro", "max", "fraction", True, "F1 macro", "F1, mean over labels", 1.0),
    Metric("subset_accuracy", "max", "fraction", True, "subset accuracy", "All labels right", 1.0),
    Metric("hamming", "min", "fraction of labels", True, "hamming", "Hamming loss"),
    *CLASS_METRICS[1:],
)
# Beside those, on test, where the dataset knows the true probability of every label.
POSTERIOR_METRICS = (
    Metric("excess_risk", "min", "nats", False, "excess risk over Bayes", "Excess risk over Bayes"),
    Metric("posterior_error", "min", "fraction", True, "posterior error", "Error against the true posterior"),
    Metric("true_calibration", "min", "fraction", True, "true calibration error",
           "Calibration error against the true posterior"),
)  # fmt: skip


def multilabel_metrics(probs: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Metrics of label probabilities [R, N, C] against n-hot targets.

    A label is predicted where its probability is above 0.5. The F1 of a label with neither positives nor predictions
    is 0. `map` is the mean of the average precisions of the labels that have a positive, NaN if none has. `nll` is
    summed over labels and takes probabilities at or above 1e-7; `ece` compares each label's probability with how often
    the label holds, over all label decisions.

    Args:
        probs: probabilities [R, N, C], each in [0, 1].
        target: n-hot [N, C] or [R, N, C], 0 or 1 of any dtype.

    Returns:
        `map`, `f1_micro`, `f1_macro`, `subset_accuracy`, `hamming`, `ece` (fractions), `nll` (nats, mean over
        examples), `brier` (0 to 1, mean over examples and labels): float64 [R].
    """
    if probs.dtype in (torch.float16, torch.bfloat16):
        probs = probs.float()
    R, N, _ = probs.shape
    truth = (target > 0.5).expand(probs.shape)
    predicted = probs > 0.5
    wrong = predicted != truth
    hits, sizes = (predicted & truth).sum(1), predicted.sum(1) + truth.sum(1)  # [R, C]
    nll = -torch.where(truth, probs, 1 - probs).clamp(min=PROB_FLOOR).log()
    return {
        "map": mean_average_precision(probs, truth),
        "f1_micro": _f1(hits.sum(1), sizes.sum(1)),
        "f1_macro": _f1(hits, sizes).mean(1),
        "subset_accuracy": (~wrong.any(2)).double().mean(1),
        "hamming": wrong.double().mean((1, 2)),
        "nll": nll.sum((1, 2), dtype=torch.float64) / N,
        "brier": (probs - truth.to(probs.dtype)).square().mean((1, 2), dtype=torch.float64),
        "ece": calibration_error(calibration_counts(probs.reshape(R, -1), truth.reshape(R, -1))),
    }


def posterior_metrics(probs: Tensor, posterior: Tensor) -> dict[str, Tensor]:
    """Metrics of label probabilities [R, N, C] against the true ones, exact where labels would only estimate them.

    Args:
        probs: stated probabilities [R, N, C], each in [0, 1].
        posterior: true probabilities P(label | example) [N, C] or [R, N, C].

    Returns:
        Each float64 [R]. `excess_risk` (nats, mean over examples): expected NLL minus that of the posterior itself,
        which is the KL divergence from the posterior, summed over labels; probabilities are taken at or above 1e-7, as
        in `nll`. `posterior_error`: mean of `|prob - posterior|`. `true_calibration`: the calibration error `ece` with
        the posterior in place of the labels, so without their noise; 0 for the posterior, at most `posterior_error`.
    """
    p, q = probs.double(), posterior.double().expand(probs.shape)
    yes = torch.special.xlogy(q, q) - q * p.clamp(min=PROB_FLOOR).log()
    no = torch.special.xlogy(1 - q, 1 - q) - (1 - q) * (1 - p).clamp(min=PROB_FLOOR).log()
    # The bins are those of the stated precision, so that they are the same as in `ece`.
    bins = calibration_bins(probs.flatten(1))
    gaps = tally(bins, NUM_BINS + 1, (p - q).flatten(1))
    return {
        "excess_risk": (yes + no).sum(2).mean(1),
        "posterior_error": (p - q).abs().mean((1, 2)),
        "true_calibration": gaps.abs().sum(1) / q[0].numel(),
    }


def mean_average_precision(scores: Tensor, truth: Tensor) -> Tensor:
    """Mean over labels of the average precision of ranking examples by score [R, N, C].

    AP = sum over thresholds of (gain in recall) * (precision there). Examples of equal score share one threshold, so
    each positive adds the precision among all that score at least as high, over the number of positives.

    Args:
        scores: any order-preserving scores [R, N, C].
        truth: which labels hold [R, N, C], bool.

    Returns:
        Mean [R] over the labels with a positive, in [0, 1], float64; NaN if no label has one.
    """
    ranked, order = scores.transpose(1, 2).contiguous().sort(2)  # ascending, [R, C, N]
    N = ranked.shape[2]
    positive = truth.transpose(1, 2).gather(2, order).long()
    below = positive.cumsum(2) - positive
    rank = torch.arange(N, device=scores.device).expand(ranked.shape)
    opens_tie = torch.ones_like(ranked, dtype=torch.bool)
    opens_tie[..., 1:] = ranked[..., 1:] != ranked[..., :-1]
    first = torch.where(opens_tie, rank, 0).cummax(2).values  # of the tie that each example belongs to
    total = positive.sum(2)  # [R, C]
    precision = (total.unsqueeze(2) - below.gather(2, first)).double() / (N - first)
    average = (precision * positive).sum(2) / total
    has_positive = total > 0
    return torch.where(has_positive, average, 0).sum(1) / has_positive.sum(1)


def _f1(hits: Tensor, sizes: Tensor) -> Tensor:
    """F1 = 2 TP / (predicted + true) as float64; 0 where both are empty."""
    return 2 * hits.double() / sizes.clamp(min=1)

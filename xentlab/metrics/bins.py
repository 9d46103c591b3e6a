"""Counting into bins, and the calibration error that follows from it.

What lives here serves every task's metrics. Contract: integer bins in, one row of R in each output; no data-dependent
shape and no host synchronisation, so that a chunk on a GPU is never waited for.
"""

import torch
from torch import Tensor

NUM_BINS = 15  # of equal width on [0, 1], as in Guo et al., "On Calibration of Modern Neural Networks", 2017
PROB_FLOOR = 1e-7  # log of a probability is taken at or above it: a sure mistake costs 16.1 nats, not infinity


def tally(index: Tensor, num: int, weights: Tensor | None = None) -> Tensor:
    """Count, or sum weights, by bin in every row.

    Args:
        index: bins [R, M], int64 in [0, num).
        num: number of bins.
        weights: what each element adds [R, M]; None counts.

    Returns:
        Totals [R, num]: float64 of weights, int64 counts.
    """
    R = index.shape[0]
    # One flat scatter for all rows: PyTorch has a deterministic CUDA form of it in one dimension.
    flat = (index + num * torch.arange(R, device=index.device)[:, None]).reshape(-1)
    if weights is None:
        values = torch.ones(1, dtype=torch.int64, device=index.device).expand(flat.shape)
    else:
        values = weights.to(torch.float64).reshape(-1)
    return torch.zeros(R * num, dtype=values.dtype, device=index.device).scatter_add_(0, flat, values).view(R, num)


def calibration_bins(confidence: Tensor) -> Tensor:
    """The bin [R, M] in [0, NUM_BINS] of each probability [R, M]: closed on the left, exactly 1 in one of its own."""
    edges = torch.linspace(0, 1, NUM_BINS + 1, dtype=confidence.dtype, device=confidence.device)
    # A NaN is sorted past the last edge; the clamp also takes rounding below 0. Neither may index outside.
    return (torch.bucketize(confidence.contiguous(), edges, right=True) - 1).clamp_(0, NUM_BINS)


def calibration_counts(confidence: Tensor, correct: Tensor, valid: Tensor | None = None) -> dict[str, Tensor]:
    """Additive statistics of a reliability diagram, one row of bins for each trial.

    Bins are closed on the left; a confidence of exactly 1 has a bin of its own, as in torchmetrics.

    Args:
        confidence: stated probability [R, M] in [0, 1].
        correct: whether what it stated came true [R, M], bool.
        valid: which elements count [R, M], bool; None is all.

    Returns:
        `bin_count` and `bin_correct` (int64) and `bin_confidence` (float64), each [R, NUM_BINS + 1].
    """
    bins = calibration_bins(confidence)
    if valid is not None:
        bins = torch.where(valid, bins, NUM_BINS + 1)
    by_outcome = tally(2 * bins + correct, 2 * (NUM_BINS + 2)).view(-1, NUM_BINS + 2, 2)[:, :-1]
    return {
        "bin_count": by_outcome.sum(2),
        "bin_correct": by_outcome[..., 1],
        "bin_confidence": tally(bins, NUM_BINS + 2, confidence)[:, :-1],
    }


def calibration_error(counts: dict[str, Tensor]) -> Tensor:
    """Expected calibration error (L1) of reliability statistics.

    sum over bins of (share of the bin) * |accuracy of the bin - mean confidence of the bin|.

    Args:
        counts: what `calibration_counts` gave, or a sum of such.

    Returns:
        Error [R] in [0, 1]; NaN where nothing was counted.

    Reference:
        Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015.
    """
    return (counts["bin_correct"] - counts["bin_confidence"]).abs().sum(1) / counts["bin_count"].sum(1)

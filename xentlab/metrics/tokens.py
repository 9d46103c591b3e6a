"""The yardstick of text: what a model needs to write down each next token, in bits per character.

Contract: as that of classes, sums over tokens, and beside them how many characters those tokens are.
"""

import math

import torch
from torch import Tensor

from xentlab.metrics.categorical import CLASS_METRICS, multiclass_counts, multiclass_metrics
from xentlab.metrics.contract import Metric

TOKEN_METRICS = (
    Metric("bits_per_char", "min", "bits", False, "bits per character", "Bits per character"),
    Metric("perplexity", "min", "tokens", False, "perplexity", "Perplexity of a token", 1.0),
    Metric("token_error", "min", "fraction", True, "next-token error", "Next-token error"),
    *(metric for metric in CLASS_METRICS if metric.name == "ece"),
)


def token_counts(
    probs: Tensor, target: Tensor, lengths: Tensor, *, ignore_index: int | None = None
) -> dict[str, Tensor]:
    """Additive statistics of predicted next tokens.

    Args:
        probs: probabilities [R, B, C, T], each in [0, 1], sum to one over C.
        target: indices of tokens [B, T] or [R, B, T] in [0, C), or `ignore_index`.
        lengths: how many characters each token is [R, C] or [C].
        ignore_index: the target that counts nowhere, inside or outside [0, C).

    Returns:
        What `multiclass_counts` gives, and `characters` (float64 [R]).
    """
    counts = multiclass_counts(probs, target, ignore_index)
    valid = None if ignore_index is None else target != ignore_index
    truth = (target.long() if valid is None else torch.where(valid, target, 0).long()).expand(
        probs.shape[0], probs.shape[1], probs.shape[3]
    )
    each = lengths.double().expand(len(truth), -1).gather(1, truth.flatten(1)).view(truth.shape)
    counted = each if valid is None else torch.where(valid, each, 0.0)
    return counts | {"characters": counted.flatten(1).sum(1)}


def token_metrics(counts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Metrics of such statistics, float64 [R].

    `bits_per_char` is the code length of the text, `sum -log2 p(token) / characters`, with probabilities at or above
    1e-7; `perplexity` is `exp` of the mean over tokens in nats.

    Args:
        counts: what `token_counts` gave, or a sum of such.

    Reference: Shannon, Prediction and entropy of printed English, 1951.
    """
    of_tokens = multiclass_metrics(counts)
    return {
        "bits_per_char": counts["nll"] / counts["characters"] / math.log(2),
        "perplexity": of_tokens["nll"].exp(),
        "token_error": of_tokens["error"],
        "ece": of_tokens["ece"],
    }

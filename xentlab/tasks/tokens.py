"""Text: the next token is to be predicted at every place of a sequence. Inputs int64 [N, T], targets int64 [N, T].

Every place is an element with one true class, as a pixel is; what it costs is counted in bits per character, so that a
vocabulary of bytes, of characters and of pieces of words are measured alike. A class's name is the text of its token;
`<0x0A>` names the byte 10, of which those that continue a character are none of their own.
"""

import re
from typing import NamedTuple

import torch
from torch import Tensor

from xentlab import metrics
from xentlab.errors import UserError
from xentlab.tasks import classes
from xentlab.tasks.contract import Examples, Facts, Link, Statistics

_BYTE = re.compile("<0x([0-9A-F]{2})>")


class TokenPrediction(NamedTuple):
    """Probabilities [R, B, C, T] of each next token, and how many characters each of the C is [R, C]."""

    probs: Tensor
    lengths: Tensor


def characters(token: str) -> int:
    """How many characters a token is, by its name: a byte that continues one is 0."""
    byte = _BYTE.fullmatch(token)
    return len(token) if byte is None else int(int(byte[1], 16) >> 6 != 0b10)


def _check(examples: Examples) -> None:
    classes.check_indices(examples, 1)
    if examples.targets.dtype != torch.int64:
        raise UserError(f"Targets of dataset '{examples.name}' must be int64 tokens [N, T], got uint8.")


def _disturb(examples: Examples, train: Tensor, rate: float, kind: str, draws: torch.Generator) -> Tensor:
    return classes.disturb_indices(examples.targets[train], examples, rate, kind, draws)


def _lengths(train: Tensor, examples: Examples) -> Tensor:
    return torch.tensor([characters(name) for name in examples.class_names], dtype=torch.float64)


def _counts(train: Tensor, examples: Examples) -> Tensor:
    return classes.counts(train.flatten(), examples)


def _class_weights(kind: str, train: Tensor, examples: Examples) -> Tensor:
    return classes.class_weights(kind, train.flatten(), examples)


def _predict(outputs: Tensor, link: Link, facts: Facts) -> TokenPrediction:
    return TokenPrediction(classes.predict_classes(outputs, link, facts), facts["token_lengths"])


def _statistics(prediction: TokenPrediction, target: Tensor, ignore_index: int | None) -> Statistics:
    return metrics.token_counts(prediction.probs, target, prediction.lengths, ignore_index=ignore_index)


def _trivial(train: Tensor, judged: Tensor, examples: Examples) -> dict[str, float]:
    """Always the training set's frequencies, whatever came before."""
    counts = classes.constant_answers(train, judged, examples)
    kept = judged if examples.ignore_index is None else judged[judged != examples.ignore_index]
    counts["characters"] = _lengths(train, examples).to(kept.device)[kept.flatten()].sum().reshape(1)
    return classes.to_values(metrics.token_metrics(counts))


TOKENS = classes.exclusive_task(
    name="tokens",
    like="multiclass",
    check=_check,
    noise=("symmetric",),
    disturb=_disturb,
    output="sequence",
    facts={"class_counts": _counts, "token_lengths": _lengths},
    always=("token_lengths",),
    class_weights=_class_weights,
    predict=_predict,
    metrics=metrics.TOKEN_METRICS,
    statistics=_statistics,
    finish=metrics.token_metrics,
    trivial=_trivial,
    batch_size=32,
    train_sample=100,
    axes=1,
)

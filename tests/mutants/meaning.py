"""Mistakes of meaning: values that depend on what they must not, and words that are not true."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mutants.contract import NonNegative, breaks, softmax_loss, true_prob
from xentlab.losses import ce
from xentlab.losses.contract import Limit, as_distribution, bounded, loss


@breaks("independence")
@softmax_loss
def logits_centred_over_the_batch(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits - 0.1 * logits.mean(0, keepdim=True), target)


@breaks("independence")
@softmax_loss
def every_element_the_sum_of_the_batch(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target).sum().expand(len(logits))


@breaks("independence", "segmentation")
@softmax_loss
def divided_by_the_pixels_of_the_first_class(logits: Tensor, target: Tensor) -> Tensor:
    truth = as_distribution(target, logits)
    return ce(logits, target) / (1.0 + truth[:, :1].mean((0, 2, 3)))


@breaks("independence")
@loss(family="mutants", link="softmax", shift_invariant=True, proper=True, coupled=True)
def coupled_in_words_only(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target)


@breaks("renaming")
@loss(family="mutants", link="softmax", shift_invariant=True)
def first_class_weighs_more(logits: Tensor, target: Tensor) -> Tensor:
    weight = torch.ones(logits.shape[1], dtype=logits.dtype).index_fill(0, torch.tensor(0), 1.5)
    return (as_distribution(target, logits) * weight).sum(1) * ce(logits, target)


@breaks("renaming")
@loss(family="mutants", link="softmax", shift_invariant=True, proper=True, symmetric=False)
def asymmetric_in_words_only(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target)


@breaks("raises truth")
@softmax_loss
def wrong_sign(logits: Tensor, target: Tensor) -> Tensor:
    return -ce(logits, target)


@breaks("raises truth")
@softmax_loss
def off_by_one_target(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, as_distribution(target, logits).roll(1, 1))


@breaks("raises truth")
@softmax_loss
def target_swapped_with_its_complement(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, (1.0 - as_distribution(target, logits)) / (logits.shape[1] - 1))


@breaks("raises truth")
@loss(family="mutants", link="softmax", shift_invariant=True, proper=True, raises_truth=False)
def modest_in_words_only(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target)


@breaks("shift")
@softmax_loss
def one_more_class_in_the_normaliser(logits: Tensor, target: Tensor) -> Tensor:
    wider = torch.cat([logits, torch.zeros_like(logits[:, :1])], 1)
    return torch.logsumexp(wider, 1) - (as_distribution(target, logits) * logits).sum(1)


@breaks("shift")
@loss(family="mutants", link="softmax", proper=True)
def changes_under_a_constant_in_words_only(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target)


@breaks("minimum")
@softmax_loss
def below_its_minimum(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target) - 0.1


@breaks("two forms")
@softmax_loss
def distribution_read_backwards(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target.flip(1) if target.is_floating_point() else target)


def _dice(logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    probs, truth = torch.softmax(logits, 1), as_distribution(target, logits)
    if weight is not None:
        probs, truth = probs * weight.unsqueeze(1), truth * weight.unsqueeze(1)
    hit, both = (probs * truth).flatten(2).sum(2), (probs + truth).flatten(2).sum(2)
    return (1.0 - (2.0 * hit + 1.0) / (both + 1.0)).mean(1)


dense_loss = loss(family="mutants", link="softmax", tasks=("segmentation",), shift_invariant=True)


@breaks("ignored", "segmentation")
@dense_loss
def ignored_pixels_count(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    return _dice(logits, target, None)


@breaks("class weights", "segmentation")
@dense_loss
def class_weights_on_pixels(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, class_weights: Tensor | None = None
) -> Tensor:
    if class_weights is not None:
        pixels = (as_distribution(target, logits) * class_weights.reshape(-1, 1, 1)).sum(1)
        weight = pixels if weight is None else weight * pixels
    return _dice(logits, target, weight)


@breaks("ignored", "segmentation")
@dense_loss
def off_by_one_ignored_pixel(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    return _dice(logits, target, None if weight is None else weight.roll(1, -1))


@breaks("limits")
@loss(family="mutants", link="softmax", shift_invariant=True, proper=True, limits=(Limit({}, "ce", factor=2.0),))
def wrong_factor(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target)


@breaks("limits")
@loss(
    family="mutants",
    link="softmax",
    shift_invariant=True,
    proper=True,
    limits=(Limit({"smoothing": 0.1}, "custom_ce", {"smoothing": 0.1}),),
)
def smoothing_forgets_the_other_classes(logits: Tensor, target: Tensor, *, smoothing: NonNegative = 0.0) -> Tensor:
    return (1.0 - smoothing) * ce(logits, target)


@breaks("proper")
@softmax_loss
def linear_called_proper(logits: Tensor, target: Tensor) -> Tensor:
    return 1.0 - true_prob(logits, target)


@breaks("proper", "multilabel")
@loss(family="mutants", link="sigmoid", proper=True)
def positives_counted_twice(logits: Tensor, target: Tensor) -> Tensor:
    truth, logits = as_distribution(target, logits), bounded(logits)
    return (2.0 * truth * F.softplus(-logits) + (1.0 - truth) * F.softplus(logits)).sum(1)


@breaks("proper")
@softmax_loss
def slightly_smoothed(logits: Tensor, target: Tensor) -> Tensor:
    present = (logits > -torch.inf).to(logits.dtype)
    return ce(logits, 0.99 * as_distribution(target, logits) + 0.01 * present / logits.shape[1])


@breaks("proper")
@loss(family="mutants", link="softmax", shift_invariant=True)
def improper_in_words_only(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target)


@breaks("proper", "tokens")
@softmax_loss
def next_token_in_half_a_temperature(logits: Tensor, target: Tensor) -> Tensor:
    return ce(2.0 * logits, target)

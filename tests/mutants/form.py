"""Mistakes of form and arithmetic: shapes, overflow, the graph, side effects, knobs."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from mutants.contract import NonNegative, breaks, softmax_loss, true_prob
from xentlab.losses import ce
from xentlab.losses.contract import as_distribution, bounded, loss
from xentlab.schema import Range

NOISE = torch.Generator().manual_seed(0)


@breaks("shape")
@softmax_loss
def mean_inside(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target).mean()


@breaks("shape", "segmentation")
@softmax_loss
def mean_over_pixels(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target).flatten(1).mean(1)


@breaks("shape", "tokens")
@softmax_loss
def mean_over_tokens(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target).mean(1)


@breaks("shape")
@softmax_loss
def not_summed_over_classes(logits: Tensor, target: Tensor) -> Tensor:
    return -as_distribution(target, logits) * torch.log_softmax(logits, 1)


@breaks("shape")
@softmax_loss
def cast_to_float32(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits.float(), target.float() if target.is_floating_point() else target)


@breaks("shape")
@softmax_loss
def one_hot_without_num_classes(logits: Tensor, target: Tensor) -> Tensor:
    truth = target if target.is_floating_point() else F.one_hot(target)
    return -(truth * torch.log_softmax(logits, 1)).sum(1)


@breaks("shape")
@softmax_loss
def a_number_instead_of_a_tensor(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target).sum().item()  # type: ignore[return-value]


@breaks("finite")
@softmax_loss
def log_of_softmax(logits: Tensor, target: Tensor) -> Tensor:
    return -torch.log(true_prob(logits, target))


@breaks("finite")
@loss(family="mutants", link="sigmoid", proper=True)
def log_of_sigmoid(logits: Tensor, target: Tensor) -> Tensor:
    truth, probs = as_distribution(target, logits), torch.sigmoid(logits)
    return -(truth * torch.log(probs) + (1.0 - truth) * torch.log(1.0 - probs)).sum(1)


@breaks("finite")
@loss(family="mutants", link="softmax", shift_invariant=True)
def focal_infinite_at_certainty(logits: Tensor, target: Tensor, *, gamma: NonNegative = 0.5) -> Tensor:
    return (1.0 - true_prob(logits, target)) ** gamma * ce(logits, target)


@breaks("finite")
@softmax_loss
def exp_of_the_logits(logits: Tensor, target: Tensor) -> Tensor:
    return torch.log(torch.exp(logits).sum(1)) - (as_distribution(target, logits) * logits).sum(1)


@breaks("finite")
@softmax_loss
def cut_from_the_graph(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits.detach(), target)


@breaks("finite")
@loss(family="mutants", link="softmax", shift_invariant=True)
def share_of_nothing(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target) / ce(logits, torch.full_like(logits, 1.0 / logits.shape[1]))


@breaks("nan")
@loss(family="mutants", link="softmax", shift_invariant=True)
def nothing_wrong_where_nothing_is_known(logits: Tensor, target: Tensor) -> Tensor:
    values = ce(logits, target)
    return torch.where(values > 0, values.clamp_min(1e-9) ** 0.75, 0.0)


@breaks("masked")
@softmax_loss
def one_hot_times_minus_infinity(logits: Tensor, target: Tensor) -> Tensor:
    return -(as_distribution(target, logits) * torch.log_softmax(logits, 1)).sum(1)


@breaks("masked")
@loss(family="mutants", link="softmax", shift_invariant=True)
def masked_class_smoothed(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(
        logits, target.to(logits.dtype) if target.is_floating_point() else target, reduction="none", label_smoothing=0.1
    )


@breaks("shape")
@softmax_loss
def promoted_by_its_target(logits: Tensor, target: Tensor) -> Tensor:
    truth = target if target.shape == logits.shape else as_distribution(target, logits)
    return torch.logsumexp(logits, 1) * truth.sum(1) - (truth * logits).sum(1)


@breaks("finite")
@softmax_loss
def fails_on_an_empty_batch(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits - logits.detach().max(), target)


@breaks("refusal")
@softmax_loss
def minus_100_is_worth_nothing(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target) if target.is_floating_point() else F.cross_entropy(logits, target, reduction="none")


@breaks("refusal", "multiclass")
@softmax_loss
def whole_numbers_are_shares(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target.to(logits.dtype) if target.shape == logits.shape else target)


@breaks("knob ranges")
@loss(family="mutants", link="softmax", shift_invariant=True)
def one_minus_a_number_near_one(
    logits: Tensor, target: Tensor, *, beta: Annotated[float, Range(0, 1, open_high=True)] = 0.5
) -> Tensor:
    return ce(logits, target) / (1.0 - torch.as_tensor(beta, dtype=logits.dtype)) ** 2


@breaks("autocast")
@softmax_loss
def focal_cut_just_below_one(logits: Tensor, target: Tensor, *, gamma: NonNegative = 0.0) -> Tensor:
    log_q = bounded(logits - torch.logsumexp(logits, 1, keepdim=True))
    log_rest = torch.log1p(-torch.exp(log_q).clamp(max=1 - 1e-6))  # which is 1 in bfloat16
    return -(as_distribution(target, logits) * torch.exp(gamma * log_rest) * log_q).sum(1)


@breaks("gradient")
@loss(family="mutants", link="softmax", shift_invariant=True)
def weight_without_gradient(logits: Tensor, target: Tensor) -> Tensor:
    return (1.0 - true_prob(logits, target)).detach() * ce(logits, target)


@breaks("pure")
@softmax_loss
def logits_changed_in_place(logits: Tensor, target: Tensor) -> Tensor:
    logits -= logits.detach().amax(1, keepdim=True)
    return ce(logits, target)


@breaks("pure", "multilabel")
@softmax_loss
def target_changed_in_place(logits: Tensor, target: Tensor) -> Tensor:
    values = ce(logits, target)
    target *= 0.9
    return values


@breaks("pure")
@softmax_loss
def noise_in_the_value(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target) * (1.0 + 0.01 * torch.rand((), generator=NOISE))


@breaks("refusal")
@softmax_loss
def target_broadcast(logits: Tensor, target: Tensor) -> Tensor:
    truth = target.to(logits.dtype) if target.is_floating_point() else as_distribution(target, logits)
    return -(truth * bounded(torch.log_softmax(logits, 1))).sum(1)


@breaks("refusal", "segmentation")
@loss(family="mutants", link="softmax", shift_invariant=True, proper=True, float_targets=False)
def zero_for_a_class_that_does_not_exist(logits: Tensor, target: Tensor) -> Tensor:
    classes = torch.arange(logits.shape[1]).reshape(1, -1, 1, 1)
    return -((classes == target.unsqueeze(1)) * bounded(torch.log_softmax(logits, 1))).sum(1)


@breaks("knob ranges")
@softmax_loss
def temperature_may_be_zero(logits: Tensor, target: Tensor, *, temperature: NonNegative = 1.0) -> Tensor:
    return ce(logits / temperature, target)


@breaks("stacked knobs")
@loss(family="mutants", link="softmax", shift_invariant=True)
def python_branch_on_a_knob(logits: Tensor, target: Tensor, *, epsilon: NonNegative = 1.0) -> Tensor:
    values = ce(logits, target)
    return values + epsilon * (1.0 - true_prob(logits, target)) if epsilon > 0.5 else values


@breaks("stacked knobs")
@softmax_loss
def item_of_a_knob(
    logits: Tensor, target: Tensor, *, temperature: Annotated[float, Range(0, None, open_low=True)] = 1.0
) -> Tensor:
    return ce(logits / torch.as_tensor(temperature).item(), target)


@breaks("stacked inputs")
@loss(family="mutants", link="softmax", shift_invariant=True, proper=True, float_targets=False)
def boolean_mask(logits: Tensor, target: Tensor) -> Tensor:
    if target.shape != logits.shape[:1] or target.is_floating_point():
        raise ValueError("class indices [N]")
    return -torch.log_softmax(logits, 1)[as_distribution(target, logits).bool()]

"""Broken losses: each has one mistake that is made in practice, and names the law that is there to catch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab.losses import ce
from xentlab.losses.contract import Limit, as_distribution, loss
from xentlab.schema import Range


@dataclass(frozen=True)
class Mutant:
    """A loss with a mistake.

    Attributes:
        function: the loss.
        law: the one that must be broken.
        task: on which it is looked at.
    """

    function: Callable[..., Tensor]
    law: str
    task: str


MUTANTS: dict[str, Mutant] = {}
NonNegative = Annotated[float, Range(0, None)]
softmax_loss = loss(family="mutants", link="softmax", shift_invariant=True, proper=True)


def breaks(law: str, task: str = "multiclass") -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Enter a mutant with the law that must catch it."""

    def enter(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        MUTANTS[function.__name__] = Mutant(function, law, task)
        return function

    return enter


def true_prob(logits: Tensor, target: Tensor) -> Tensor:
    return (as_distribution(target, logits) * torch.softmax(logits, 1)).sum(1)


@breaks("shape")
@softmax_loss
def mean_inside(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target).mean()


@breaks("shape", "segmentation")
@softmax_loss
def mean_over_pixels(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target).flatten(1).mean(1)


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


@breaks("autocast")
@softmax_loss
def focal_cut_just_below_one(logits: Tensor, target: Tensor, *, gamma: NonNegative = 0.0) -> Tensor:
    log_q = logits - torch.logsumexp(logits, 1, keepdim=True)
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
    return ce(logits, target) * (1.0 + 0.01 * torch.rand(()))


@breaks("refusal")
@softmax_loss
def target_broadcast(logits: Tensor, target: Tensor) -> Tensor:
    truth = target if target.is_floating_point() else as_distribution(target, logits)
    return -(truth * torch.log_softmax(logits, 1)).sum(1)


@breaks("refusal", "segmentation")
@loss(family="mutants", link="softmax", shift_invariant=True, proper=True, soft=False)
def zero_for_a_class_that_does_not_exist(logits: Tensor, target: Tensor) -> Tensor:
    classes = torch.arange(logits.shape[1]).reshape(1, -1, 1, 1)
    return -((classes == target.unsqueeze(1)) * torch.log_softmax(logits, 1)).sum(1)


@breaks("knob ranges")
@softmax_loss
def temperature_may_be_zero(logits: Tensor, target: Tensor, *, temperature: NonNegative = 1.0) -> Tensor:
    return ce(logits / temperature, target)


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
@loss(family="mutants", link="softmax", shift_invariant=True, proper=True, soft=False)
def boolean_mask(logits: Tensor, target: Tensor) -> Tensor:
    if target.shape != logits.shape[:1] or target.is_floating_point():
        raise ValueError("class indices [N]")
    return -torch.log_softmax(logits, 1)[as_distribution(target, logits).bool()]


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
    truth = as_distribution(target, logits)
    return (2.0 * truth * F.softplus(-logits) + (1.0 - truth) * F.softplus(logits)).sum(1)


@breaks("proper")
@softmax_loss
def slightly_smoothed(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, 0.99 * as_distribution(target, logits) + 0.01 / logits.shape[1])


@breaks("proper")
@loss(family="mutants", link="softmax", shift_invariant=True)
def improper_in_words_only(logits: Tensor, target: Tensor) -> Tensor:
    return ce(logits, target)

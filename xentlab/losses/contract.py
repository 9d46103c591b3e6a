"""What a loss is: the contract that every function of the catalogue, and every user's own loss, obeys.

    loss(logits, target[, weight][, class_counts], *, knobs) -> values

`logits` [N, C] or [N, C, H, W]. `target` int64 class indices [N] or [N, H, W], or floats shaped like `logits` (a
distribution, or n-hot labels). `values` per element, [N] or [N, H, W]; never reduced. A loss of a whole image (Dice,
Lovasz) returns [N], and takes `weight` [N, H, W] or None after the target: the weight of each pixel, 0 where it is
ignored. A loss that depends on how often classes occur takes `class_counts` [C], from the training set.

No Python branch on a float knob, no `.item()`, no boolean-mask indexing: a loss must `torch.vmap` over its knobs. It is
finite, value and gradient, at logits of +-1e4 in float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

Link = Literal["softmax", "sigmoid", "identity"]
LossFunction = Callable[..., Tensor]


@dataclass(frozen=True)
class Limit:
    """A case in which a loss is another: `loss(knobs) = factor * other(other_knobs) + offset`, to `rtol`.

    Attributes:
        knobs: of this loss; the rest stay at their defaults.
        equals: name of the other loss in `xentlab.losses`.
        other_knobs: of the other loss.
        factor: see above.
        offset: see above.
        binary: holds for two classes only.
        rtol: how close; looser than 1e-9 only for a knob that approaches its limit, such as `q = 1e-7`.
    """

    knobs: Mapping[str, Any]
    equals: str
    other_knobs: Mapping[str, Any] = field(default_factory=dict)
    factor: float = 1.0
    offset: float = 0.0
    binary: bool = False
    rtol: float = 1e-9


@dataclass(frozen=True)
class LossSpec:
    """What a loss declares beside its formula; the laws hold it to every word.

    Attributes:
        family: the module's theme, for lists.
        link: turns its logits into the probabilities that it implies; `task` means softmax where one class is true and
            sigmoid where several may be.
        tasks: those on which it has a meaning.
        reference: author and year.
        soft: whether float targets (distributions, n-hot) have a meaning, beside class indices.
        symmetric: whether renaming the classes in logits and target alike changes nothing.
        shift_invariant: whether adding a constant to all logits of an element changes nothing.
        minimum: no value lies below it, at the default knobs and for one true class; None where there is no bound.
        proper: whether the expected loss under a distribution p is least where, and only where, link(logits) = p.
        raises_truth: whether at equal logits a gradient step raises the true class most.
        coupled: whether elements of a batch influence each other's values.
        limits: the cases in which it is another loss of the catalogue.
    """

    family: str
    link: Literal["softmax", "sigmoid", "identity", "task"]
    tasks: tuple[str, ...] = ("multiclass", "multilabel", "segmentation")
    reference: str = ""
    soft: bool = True
    symmetric: bool = True
    shift_invariant: bool = False
    minimum: float | None = 0.0
    proper: bool = False
    raises_truth: bool = True
    coupled: bool = False
    limits: tuple[Limit, ...] = ()


# A loss that declares nothing, such as a user's own, follows the task and is held to what every loss must do.
UNDECLARED = LossSpec(family="own", link="task", minimum=None)


def loss(
    *,
    family: str,
    link: Literal["softmax", "sigmoid", "identity", "task"],
    tasks: tuple[str, ...] = ("multiclass", "multilabel", "segmentation"),
    reference: str = "",
    soft: bool = True,
    symmetric: bool = True,
    shift_invariant: bool = False,
    minimum: float | None = 0.0,
    proper: bool = False,
    raises_truth: bool = True,
    coupled: bool = False,
    limits: tuple[Limit, ...] = (),
) -> Callable[[LossFunction], LossFunction]:
    """Declare what a loss is (see `LossSpec`); a decorator that returns the function itself."""
    spec = LossSpec(
        family, link, tasks, reference, soft, symmetric, shift_invariant, minimum, proper, raises_truth, coupled, limits
    )

    def declare(function: LossFunction) -> LossFunction:
        function.spec = spec  # type: ignore[attr-defined]
        return function

    return declare


def spec_of(function: Callable[..., Any]) -> LossSpec:
    """What `function` (or a partial of it) declares, or `UNDECLARED`."""
    while isinstance(function, functools.partial):
        function = function.func
    found: LossSpec = getattr(function, "spec", UNDECLARED)
    return found


def as_distribution(target: Tensor, logits: Tensor) -> Tensor:
    """The target as floats shaped like `logits`: class indices become one-hot along axis 1, floats stay as they are.

    Raises:
        ValueError: the target's shape does not belong to these logits; broadcasting would hide it.
    """
    wanted = logits.shape if target.is_floating_point() else logits.shape[:1] + logits.shape[2:]
    if target.shape != wanted:
        raise ValueError(
            f"target must have shape {tuple(wanted)} for logits {tuple(logits.shape)}, got {tuple(target.shape)}."
        )
    if target.is_floating_point():
        return target.to(logits.dtype)
    # A scatter and no one_hot: that one fails where only the gradient is vmapped. A class that does not exist raises.
    return torch.zeros_like(logits).scatter(1, target.long().unsqueeze(1), 1.0)

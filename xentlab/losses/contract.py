"""What a loss is: the contract that every function of the catalogue, and every user's own loss, obeys.

    loss(logits, target, *, knobs) -> values

`logits` [N, C] or [N, C, H, W]. `target` int64 class indices [N] or [N, H, W], or floats shaped like `logits` (a
distribution, or n-hot labels). `values` per element, [N] or [N, H, W]; never reduced. No Python branch on a float knob,
no `.item()`, no boolean-mask indexing: a loss must `torch.vmap` over its knobs. It is finite, value and gradient, at
logits of +-1e4 in float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Link = Literal["softmax", "sigmoid", "identity"]
LossFunction = Callable[..., Tensor]


@dataclass(frozen=True)
class LossSpec:
    """What a loss declares beside its formula.

    `link` turns its logits into the probabilities that it implies; `task` means softmax where one class is true and
    sigmoid where several may be. `tasks` are those on which it has a meaning.
    """

    family: str
    link: Literal["softmax", "sigmoid", "identity", "task"]
    tasks: tuple[str, ...] = ("multiclass", "multilabel", "segmentation")


# A loss that declares nothing, such as a user's own, follows the task.
UNDECLARED = LossSpec(family="own", link="task")


def loss(
    *,
    family: str,
    link: Literal["softmax", "sigmoid", "identity", "task"],
    tasks: tuple[str, ...] = ("multiclass", "multilabel", "segmentation"),
) -> Callable[[LossFunction], LossFunction]:
    """Declare the family, link and tasks of a loss; a decorator that returns the function itself."""

    def declare(function: LossFunction) -> LossFunction:
        function.spec = LossSpec(family, link, tasks)  # type: ignore[attr-defined]
        return function

    return declare


def spec_of(function: Callable[..., Any]) -> LossSpec:
    """What `function` (or a partial of it) declares, or `UNDECLARED`."""
    while isinstance(function, functools.partial):
        function = function.func
    found: LossSpec = getattr(function, "spec", UNDECLARED)
    return found


def as_distribution(target: Tensor, logits: Tensor) -> Tensor:
    """The target as floats shaped like `logits`: class indices become one-hot along axis 1, floats stay as they are."""
    if target.is_floating_point():
        return target.to(logits.dtype)
    one_hot = F.one_hot(target.long(), num_classes=logits.shape[1])
    return torch.movedim(one_hot, -1, 1).to(logits.dtype)

"""What a mutant is, and the list of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from xentlab.losses.contract import as_distribution, loss
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

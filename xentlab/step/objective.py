"""The objective of one trial on one batch: weighted mean of the loss plus a penalty on the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

Facts = Mapping[str, Tensor]
"""What a training set (after training, the validation set) tells, by name; [R, ...] of a stack."""


class Given(NamedTuple):
    """What the objective is told of a trial beside its batch; of a stack, R values of each."""

    loss_knobs: dict[str, Any]
    penalty_knobs: dict[str, Any]
    facts: Facts

    def of(self, row: int) -> Given:
        """What it is told of one trial of a stack."""
        return Given(*({name: values[row] for name, values in part.items()} for part in self))


@dataclass(frozen=True)
class Objective:
    """Weighted mean of the loss plus a penalty on the weights.

    Attributes:
        loss: `(logits, target, facts, knobs) -> scalar`, the data term of one trial; `facts` are what its training set
            tells about the classes, by name [C].
        penalty: `(weights, **knobs) -> scalar` over one trial's weight tensors, or None.
        mass: `(target, facts) -> scalar`, what a batch weighs beside others in the mean over all of them.
        autocast: forward in bfloat16; losses and updates stay in the parameters' precision.
        window: side of the windows by which images are shown where nothing is trained; None: whole.
    """

    loss: Callable[[Tensor, Tensor, Facts, dict[str, Any]], Tensor]
    penalty: Callable[..., Tensor] | None
    mass: Callable[[Tensor, Facts], Tensor]
    autocast: bool = False
    window: int | None = None

    def __call__(
        self,
        forward: Callable[[Tensor], Tensor],
        weights: Sequence[Tensor],
        given: Given,
        inputs: Tensor,
        target: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        """The two terms of one trial on one batch: (data term, penalty or None), scalars."""
        with torch.autocast(inputs.device.type, torch.bfloat16) if self.autocast else contextlib.nullcontext():
            logits = forward(inputs)
        data = self.loss(full_precision(logits), target, given.facts, given.loss_knobs)
        return data, self.penalty(weights, **given.penalty_knobs) if self.penalty else None


def full_precision(outputs: Tensor) -> Tensor:
    """What an autocast left in half precision in float32; all else as it is, whatever the inputs were."""
    return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs


def weighted_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """`sum w v / sum w` over all elements: PyTorch's `reduction="mean"` with `weight` and `ignore_index`.

    0 where every weight is 0, so that a batch without a valid pixel moves nothing.
    """
    if weight is None:
        return values.mean()
    weight = weight.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp_min(torch.finfo(values.dtype).tiny)

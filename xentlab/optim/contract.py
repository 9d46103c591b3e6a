"""What an optimizer declares, and the arithmetic that all share: of floats, or of one value for each row."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from xentlab.dotted import behind
from xentlab.schema import Range

Number = float | Tensor
Rate = Annotated[Number, Range(0, None, open_low=True)]
Decay = Annotated[Number, Range(0, None)]
Average = Annotated[Number, Range(0, 1, open_high=True)]
Optimizer = Callable[..., None]


def optimizer(*buffers: str, needed_by: str | None = None) -> Callable[[Optimizer], Optimizer]:
    """Declare the state that an optimizer keeps: one tensor [R, P] of zeros for each name.

    Args:
        buffers: the names, as the optimizer finds them in `state`.
        needed_by: a knob that makes all of them needless where it is the Python float 0.
    """

    def declare(function: Optimizer) -> Optimizer:
        function.buffers = buffers  # type: ignore[attr-defined]
        function.needed_by = needed_by  # type: ignore[attr-defined]
        return function

    return declare


def optimizer_state(function: Optimizer, params: Tensor, knobs: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
    """The state before step 1: a zero tensor like `params` [R, P] for each buffer that the optimizer needs.

    Args:
        function: an optimizer, or a `functools.partial` of one.
        params: the stacked parameters [R, P].
        knobs: the knobs that the steps will pass, over those bound in the partial.
    """
    bound, function = getattr(function, "keywords", {}), behind(function)
    needed_by: str | None = getattr(function, "needed_by", None)
    if needed_by is not None:
        default = inspect.signature(function).parameters[needed_by].default
        if is_zero({needed_by: default, **bound, **(knobs or {})}[needed_by]):
            return {}
    return {name: torch.zeros_like(params) for name in getattr(function, "buffers", ())}


def shrink(params: Tensor, lr: Number, weight_decay: Number) -> None:
    """Decay apart from the gradient: params *= 1 - lr weight_decay."""
    if not is_zero(weight_decay):
        params.mul_(in_precision(params, 1 - lr * weight_decay))


def add_weight_decay(params: Tensor, grads: Tensor, weight_decay: Number) -> None:
    """Decay in the gradient: grads += weight_decay params."""
    if not is_zero(weight_decay):
        add_scaled(grads, params, weight_decay, out=grads)


def add_scaled(base: Tensor, other: Tensor, factor: Number, *, out: Tensor) -> None:
    """out = base + factor other, in one pass over memory."""
    if isinstance(factor, Tensor):
        torch.addcmul(base, other, in_precision(base, factor), out=out)
    else:
        torch.add(base, other, alpha=factor, out=out)


def descend(params: Tensor, update: Tensor, lr: Number) -> None:
    """params -= lr update."""
    if isinstance(lr, Tensor):
        params.addcmul_(update, in_precision(params, lr), value=-1)
    else:
        params.add_(update, alpha=-lr)


def is_zero(knob: Number) -> bool:
    """Whether it is the float 0: a tensor may hold zeros in some rows, and looking would wait for the device."""
    return not isinstance(knob, Tensor) and knob == 0


def in_precision(params: Tensor, knob: Number) -> Any:
    """A knob in the parameters' dtype: knobs may come in float64, so that 1 - beta keeps its digits."""
    return knob.to(params.dtype) if isinstance(knob, Tensor) else knob

"""Optimizers that act in place on flat stacked parameters [R, P]; and the clipping of gradients.

Each equals its namesake in `torch.optim`, Lion the paper, row by row. A knob is a Python float, equal for all rows, or
a float64 tensor [R, 1]; both give a row the same bits.
Python branches look at Python floats only, so nothing waits for the device.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

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
    bound: dict[str, Any] = {}
    while isinstance(function, functools.partial):
        bound = {**function.keywords, **bound}
        function = function.func
    needed_by: str | None = getattr(function, "needed_by", None)
    if needed_by is not None:
        default = inspect.signature(function).parameters[needed_by].default
        if _is_zero({needed_by: default, **bound, **(knobs or {})}[needed_by]):
            return {}
    return {name: torch.zeros_like(params) for name in getattr(function, "buffers", ())}


@optimizer("momentum_buffer", needed_by="momentum")
def sgd(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    step: int,  # noqa: ARG001 - part of the contract
    *,
    lr: Rate = 0.05,
    momentum: Average = 0.9,
    nesterov: bool = False,
    weight_decay: Decay = 0.0,
) -> None:
    """Stochastic gradient descent on `params` [R, P] in place, with momentum: b = momentum b + g, params -= lr b.

    Args:
        params: the parameters [R, P].
        grads: their gradients [R, P]; overwritten.
        state: from `optimizer_state`; updated.
        step: counts from 1; without influence here.
        lr: learning rate, > 0, times the schedule's factor.
        momentum: part of the last update that is kept, in [0, 1).
        nesterov: step along g + momentum b instead of b.
        weight_decay: adds weight_decay * params to the gradient, >= 0.

    Reference: Sutskever, Martens, Dahl, Hinton, On the importance of initialization and momentum in deep learning,
    2013.
    """
    _add_weight_decay(params, grads, weight_decay)
    update = grads
    if not _is_zero(momentum):
        buffer = state["momentum_buffer"]
        _add_scaled(grads, buffer, momentum, out=buffer)
        if nesterov:
            _add_scaled(grads, buffer, momentum, out=grads)
        else:
            update = buffer
    _descend(params, update, lr)


@optimizer("mean", "mean_square")
def adam(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    step: int,
    *,
    lr: Rate = 1e-3,
    beta1: Average = 0.9,
    beta2: Average = 0.999,
    eps: Rate = 1e-8,
    weight_decay: Decay = 0.0,
) -> None:
    """Adam on `params` [R, P] in place, with the weight decay in the gradient (L2).

    Args:
        params: the parameters [R, P].
        grads: their gradients [R, P]; overwritten.
        state: from `optimizer_state`; updated.
        step: counts from 1.
        lr: learning rate, > 0, times the schedule's factor.
        beta1: part of the running mean of gradients that is kept, in [0, 1).
        beta2: part of the running mean of squared gradients that is kept, in [0, 1).
        eps: added to the root of the mean square, > 0.
        weight_decay: adds weight_decay * params to the gradient, >= 0.

    Reference: Kingma, Ba, Adam: a method for stochastic optimization, 2015.
    """
    _add_weight_decay(params, grads, weight_decay)
    _adam_update(params, grads, state, step, lr, beta1, beta2, eps)


@optimizer("mean", "mean_square")
def adamw(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    step: int,
    *,
    lr: Rate = 1e-3,
    beta1: Average = 0.9,
    beta2: Average = 0.999,
    eps: Rate = 1e-8,
    weight_decay: Decay = 0.01,
) -> None:
    """Adam on `params` [R, P] in place, with the weight decay apart from the gradient: params *= 1 - lr weight_decay.

    Args:
        params: the parameters [R, P].
        grads: their gradients [R, P]; overwritten.
        state: from `optimizer_state`; updated.
        step: counts from 1.
        lr: learning rate, > 0, times the schedule's factor.
        beta1: part of the running mean of gradients that is kept, in [0, 1).
        beta2: part of the running mean of squared gradients that is kept, in [0, 1).
        eps: added to the root of the mean square, > 0.
        weight_decay: per unit of learning rate, >= 0.

    Reference: Loshchilov, Hutter, Decoupled weight decay regularization, 2019.
    """
    _shrink(params, lr, weight_decay)
    _adam_update(params, grads, state, step, lr, beta1, beta2, eps)


@optimizer("mean")
def lion(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    step: int,  # noqa: ARG001 - part of the contract
    *,
    lr: Rate = 1e-4,
    beta1: Average = 0.9,
    beta2: Average = 0.99,
    weight_decay: Decay = 0.0,
) -> None:
    """Lion on `params` [R, P] in place: a step of one size, along the sign of a running mean; decay as in `adamw`.

    Args:
        params: the parameters [R, P].
        grads: their gradients [R, P]; overwritten.
        state: from `optimizer_state`; updated.
        step: counts from 1; without influence here.
        lr: learning rate, > 0, times the schedule's factor.
        beta1: part of the mean in what the sign is taken of, in [0, 1).
        beta2: part of the running mean of gradients that is kept, in [0, 1).
        weight_decay: per unit of learning rate, >= 0.

    Reference: Chen et al., Symbolic discovery of optimization algorithms, 2023.
    """
    _shrink(params, lr, weight_decay)
    mean = state["mean"]
    _descend(params, torch.lerp(mean, grads, _as(params, 1 - beta1)).sign_(), lr)
    mean.lerp_(grads, _as(params, 1 - beta2))


@optimizer("mean_square", "momentum_buffer")
def rmsprop(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    step: int,  # noqa: ARG001 - part of the contract
    *,
    lr: Rate = 0.01,
    alpha: Average = 0.99,
    momentum: Average = 0.0,
    eps: Rate = 1e-8,
    weight_decay: Decay = 0.0,
) -> None:
    """RMSprop on `params` [R, P] in place: the gradient over the root of its running mean square.

    Args:
        params: the parameters [R, P].
        grads: their gradients [R, P]; overwritten.
        state: from `optimizer_state`; updated.
        step: counts from 1; without influence here.
        lr: learning rate, > 0, times the schedule's factor.
        alpha: part of the running mean of squared gradients that is kept, in [0, 1).
        momentum: part of the last update that is kept, in [0, 1).
        eps: added to the root of the mean square, > 0.
        weight_decay: adds weight_decay * params to the gradient, >= 0.

    Reference: Tieleman, Hinton, Lecture 6.5: rmsprop, 2012.
    """
    _add_weight_decay(params, grads, weight_decay)
    mean_square, update = state["mean_square"], state["momentum_buffer"]
    mean_square.lerp_(grads * grads, _as(params, 1 - alpha))
    _add_scaled(grads.div_(mean_square.sqrt().add_(_as(params, eps))), update, momentum, out=update)
    _descend(params, update, lr)


@optimizer("sum_of_squares")
def adagrad(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    step: int,  # noqa: ARG001 - part of the contract
    *,
    lr: Rate = 0.01,
    eps: Rate = 1e-10,
    weight_decay: Decay = 0.0,
) -> None:
    """Adagrad on `params` [R, P] in place: the gradient over the root of the sum of all its squares so far.

    Args:
        params: the parameters [R, P].
        grads: their gradients [R, P]; overwritten.
        state: from `optimizer_state`; updated.
        step: counts from 1; without influence here.
        lr: learning rate, > 0, times the schedule's factor.
        eps: added to the root, > 0.
        weight_decay: adds weight_decay * params to the gradient, >= 0.

    Reference: Duchi, Hazan, Singer, Adaptive subgradient methods for online learning and stochastic optimization, 2011.
    """
    _add_weight_decay(params, grads, weight_decay)
    total = state["sum_of_squares"].addcmul_(grads, grads)
    _descend(params, grads.div_(total.sqrt().add_(_as(params, eps))), lr)


def clip_norm(grads: Tensor, max_norm: Number) -> Tensor:
    """Scale each row of `grads` [R, P] in place so that its Euclidean norm is at most `max_norm`.

    Args:
        grads: the gradients [R, P] of R trials.
        max_norm: > 0, a float or a tensor [R, 1].

    Returns:
        The norms before clipping [R].
    """
    norms = torch.linalg.vector_norm(grads, dim=1, keepdim=True)
    # 1e-6 as in torch.nn.utils.clip_grad_norm_, so that a row of zeros stays one.
    grads.mul_(((norms + 1e-6).reciprocal_() * _as(grads, max_norm)).clamp_(max=1.0))
    return norms.squeeze(1)


def _adam_update(
    params: Tensor,
    grads: Tensor,
    state: dict[str, Tensor],
    step: int,
    lr: Number,
    beta1: Number,
    beta2: Number,
    eps: Number,
) -> None:
    mean, mean_square = state["mean"], state["mean_square"]
    mean.lerp_(grads, _as(params, 1 - beta1))
    mean_square.lerp_(grads.mul_(grads), _as(params, 1 - beta2))
    # Both bias corrections act on numbers [R, 1], not on [R, P]:
    # lr (mean / c1) / (sqrt(mean_square / c2) + eps) = (lr root / c1) mean / (sqrt(mean_square) + eps root).
    left = 1 - _power(beta2, step)
    root = left.sqrt() if isinstance(left, Tensor) else math.sqrt(left)
    rate = lr * root / (1 - _power(beta1, step))
    denominator = torch.sqrt(mean_square, out=grads).add_(_as(params, eps * root))
    _descend(params, torch.div(mean, denominator, out=grads), rate)


def _power(base: Number, exponent: int) -> Number:
    # Products alone, which round alike everywhere: a row has the same bits alone and beside others.
    power: Number = 1.0
    while exponent:
        if exponent & 1:
            power = power * base
        base, exponent = base * base, exponent >> 1
    return power


def _shrink(params: Tensor, lr: Number, weight_decay: Number) -> None:
    if not _is_zero(weight_decay):
        params.mul_(_as(params, 1 - lr * weight_decay))


def _add_weight_decay(params: Tensor, grads: Tensor, weight_decay: Number) -> None:
    if not _is_zero(weight_decay):
        _add_scaled(grads, params, weight_decay, out=grads)


def _add_scaled(base: Tensor, other: Tensor, factor: Number, *, out: Tensor) -> None:
    # One pass over memory: out = base + factor * other.
    if isinstance(factor, Tensor):
        torch.addcmul(base, other, _as(base, factor), out=out)
    else:
        torch.add(base, other, alpha=factor, out=out)


def _descend(params: Tensor, update: Tensor, lr: Number) -> None:
    if isinstance(lr, Tensor):
        params.addcmul_(update, _as(params, lr), value=-1)
    else:
        params.add_(update, alpha=-lr)


def _is_zero(knob: Number) -> bool:
    # A tensor may hold zeros in some rows, and looking would wait for the device.
    return not isinstance(knob, Tensor) and knob == 0


def _as(params: Tensor, knob: Number) -> Any:
    # Knobs may come in float64, so that 1 - beta keeps its digits; the parameters' dtype is the one of the arithmetic.
    return knob.to(params.dtype) if isinstance(knob, Tensor) else knob

"""Optimizers that act in place on flat stacked parameters [R, P]; and the clipping of gradients.

Each equals its namesake in `torch.optim`, Lion the paper, row by row. A knob gives a row the same bits as a Python
float, equal for all rows, and as a float64 tensor [R, 1]. Python branches look at Python floats only, so nothing waits
for the device.
"""

import math

import torch
from torch import Tensor

from xentlab.optim.contract import (
    Average,
    Decay,
    Number,
    Rate,
    add_scaled,
    add_weight_decay,
    descend,
    in_precision,
    is_zero,
    optimizer,
    shrink,
)  # fmt: skip


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
        lr: learning rate, > 0, times the schedule's factor.
        momentum: part of the last update that is kept, in [0, 1).
        nesterov: step along g + momentum b instead of b.
        weight_decay: adds weight_decay * params to the gradient, >= 0.

    Reference: Sutskever, Martens, Dahl, Hinton, On the importance of initialization and momentum in deep learning,
    2013.
    """
    add_weight_decay(params, grads, weight_decay)
    update = grads
    if not is_zero(momentum):
        buffer = state["momentum_buffer"]
        add_scaled(grads, buffer, momentum, out=buffer)
        if nesterov:
            add_scaled(grads, buffer, momentum, out=grads)
        else:
            update = buffer
    descend(params, update, lr)


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
        lr: learning rate, > 0, times the schedule's factor.
        beta1: part of the running mean of gradients that is kept, in [0, 1).
        beta2: part of the running mean of squared gradients that is kept, in [0, 1).
        eps: added to the root of the mean square, > 0.
        weight_decay: adds weight_decay * params to the gradient, >= 0.

    Reference: Kingma, Ba, Adam: a method for stochastic optimization, 2015.
    """
    add_weight_decay(params, grads, weight_decay)
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
        lr: learning rate, > 0, times the schedule's factor.
        beta1, beta2, eps: as in `adam`.
        weight_decay: per unit of learning rate, >= 0.

    Reference: Loshchilov, Hutter, Decoupled weight decay regularization, 2019.
    """
    shrink(params, lr, weight_decay)
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
        lr: learning rate, > 0, times the schedule's factor.
        beta1: part of the mean in what the sign is taken of, in [0, 1).
        beta2: part of the running mean of gradients that is kept, in [0, 1).
        weight_decay: per unit of learning rate, >= 0.

    Reference: Chen et al., Symbolic discovery of optimization algorithms, 2023.
    """
    shrink(params, lr, weight_decay)
    mean = state["mean"]
    descend(params, torch.lerp(mean, grads, in_precision(params, 1 - beta1)).sign_(), lr)
    mean.lerp_(grads, in_precision(params, 1 - beta2))


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
        lr: learning rate, > 0, times the schedule's factor.
        alpha: part of the running mean of squared gradients that is kept, in [0, 1).
        momentum: part of the last update that is kept, in [0, 1).
        eps: added to the root of the mean square, > 0.
        weight_decay: adds weight_decay * params to the gradient, >= 0.

    Reference: Tieleman, Hinton, Lecture 6.5: rmsprop, 2012.
    """
    add_weight_decay(params, grads, weight_decay)
    mean_square, update = state["mean_square"], state["momentum_buffer"]
    mean_square.lerp_(grads * grads, in_precision(params, 1 - alpha))
    add_scaled(grads.div_(mean_square.sqrt().add_(in_precision(params, eps))), update, momentum, out=update)
    descend(params, update, lr)


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
        lr: learning rate, > 0, times the schedule's factor.
        eps: added to the root, > 0.
        weight_decay: adds weight_decay * params to the gradient, >= 0.

    Reference: Duchi, Hazan, Singer, Adaptive subgradient methods for online learning and stochastic optimization, 2011.
    """
    add_weight_decay(params, grads, weight_decay)
    total = state["sum_of_squares"].addcmul_(grads, grads)
    descend(params, grads.div_(total.sqrt().add_(in_precision(params, eps))), lr)


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
    grads.mul_(((norms + 1e-6).reciprocal_() * in_precision(grads, max_norm)).clamp_(max=1.0))
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
    mean.lerp_(grads, in_precision(params, 1 - beta1))
    mean_square.lerp_(grads.mul_(grads), in_precision(params, 1 - beta2))
    # Both bias corrections act on numbers [R, 1], not on [R, P]:
    # lr (mean / c1) / (sqrt(mean_square / c2) + eps) = (lr root / c1) mean / (sqrt(mean_square) + eps root).
    left = 1 - _power(beta2, step)
    root = left.sqrt() if isinstance(left, Tensor) else math.sqrt(left)
    rate = lr * root / (1 - _power(beta1, step))
    denominator = torch.sqrt(mean_square, out=grads).add_(in_precision(params, eps * root))
    descend(params, torch.div(mean, denominator, out=grads), rate)


def _power(base: Number, exponent: int) -> Number:
    # Products alone, which round alike everywhere: a row has the same bits alone and beside others.
    power: Number = 1.0
    while exponent:
        if exponent & 1:
            power = power * base
        base, exponent = base * base, exponent >> 1
    return power

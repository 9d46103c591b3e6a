"""What a softmax says of the true class: its log-likelihood and its log-odds.

The log-likelihood has a backward pass of its own. PyTorch's `cross_entropy` builds a gradient of the log-probabilities
shaped like the logits and from it one of the logits; here the second is written at once, `q sum_c t_c - t`: less time
and memory. Equal by law to the plain form, under `vmap` and for second derivatives as well.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab.losses.contract import bounded, fitting, of_truth
from xentlab.tasks.links import log_softmax

_FEW = 2**13


def log_likelihood(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """`sum_c t_c log softmax(z)_c` of every element [N, ...], in nats, and all `log softmax(z)_c` [N, C, ...].

    The target is class indices [N, ...], or floats shaped like `logits`; `fitting` refuses any other.
    """
    return _LogLikelihood.apply(logits, fitting(target, logits))


def log_odds(logits: Tensor, target: Tensor) -> Tensor:
    """`log(q_y / (1 - q_y))` of each element's true class y, with `q = softmax(z)`: `z_y - log sum_{c != y} exp(z_c)`.

    Its log-sigmoid is `log q_y`, and that of its negative `log(1 - q_y)`, exact where a probability rounds to 0 or 1.
    Where no other class is left, it is a large number. Of logits [N, C, ...] and class indices [N, ...]: [N, 1, ...].
    """
    own, others = set_apart(logits, fitting(target, logits).unsqueeze(1))
    return own - others


def set_apart(logits: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of the classes `index` [N, K, ...], and `log sum_c exp(z_c)` over all other classes [N, 1, ...]."""
    compiling = torch.compiler.is_compiling()  # which cannot trace the question after it
    if logits.numel() < _FEW and not compiling and not torch._C._functorch.is_functorch_wrapped_tensor(logits):
        # Python's part in a backward pass of one's own, which a stack's tape drops, would be dearer than what it saves.
        return logits.gather(1, index), torch.logsumexp(_without(logits, index), dim=1, keepdim=True)
    own, others = _SetApart.apply(logits, index)
    return own, others


def focal_terms(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each class's share of the truth, and there `log q_c` and `log(1 - q_c)` with `q = softmax(z)`: see `of_truth`."""
    if not target.is_floating_point():
        odds = log_odds(logits, target)
        return logits.new_ones(()), F.logsigmoid(odds), F.logsigmoid(-odds)
    log_q = log_softmax(logits)
    return of_truth(target, logits, log_q, log_complement(logits, log_q))  # type: ignore[return-value]


def log_complement(logits: Tensor, log_probs: Tensor) -> Tensor:
    """`log(1 - softmax(z)_c)` for every class, shaped like `logits` [N, C, ...], exact where a probability rounds to 1.

    Only the largest class can come close to certainty; its complement is the log-sum-exp of the others. For the rest
    `log1p(-p)` is safe. The naive form has NaN gradients at certainty.
    """
    _, top = leading(logits)
    _, others = set_apart(log_probs, top)
    # No second probability passes 1/2; bfloat16 alone could round one to 1, whose complement has no logarithm.
    probs = torch.exp(log_probs.scatter(1, top, -torch.inf))
    return torch.log1p(-probs.clamp_max(0.75) if probs.dtype == torch.bfloat16 else -probs).scatter(1, top, others)


def leading(values: Tensor) -> tuple[Tensor, Tensor]:
    """The largest along axis 1 of `values` [N, C, ...], and where the first of them stands, each [N, 1, ...].

    No gradient passes. NaN counts as the largest, and stands anywhere.
    """
    values = values.detach()
    if values.ndim == 2 or values.device.type != "cpu":
        return values.max(1, keepdim=True)
    # Of maps PyTorch compares number by number where it gives the places too.
    count = values.shape[1]
    largest = values.amax(1, keepdim=True)
    ranks = torch.arange(count, 0, -1, dtype=torch.int32).reshape(-1, *[1] * (values.ndim - 2))
    first = ((values == largest) * ranks).amax(1, keepdim=True)
    return largest, (count - first).long().clamp_max(count - 1)


class _SetApart(torch.autograd.Function):
    @staticmethod
    def forward(logits: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        rest = _without(logits, index)
        largest = rest.amax(1, keepdim=True)
        total = _exp(rest.sub_(largest)).sum(1, keepdim=True)
        return logits.gather(1, index), total.log_().add_(largest)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, own: Tensor, slope: Tensor) -> tuple[Tensor, None]:
        logits, index, others = ctx.saved_tensors
        if torch.is_grad_enabled():
            # A derivative of this derivative is wanted: nothing may be overwritten.
            grad = (_without(logits, index) - others).exp() * slope
            return grad.scatter(1, index, 0.0).scatter_add(1, index, own), None
        # What may overflow is overwritten.
        grad = _exp(logits - others) * slope
        if index.shape[1] == 1:
            return grad.scatter_(1, index, own), None
        return grad.scatter_(1, index, 0.0).scatter_add_(1, index, own), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, int | None], logits: Tensor, index: Tensor) -> Any:
        return _over_rows(_SetApart.apply, info, in_dims, logits, index)


def _without(logits: Tensor, index: Tensor) -> Tensor:
    """`logits` with a large negative number for the classes `index`; of -inf alone the gradient would be NaN."""
    return logits.scatter(1, index, max(-1e12, torch.finfo(logits.dtype).min))


def _exp(values: Tensor) -> Tensor:
    """`exp` in place, 0 for what is hardly a normal number: of smaller ones a CPU takes ten times as long."""
    least = min(torch.finfo(values.dtype).tiny, 2e-38)
    return torch.threshold_(values.clamp_min_(math.log(least) + 1.0).exp_(), 3.0 * least, 0.0)


def _over_rows(
    function: Callable[..., tuple[Tensor, ...]], info: Any, in_dims: tuple[int | None, ...], *given: Tensor
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """A function of elements under `vmap`. They are independent: R batches of N are one batch of R N."""
    rows = [
        x.expand(info.batch_size, *x.shape) if axis is None else x.movedim(axis, 0)
        for x, axis in zip(given, in_dims, strict=True)
    ]
    results = function(*(x.flatten(0, 1) for x in rows))
    return tuple(x.unflatten(0, (info.batch_size, -1)) for x in results), (0,) * len(results)


class _LogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        log_q = log_softmax(logits)
        if target.is_floating_point():
            held = bounded(log_q)  # filled in place: a third tensor of this size would be the peak of a pass
            return (held.mul_(target) if held.dtype == target.dtype else held * target).sum(1), log_q
        return log_q.gather(1, target.unsqueeze(1)).squeeze(1), log_q

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        # An output, not an intermediate: so a second derivative finds its way back to the logits.
        ctx.save_for_backward(output[1], inputs[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, slope: Tensor | None, log_slope: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        log_q, target = ctx.saved_tensors
        soft = target.is_floating_point()
        if slope is None and log_slope is None:
            return None, None
        slope = log_q.new_zeros(()).expand(log_q[:, :1].shape) if slope is None else slope.unsqueeze(1)
        pull = slope * target.sum(1, keepdim=True) if soft else slope
        if log_slope is not None:
            pull = pull + log_slope.sum(1, keepdim=True)
        if torch.is_grad_enabled():
            # A derivative of this derivative is wanted: nothing may be overwritten.
            grad = -pull * log_q.exp()
            grad = grad + slope * target if soft else grad.scatter_add(1, target.unsqueeze(1), slope)
            grad = grad if log_slope is None else grad + log_slope
        else:
            # Made from `pull`, then filled: where gradients alone are vmapped, `log_q.exp()` would lack their axis.
            grad = pull.new_empty(log_q.shape).copy_(log_q).exp_().mul_(-pull)
            grad = grad.addcmul_(slope, target) if soft else grad.scatter_add_(1, target.unsqueeze(1), slope)
            grad = grad if log_slope is None else grad.add_(log_slope)
        return grad, slope * log_q if soft and ctx.needs_input_grad[1] else None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, int | None], logits: Tensor, target: Tensor) -> Any:
        return _over_rows(log_likelihood, info, in_dims, logits, target)


_own: Any
for _own in (_SetApart, _LogLikelihood):
    # PyTorch asks for it at each call, and to find it takes as long as three calls on few numbers.
    _own.forward.__signature__ = inspect.signature(_own.forward)

"""What a softmax says of the true class: its log-likelihood and its log-odds.

The log-likelihood has a backward pass of its own. PyTorch's `cross_entropy` builds a gradient of the log-probabilities
shaped like the logits and from it one of the logits; here the second is written at once, `q sum_c t_c - t`: less time
and memory. Equal by law to the plain form, under `vmap` and for second derivatives as well.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab.losses.contract import bounded, fitting, of_truth
from xentlab.tasks.links import log_softmax


def log_likelihood(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """`sum_c t_c log softmax(z)_c` of every element [N, ...], in nats, and all `log softmax(z)_c` [N, C, ...].

    The target is class indices [N, ...], or floats shaped like `logits`; `fitting` refuses any other.
    """
    return _LogLikelihood.apply(logits, fitting(target, logits))


def log_odds(logits: Tensor, target: Tensor) -> Tensor:
    """`log(q_y / (1 - q_y))` of each element's true class y, with `q = softmax(z)`: `z_y - log sum_{c != y} exp(z_c)`.

    Its log-sigmoid is `log q_y`, and that of its negative `log(1 - q_y)`, exact where a probability rounds to 0 or 1.
    Where no other class is left, it is a large number. Of logits [N, C, ...] and class indices [N, ...]: [N, ...].
    """
    true = fitting(target, logits).unsqueeze(1)
    return logits.gather(1, true).squeeze(1) - log_sum_of_others(logits, true).squeeze(1)


def log_sum_of_others(logits: Tensor, index: Tensor) -> Tensor:
    """`log sum_c exp(z_c)` over all classes but those of `index` [N, K, ...]: [N, 1, ...]."""
    # Over no class a large negative number: -inf has a NaN gradient where it is all there is.
    return torch.logsumexp(logits.scatter(1, index, max(-1e12, torch.finfo(logits.dtype).min)), dim=1, keepdim=True)


def focal_terms(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each class's share of the truth, and there `log q_c` and `log(1 - q_c)` with `q = softmax(z)`: see `of_truth`."""
    if not target.is_floating_point():
        odds = log_odds(logits, target).unsqueeze(1)
        return logits.new_ones(()), F.logsigmoid(odds), F.logsigmoid(-odds)
    log_q = log_softmax(logits)
    return of_truth(target, logits, log_q, log_complement(logits, log_q))  # type: ignore[return-value]


def log_complement(logits: Tensor, log_probs: Tensor) -> Tensor:
    """`log(1 - softmax(z)_c)` for every class, shaped like `logits` [N, C, ...], exact where a probability rounds to 1.

    Only the largest class can come close to certainty; its complement is the log-sum-exp of the others. For the rest
    `log1p(-p)` is safe. The naive form has NaN gradients at certainty.
    """
    top = logits.max(1, keepdim=True).indices
    largest = torch.zeros_like(logits, dtype=torch.bool).scatter(1, top, True)
    others = log_sum_of_others(log_probs, top)
    # No second probability passes 1/2; bfloat16 alone could round one to 1, whose complement has no logarithm.
    probs = torch.exp(log_probs.masked_fill(largest, -torch.inf)).clamp_max(0.75)
    return torch.where(largest, others, torch.log1p(-probs))


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
    def vmap(
        info: Any, in_dims: tuple[int | None, int | None], logits: Tensor, target: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        """Elements are independent: R batches of N are one batch of R N."""
        rows = [
            x.expand(info.batch_size, *x.shape) if axis is None else x.movedim(axis, 0)
            for x, axis in zip((logits, target), in_dims, strict=True)
        ]
        values, log_q = log_likelihood(*(x.flatten(0, 1) for x in rows))
        shape = (info.batch_size, -1)
        return (values.unflatten(0, shape), log_q.unflatten(0, shape)), (0, 0)

"""Links: from logits to the probabilities that a loss implies. Every metric is a metric of these."""

import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab.tasks.contract import Link


def probabilities(logits: Tensor, link: Link, *, exclusive: bool) -> Tensor:
    """Probabilities shaped like `logits` [N, C] or [N, C, H, W], classes along axis 1.

    softmax: `exp(z_c) / sum exp(z)`. sigmoid: `s(z_c)`, divided by their sum where classes exclude each other (the
    one-vs-rest estimate). identity: the nearest point of the simplex where classes exclude each other, else `z` cut to
    [0, 1].

    Args:
        logits: raw scores of the model.
        link: the loss's own link.
        exclusive: whether exactly one class is true, so that the probabilities must sum to one.

    Reference: Duchi et al., Efficient projections onto the l1-ball for learning in high dimensions, 2008 (the
    projection onto the simplex).
    """
    if link == "softmax":
        return log_softmax(logits).exp()  # which is quick for few classes, and has the same bits on any threads
    if link == "sigmoid":
        # softmax(log s(z)) is s(z) / sum s(z) without its underflow.
        return log_softmax(F.logsigmoid(logits)).exp() if exclusive else sigmoid(logits)
    return simplex_projection(logits) if exclusive else logits.clamp(0.0, 1.0)


def sigmoid(logits: Tensor) -> Tensor:
    """`1 / (1 + exp(-z))`, the same wherever a number stands: PyTorch's own differs by a bit at the end of a tensor."""
    return torch.exp(F.logsigmoid(logits))


def softplus(logits: Tensor) -> Tensor:
    """`log(1 + exp(z))`, the same wherever a number stands: PyTorch's own differs by a bit at the end of a tensor."""
    return -F.logsigmoid(-logits)


def log_softmax(logits: Tensor) -> Tensor:
    """`log softmax(z)` over the classes of axis 1, of logits [N, C] or [N, C, H, W].

    On a CPU PyTorch takes the last classes of an example that fill no register one by one, ten times as slowly as it
    takes 16 examples at a time along another axis. Of `softmax` the last bits would depend on the threads there.
    """
    examples, classes = logits.shape[:2]
    if classes >= 16 or logits.ndim > 2 or logits.device.type != "cpu" or torch.compiler.is_exporting():
        return torch.log_softmax(logits, 1)  # an exported program takes any number of examples, and may not ask for it
    # By way of one axis, for then a gradient comes back in the layout of the logits, and its sums have their bits too.
    columns = logits.flatten().unflatten(0, (examples, classes)).T
    if examples % 16 == 0:
        return torch.log_softmax(columns, 0).T.contiguous()
    return torch.log_softmax(F.pad(columns, (0, -examples % 16)), 0)[:, :examples].T.contiguous()


def simplex_projection(points: Tensor) -> Tensor:
    """The Euclidean projection of `points` [N, C, ...] onto the probability simplex along axis 1.

    `max(z - tau, 0)` with the one `tau` that makes it sum to one.
    """
    z = torch.movedim(points, 1, -1)
    ordered = z.sort(dim=-1, descending=True).values
    ranks = torch.arange(1, z.shape[-1] + 1, device=z.device, dtype=z.dtype)
    thresholds = (ordered.cumsum(-1) - 1.0) / ranks
    support = (ordered > thresholds).sum(-1, keepdim=True)
    tau = thresholds.gather(-1, (support - 1).clamp_min(0))
    return torch.movedim((z - tau).clamp_min(0.0), -1, 1)

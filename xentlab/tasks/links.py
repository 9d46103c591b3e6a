"""Links: from logits to the probabilities that a loss implies. Every metric is a metric of these."""

import math

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
        return softmax(logits)
    if link == "sigmoid":
        # softmax(log s(z)) is s(z) / sum s(z) without its underflow.
        return softmax(F.logsigmoid(logits)) if exclusive else sigmoid(logits)
    return simplex_projection(logits) if exclusive else logits.clamp(0.0, 1.0)


def sigmoid(logits: Tensor) -> Tensor:
    """`1 / (1 + exp(-z))`, the same wherever a number stands: PyTorch's own differs by a bit at the end of a tensor."""
    return torch.exp(F.logsigmoid(logits))


def softplus(logits: Tensor) -> Tensor:
    """`log(1 + exp(z))`, the same wherever a number stands: PyTorch's own differs by a bit at the end of a tensor."""
    return -F.logsigmoid(-logits)


def softmax(logits: Tensor) -> Tensor:
    """`softmax(z)` over the classes of axis 1, of logits [N, C] or [N, C, H, W].

    Filled up to the 16 of a register, it takes a quarter of the time. Along the examples, as `log_softmax` runs,
    it would be faster still, but PyTorch's last bits would depend on the number of threads there.
    """
    classes = logits.shape[1]
    if classes < 4 or not _slow(logits):
        return torch.softmax(logits, 1)
    return torch.softmax(F.pad(logits, (0, 16 - classes), value=-math.inf), 1)[:, :classes].contiguous()


def log_softmax(logits: Tensor) -> Tensor:
    """`log softmax(z)` over the classes of axis 1, of logits [N, C] or [N, C, H, W]."""
    if not _slow(logits):
        return torch.log_softmax(logits, 1)
    # By way of one axis, for then a gradient comes back in the layout of the logits, and its sums have their bits too.
    examples, classes = logits.shape
    columns = logits.flatten().unflatten(0, (examples, classes)).T
    if examples % 16 == 0:
        return torch.log_softmax(columns, 0).T.contiguous()
    return torch.log_softmax(F.pad(columns, (0, -examples % 16)), 0)[:, :examples].T.contiguous()


def _slow(logits: Tensor) -> bool:
    """Whether PyTorch takes the last classes of an example one by one, ten times as slowly as 16 of them at a time."""
    if logits.shape[1] >= 16 or logits.ndim > 2 or logits.device.type != "cpu":
        return False
    return not torch.compiler.is_exporting()  # an exported program takes any number of examples, and may not ask for it


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

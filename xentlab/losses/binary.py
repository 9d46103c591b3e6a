"""One-vs-rest losses: every class is a yes-or-no question of its own. Link: sigmoid. Obeys `losses.contract`."""

import torch  # noqa: F401  # of the example
import torch.nn.functional as F
from torch import Tensor

from xentlab.losses.contract import bounded, loss, one_vs_rest
from xentlab.schema import PositiveFloat


@loss(family="binary", link="sigmoid", reference="Good 1952", values="in nats, >= 0", proper=True)
def bce(logits: Tensor, target: Tensor, *, pos_weight: PositiveFloat = 1.0) -> Tensor:
    """Binary cross-entropy of every class, summed over classes, in nats, with `s` the sigmoid:

        sum_c [ -pos_weight t_c log s(z_c) - (1 - t_c) log(1 - s(z_c)) ]

    The first choice where several classes may be true.

    Args:
        target: class indices [N] or [N, H, W] (one-vs-rest), or n-hot floats shaped like `logits`.
        pos_weight: weight of the positive answers, > 0.

    Example:
        >>> bce(torch.tensor([[2.0, -2.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
        tensor([0.9470])
    """
    return one_vs_rest(target, lambda z: pos_weight * F.softplus(-z), F.softplus, bounded(logits))

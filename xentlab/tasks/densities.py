"""From a regression loss's outputs to what they say of the target, in the unit in which the loss sees it.

Outputs [..., K * D] hold K numbers for each of D targets, the first number of all targets before the second. Losses and
the task read them by the same functions, so that what is trained is what is predicted.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# The least scale of a density, in standard deviations of the target: it keeps the density of a point finite.
LEAST_SCALE = 1e-3
_LARGEST_EXPONENT = 30.0


def parts(outputs: Tensor, count: int) -> Tensor:
    """The K numbers of each target: [..., K * D] as [..., K, D]."""
    return outputs.unflatten(-1, (count, outputs.shape[-1] // count))


def scale_of(raw: Tensor) -> Tensor:
    """A positive scale from any number: `softplus(raw)` above the least scale."""
    return F.softplus(raw) + LEAST_SCALE


def mean_of(raw: Tensor) -> Tensor:
    """A positive mean under the log link: `exp(raw)`, above e^30 a straight line, so that it is finite."""
    bounded = raw.clamp_max(_LARGEST_EXPONENT)
    return torch.exp(bounded) * (1.0 + (raw - bounded))


def ordered(raw: Tensor) -> Tensor:
    """Quantiles that never cross from any numbers [..., K, D]: the first, and steps `softplus(raw) > 0` upwards."""
    steps = torch.cat([raw[..., :1, :], F.softplus(raw[..., 1:, :])], dim=-2)
    return steps.cumsum(-2)


def grid(bounds: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Centres [..., K, D] of K even bins, the first and last at `bounds` [..., 2, D], and their width [..., 1, D]."""
    low, high = bounds[..., :1, :], bounds[..., 1:, :]
    width = (high - low) / (count - 1)
    steps = torch.arange(count, device=bounds.device, dtype=bounds.dtype).unsqueeze(-1)
    return low + steps * width, width

"""From a regression loss's outputs to what they say of the target, in the unit in which the loss sees it.

Outputs [..., K * D] hold K numbers for each of D targets, the first number of all targets before the second. Losses and
the task read them by the same functions, so that what is trained is what is predicted.
"""

import torch
from torch import Tensor

from xentlab.metrics.predictive import Histogram
from xentlab.tasks.links import softplus

# The least scale of a density, in standard deviations of the target: it keeps the density of a point finite.
LEAST_SCALE = 1e-3
_LARGEST_EXPONENT = 30.0


def parts(outputs: Tensor, count: int) -> Tensor:
    """The K numbers of each target: [..., K * D] as [..., K, D]."""
    return outputs.unflatten(-1, (count, outputs.shape[-1] // count))


def positive_scale(raw: Tensor) -> Tensor:
    """A positive scale from any number: `softplus(raw)` above the least scale."""
    return softplus(raw) + LEAST_SCALE


def mean_of(raw: Tensor) -> Tensor:
    """A positive mean under the log link: `exp(raw)`, above e^30 a straight line, so that it is finite."""
    bounded = raw.clamp_max(_LARGEST_EXPONENT)
    return torch.exp(bounded) * (1.0 + (raw - bounded))


def ordered(raw: Tensor) -> Tensor:
    """Quantiles that never cross from any numbers [..., K, D]: the first, and steps `softplus(raw) > 0` upwards."""
    steps = torch.cat([raw[..., :1, :], softplus(raw[..., 1:, :])], dim=-2)
    return steps.cumsum(-2)


def grid(bounds: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Centres [..., K, D] of K even bins, the first and last at `bounds` [..., 2, D], and their width [..., 1, D]."""
    low, high = bounds[..., :1, :], bounds[..., 1:, :]
    width = (high - low) / (count - 1)
    steps = torch.arange(count, device=bounds.device, dtype=bounds.dtype).unsqueeze(-1)
    return low + steps * width, width


def of_quantiles(standard: Tensor, levels: Tensor, mean: Tensor, spread: Tensor) -> tuple[Tensor, Histogram]:
    """The median, and even density between quantiles [R, B, K, D] with tails as dense as the pieces that they touch.

    Args:
        standard: ordered, in deviations of the target.
        levels: [R, K].
        mean: of the target [R, D].
        spread: its deviation [R, D].

    Returns:
        Of the target's own unit, each [R, B, D].
    """
    values = torch.movedim(standard * spread[:, None, None] + mean[:, None, None], -2, -1)
    levels = levels[:, None, None]
    mass = torch.cat([levels[..., :1], levels.diff(dim=-1), 1 - levels[..., -1:]], -1).expand(*values.shape[:-1], -1)
    # Two quantiles may coincide to the last bit; a density needs a width.
    values = values + 1e-12 * spread[:, None, :, None] * torch.arange(
        values.shape[-1], device=values.device, dtype=values.dtype
    )
    width = values.diff(dim=-1)
    tails = torch.stack(
        [mass[..., 0] / mass[..., 1] * width[..., 0], mass[..., -1] / mass[..., -2] * width[..., -1]], -1
    )
    predicted = Histogram(values, mass, tails)
    return predicted.quantile(0.5), predicted


def of_bins(probs: Tensor, bounds: Tensor, mean: Tensor, spread: Tensor) -> tuple[Tensor, Histogram]:
    """The mean, and even density inside each bin, the outer halves of the first and the last as tails.

    Args:
        probs: of the bins [R, B, K, D].
        bounds: the outermost centres in deviations of the target [R, 2, D].
        mean: of the target [R, D].
        spread: its deviation [R, D].

    Returns:
        Of the target's own unit, each [R, B, D].
    """
    centres, width = grid(bounds, probs.shape[-2])
    tails = width[:, 0] / 2 * spread
    spread, mean = spread[:, None], mean[:, None]
    point = (probs * centres[:, None]).sum(-2) * spread + mean
    # Knots are the bins' edges, but at either end the outermost centre, beyond which its half of the mass thins out.
    edges = torch.cat([centres[:, :1], centres[:, 1:] - width / 2, centres[:, -1:]], 1)
    knots = torch.movedim(edges * spread + mean, 1, 2)[:, None].expand(*point.shape, -1).contiguous()
    mass = torch.movedim(probs, -2, -1)
    halves = (mass[..., :1] / 2, mass[..., -1:] / 2)
    pieces = torch.cat([halves[0], halves[0], mass[..., 1:-1], halves[1], halves[1]], -1).clamp_min(1e-300)
    return point, Histogram(knots, pieces, tails[:, None, :, None].expand(*point.shape, 2))

"""Regression as classification: cross-entropy over bins whose range comes from the training rows.

Obeys `xentlab.losses.contract`. Outputs [N, K * D] are the logits of K even bins for each target; the prediction is the
mean of the bins' centres under their softmax. `target_range` [2, D] is where the first and the last centre lie.
"""

import functools
from typing import Annotated

import torch
from torch import Tensor

from xentlab.losses.contract import loss, per_target
from xentlab.losses.residual import REGRESSION
from xentlab.schema import PositiveFloat, Range
from xentlab.tasks.distributions import grid

Bins = Annotated[int, Range(2, 10_000)]

_histogram = functools.partial(
    loss, family="histogram", link="histogram", tasks=REGRESSION, values=">= 0, in nats",
    outputs=lambda knobs: int(knobs["bins"]),
)  # fmt: skip


@_histogram(reference="Imani & White 2018")
def hl_gauss(
    outputs: Tensor, target: Tensor, target_range: Tensor, *, bins: Bins = 50, sigma: PositiveFloat = 0.75
) -> Tensor:
    """Cross-entropy with a normal distribution around the target, cut into bins: `-sum_d sum_k p_k log softmax(z)_k`.

        p_k = (F(e_{k + 1}) - F(e_k)) / (F(e_K) - F(e_0)),   F that of N(t, (sigma width)^2), e the bins' edges

    Args:
        bins: K, >= 2.
        sigma: deviation of the normal distribution in widths of a bin, > 0.

    Reference: Imani & White, Improving regression performance with distributional losses, 2018; Farebrother et al.,
    Stop regressing: training value functions via classification for scalable deep RL, 2024.
    """
    logits, truth, centres, width = _on_grid(outputs, target, target_range, bins)
    edges = torch.cat([centres - 0.5 * width, centres[-1:] + 0.5 * width])  # [K + 1, D]
    below = torch.special.ndtr((edges - truth.unsqueeze(-2)) / (sigma * width))
    share = below.diff(dim=-2) / (below[..., -1:, :] - below[..., :1, :])
    return -(share * torch.log_softmax(logits, -2)).sum((-1, -2))


@_histogram(reference="Schrittwieser 2020")
def two_hot(outputs: Tensor, target: Tensor, target_range: Tensor, *, bins: Bins = 50) -> Tensor:
    """Cross-entropy with the target's share of the two nearest centres: `-sum_d sum_k p_k log softmax(z)_k`.

    `p_k = max(0, 1 - |t - centre_k| / width)`, so that the mean of the centres under `p` is the target.

    Args:
        bins: K, >= 2.

    Reference: Schrittwieser et al., Mastering Atari, Go, chess and shogi by planning with a learned model, 2020.
    """
    logits, truth, centres, width = _on_grid(outputs, target, target_range, bins)
    share = (1.0 - (truth.unsqueeze(-2) - centres).abs() / width).clamp_min(0.0)
    return -(share * torch.log_softmax(logits, -2)).sum((-1, -2))


def _on_grid(outputs: Tensor, target: Tensor, target_range: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits [N, K, D], targets within the grid [N, D], centres [K, D], width [1, D]."""
    numbers, truth = per_target(outputs, target, bins)
    bounds = target_range.to(outputs.dtype)
    centres, width = grid(bounds, bins)
    return torch.movedim(numbers, 0, -2), torch.clamp(truth, bounds[0], bounds[1]), centres, width

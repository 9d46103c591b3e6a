"""Regression by a whole distribution: each target has a location and a scale, or several quantiles, of its own.

Obeys `xentlab.losses.contract`. Outputs [N, K * D] hold K numbers for each target, the first of all targets before the
second: a location, and a raw scale `s`: `softplus(s) + 0.001` is the scale, in standard deviations of the target.
"""

import functools
import itertools
import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from xentlab.errors import UserError
from xentlab.losses.contract import Limit, loss, per_target
from xentlab.losses.residual import REGRESSION, pinball
from xentlab.schema import Range
from xentlab.tasks.distributions import ordered, positive_scale

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)

_density = functools.partial(loss, family="density", tasks=REGRESSION, moves=True)
# Of a location and a scale, proper.
_likelihood = functools.partial(
    _density, values="in nats per example", minimum=None, outputs=2, proper=True, elicits="distribution"
)


@_likelihood(link="gaussian", reference="Nix & Weigend 1994")
def gaussian_nll(outputs: Tensor, target: Tensor) -> Tensor:
    """Negative log-density of a normal distribution with a scale `s` of its own.

        sum_d (r / s)^2 / 2 + log s + log(2 pi) / 2

    Reference: Nix & Weigend, Estimating the mean and variance of the target probability distribution, 1994.
    """
    residual, scale = _residual_and_scale(outputs, target)
    return _gaussian(residual, scale).sum(1)


@_density(
    link="gaussian",
    reference="Seitzer 2022",
    minimum=None,
    outputs=2,
    slope=False,
    limits=(Limit({"beta": 0.0}, "gaussian_nll"),),
)
def beta_nll(outputs: Tensor, target: Tensor, *, beta: Annotated[float, Range(0, 1)] = 0.5) -> Tensor:
    """The normal distribution's negative log-density, each weighted by its own variance to the power `beta`.

        sum_d stop(s^2)^beta ( (r / s)^2 / 2 + log s + log(2 pi) / 2 )

    No gradient passes through the weight, so that what fits badly is not given up as noise: at `beta` 1 the location
    moves as under squared error.

    Args:
        beta: in [0, 1]; 0 is `gaussian_nll`.

    Reference: Seitzer, Tavakoli, Antic & Martius, On the pitfalls of heteroscedastic uncertainty estimation with
    probabilistic neural networks, 2022.
    """
    residual, scale = _residual_and_scale(outputs, target)
    return (scale.detach() ** (2.0 * beta) * _gaussian(residual, scale)).sum(1)


@_likelihood(link="laplace", reference="Kendall & Gal 2017")
def laplace_nll(outputs: Tensor, target: Tensor) -> Tensor:
    """Negative log-density of a Laplace distribution with a scale of its own: `sum_d |r| / s + log(2 s)`.

    Reference: Kendall & Gal, What uncertainties do we need in Bayesian deep learning for computer vision?, 2017.
    """
    residual, scale = _residual_and_scale(outputs, target)
    return (residual.abs() / scale + torch.log(2.0 * scale)).sum(1)


@_likelihood(link="student_t", reference="Lange 1989")
def student_t_nll(
    outputs: Tensor, target: Tensor, *, df: Annotated[float, Range(1, None, open_low=True)] = 4.0
) -> Tensor:
    """Negative log-density of a Student's t with a scale of its own and `df` degrees of freedom, `v` below.

        sum_d (v + 1) / 2 log(1 + (r / s)^2 / v) + log s + log(v pi) / 2 + lgamma(v / 2) - lgamma((v + 1) / 2)

    Args:
        df: degrees of freedom, > 1; the fewer, the less an outlier pulls.

    Reference: Lange, Little & Taylor, Robust statistical modeling using the t distribution, 1989.
    """
    residual, scale = _residual_and_scale(outputs, target)
    freedom = torch.as_tensor(df, dtype=residual.dtype, device=residual.device)
    constant = 0.5 * torch.log(freedom * math.pi) + torch.lgamma(freedom / 2) - torch.lgamma((freedom + 1) / 2)
    return ((freedom + 1) / 2 * torch.log1p((residual / scale).square() / freedom) + torch.log(scale) + constant).sum(1)


def _levels(knobs: Mapping[str, Any]) -> int:
    levels = knobs["levels"]
    if len(levels) < 2 or any(low >= high for low, high in itertools.pairwise(levels)):
        raise UserError(f"loss.levels must be two or more, each above the one before, got {list(levels)}.")
    return len(levels)


@_density(link="quantiles", reference="Koenker & Bassett 1978", outputs=_levels)
def quantiles(
    outputs: Tensor,
    target: Tensor,
    *,
    levels: Annotated[tuple[float, ...], Range(0, 1, open_low=True, open_high=True)] = (0.05, 0.25, 0.5, 0.75, 0.95),
) -> Tensor:
    """Several quantiles at once that never cross: the pinball loss of each, summed over levels and targets.

    The first output is the lowest quantile, each further one a step `softplus(z)` above the one before.

    Args:
        levels: of the quantiles, each in (0, 1) and above the one before.

    Reference: Koenker & Bassett, Regression quantiles, 1978.
    """
    numbers, truth = per_target(outputs, target, len(levels))
    steps = ordered(torch.movedim(numbers, 0, -2))  # [N, K, D]
    level = torch.as_tensor(levels, dtype=outputs.dtype, device=outputs.device).unsqueeze(-1)
    return pinball(truth.unsqueeze(-2) - steps, level).sum((-1, -2))


def _residual_and_scale(outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """`t - z` and the scale of each target, each [N, D]."""
    (location, raw), truth = per_target(outputs, target, 2)
    return truth - location, positive_scale(raw)


def _gaussian(residual: Tensor, scale: Tensor) -> Tensor:
    return 0.5 * (residual / scale).square() + torch.log(scale) + _HALF_LOG_TWO_PI

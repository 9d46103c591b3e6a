"""Regression by a point: functions of the residual `r = t - z`, summed over targets. Obeys `xentlab.losses.contract`.

Outputs `z` are the prediction itself, targets have mean 0 and deviation 1 over the training rows, so that knobs such as
`delta` or `c` are in standard deviations of the target. `mse`, `mae`, `huber` and `log_cosh` are among them by name.
"""

import functools
from typing import Annotated

import torch
from torch import Tensor

from xentlab.losses.contract import Limit, loss, per_target
from xentlab.schema import PositiveFloat, Range

REGRESSION = ("regression",)
Level = Annotated[float, Range(0, 1, open_low=True, open_high=True)]

_regression = functools.partial(loss, family="residual", link="identity", tasks=REGRESSION, moves=True)


@_regression(reference="Legendre 1805", elicits="mean", degree=2.0)
def squared_error(outputs: Tensor, target: Tensor) -> Tensor:
    """Squared error of points [N, D]: `sum_d (z_d - t_d)^2`. What `mse` is on regression; least at the mean."""
    return _residual(outputs, target).square().sum(1)


@_regression(reference="Laplace 1774", elicits="median", degree=1.0)
def absolute_error(outputs: Tensor, target: Tensor) -> Tensor:
    """Absolute error of points [N, D]: `sum_d |z_d - t_d|`. What `mae` is on regression; least at the median."""
    return _residual(outputs, target).abs().sum(1)


@_regression(
    reference="Koenker & Bassett 1978",
    elicits="quantile",
    degree=1.0,
    limits=(Limit({"level": 0.5}, "mae", factor=0.5),),
)
def quantile(outputs: Tensor, target: Tensor, *, level: Level = 0.5) -> Tensor:
    """The pinball loss, least at the quantile of that level: `sum_d max(level r_d, (level - 1) r_d)`.

    Args:
        level: of the quantile, in (0, 1); 0.5 is half the absolute error.

    Reference: Koenker & Bassett, Regression quantiles, 1978.
    """
    return pinball(_residual(outputs, target), level).sum(1)


def pinball(residual: Tensor, level: float | Tensor) -> Tensor:
    """`max(level r, (level - 1) r)` of each residual."""
    return torch.maximum(level * residual, (level - 1.0) * residual)


@_regression(
    reference="Newey & Powell 1987", elicits="expectile", degree=2.0, limits=(Limit({"level": 0.5}, "mse", factor=0.5),)
)
def expectile(outputs: Tensor, target: Tensor, *, level: Level = 0.5) -> Tensor:
    """Asymmetric squares, least at the expectile of that level: `sum_d |level - 1[r_d < 0]| r_d^2`.

    Args:
        level: of the expectile, in (0, 1); 0.5 is half the squared error.

    Reference: Newey & Powell, Asymmetric least squares estimation and testing, 1987.
    """
    residual = _residual(outputs, target)
    # Both sides as clamps, not as a choice: NaN stays NaN.
    return (level * residual.clamp_min(0).square() + (1.0 - level) * residual.clamp_max(0).square()).sum(1)


@_regression(reference="Beaton & Tukey 1974", values="in [0, D c^2 / 6]")
def tukey(outputs: Tensor, target: Tensor, *, c: PositiveFloat = 4.685) -> Tensor:
    """Tukey's biweight, which an outlier beyond `c` does not pull at all:

        sum_d c^2 / 6 (1 - (1 - min(r_d / c, 1)^2)^3)

    Args:
        c: beyond which a residual counts as an outlier, in standard deviations of the target, > 0.

    Reference: Beaton & Tukey, The fitting of power series, meaning polynomials, illustrated on band-spectroscopic data,
    1974.
    """
    share = (_residual(outputs, target) / c).square().clamp_max(1.0)
    # 1 - (1 - s)^3 without its cancellation near 0.
    return (c * c / 6.0 * share * (3.0 - 3.0 * share + share.square())).sum(1)


@_regression(reference="Barron 2019", limits=(Limit({"alpha": 2.0}, "mse", factor=0.5, rtol=1e-6),))
def general_robust(
    outputs: Tensor, target: Tensor, *, alpha: Annotated[float, Range(-10, 2)] = 1.0, c: PositiveFloat = 1.0
) -> Tensor:
    """Barron's general robust loss, from squares (alpha 2) over Charbonnier (1), Cauchy (0) to ever flatter ones:

        sum_d |alpha - 2| / alpha ((r_d^2 / c^2 / |alpha - 2| + 1)^(alpha / 2) - 1)

    with its limits at 0 and 2.

    Args:
        alpha: shape in [-10, 2]; the smaller, the less an outlier pulls.
        c: residual at which the parabola bends, in standard deviations of the target, > 0.

    Reference: Barron, A general and adaptive robust loss function, 2019.
    """
    tiny = torch.finfo(outputs.dtype).eps
    shape = torch.as_tensor(alpha, dtype=outputs.dtype, device=outputs.device)
    shape = torch.where(shape.abs() < tiny, tiny, shape)
    distance = (2.0 - shape).clamp_min(tiny)
    square = (_residual(outputs, target) / c).square()
    return (distance / shape * torch.expm1(0.5 * shape * torch.log1p(square / distance))).sum(1)


def _residual(outputs: Tensor, target: Tensor) -> Tensor:
    """`t - z` of each target [N, D]."""
    (point,), truth = per_target(outputs, target, 1)
    return truth - point

"""Regression of numbers that cannot be negative: counts, durations, amounts. Obeys `xentlab.losses.contract`.

Link log: outputs `z` [N, D] are the logarithm of the prediction, `mu = exp(z)`, and targets are divided by their mean
over the training rows. Targets below 0 (at 0, where the loss says so) are refused before anything is trained.
"""

import functools
from typing import Annotated

import torch
from torch import Tensor

from xentlab.losses.contract import Limit, loss, per_target
from xentlab.losses.residual import REGRESSION, squared_error
from xentlab.schema import Range
from xentlab.tasks.distributions import mean_of

_deviance = functools.partial(loss, family="deviance", tasks=REGRESSION)


@_deviance(link="log", reference="Nelder & Wedderburn 1972", minimum=None, requires=("nonnegative",), elicits="mean")
def poisson_nll(outputs: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood of a Poisson distribution without its constant: `sum_d exp(z_d) - t_d z_d`. Link: log.

    Reference: Nelder & Wedderburn, Generalized linear models, 1972.
    """
    z, truth = _log_mean(outputs, target)
    return (mean_of(z) - truth * z).sum(1)


@_deviance(link="log", reference="Nelder & Wedderburn 1972", requires=("positive",), elicits="mean", degree=0.0)
def gamma_deviance(outputs: Tensor, target: Tensor) -> Tensor:
    """Deviance of a gamma distribution, of relative errors: `2 sum_d (t_d / mu_d - log(t_d / mu_d) - 1)`. Link: log.

    Reference: Nelder & Wedderburn, Generalized linear models, 1972.
    """
    z, truth = _log_mean(outputs, target)
    return 2.0 * (truth * mean_of(-z) + z - torch.log(truth) - 1.0).sum(1)


@_deviance(link="log", reference="Jorgensen 1987", requires=("nonnegative",), elicits="mean")
def tweedie(outputs: Tensor, target: Tensor, *, power: Annotated[float, Range(1.01, 1.99)] = 1.5) -> Tensor:
    """Deviance of a Tweedie distribution, exact zeros among positive amounts. With `p = power`; link: log.

        2 sum_d ( t^(2 - p) / ((1 - p) (2 - p)) - t mu^(1 - p) / (1 - p) + mu^(2 - p) / (2 - p) )

    Args:
        power: p in [1.01, 1.99], at its low end like Poisson's deviance, at its high end like gamma's.

    Reference: Jorgensen, Exponential dispersion models, 1987.
    """
    z, truth = _log_mean(outputs, target)
    low, high = power - 1.0, 2.0 - power
    fixed = -(truth.clamp_min(0) ** high) / (low * high)
    return 2.0 * (fixed + truth * mean_of(-low * z) / low + mean_of(high * z) / high).sum(1)


@_deviance(link="log", reference="Makridakis 1993", requires=("positive",), degree=0.0)
def mape(outputs: Tensor, target: Tensor) -> Tensor:
    """Absolute error as a share of the target: `sum_d |mu_d - t_d| / t_d`. Link: log.

    Reference: Makridakis, Accuracy measures: theoretical and practical concerns, 1993.
    """
    z, truth = _log_mean(outputs, target)
    return ((mean_of(z) - truth).abs() / truth).sum(1)


@_deviance(link="log", reference="Makridakis 1993", values="in [0, 2 D]", requires=("nonnegative",), degree=0.0)
def smape(outputs: Tensor, target: Tensor) -> Tensor:
    """Absolute error as a share of the mean of prediction and target: `sum_d 2 |mu_d - t_d| / (mu_d + t_d)`. Link: log.

    Reference: Makridakis, Accuracy measures: theoretical and practical concerns, 1993.
    """
    z, truth = _log_mean(outputs, target)
    mean = mean_of(z)
    # Where both underflow to 0 there is no share: nothing divided by the least number.
    return (2.0 * (mean - truth).abs() / (mean + truth).clamp_min(torch.finfo(z.dtype).tiny)).sum(1)


@_deviance(
    link="log1p",
    reference="scikit-learn 0.20",
    requires=("target_logs",),
    elicits="mean",
    moves=True,
    degree=2.0,
    limits=(Limit({}, "mse"),),
)
def msle(outputs: Tensor, target: Tensor) -> Tensor:
    """Squared error of `log(1 + target)`, which the outputs predict: `sum_d (z_d - t_d)^2`. Link: log1p.

    The task gives it the logarithms of the targets at mean 0 and deviation 1 over the training rows, so that it is the
    mean squared logarithmic error divided by their variance.

    Reference: scikit-learn's mean_squared_log_error, since version 0.20.
    """
    return squared_error(outputs, target)


def _log_mean(outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithm of the mean and the target, each [N, D]."""
    (z,), truth = per_target(outputs, target, 1)
    return z, truth

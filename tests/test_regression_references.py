"""Losses and metrics of regression against other people's code, or their formulas, in float64."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import sklearn.metrics
import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab import losses
from xentlab.data import generator, regression_synthetic
from xentlab.metrics import regression_columns, regression_metrics
from xentlab.metrics.noise import SHAPES, draw_noise, noise_cdf
from xentlab.metrics.predictive import Histogram, Laplace, Normal, Predictive, StudentT
from xentlab.tasks import find

REGRESSION = find("regression")
DRAWS = torch.Generator().manual_seed(0)
N, D = 50, 2
Z, RAW = (torch.randn(N, D, generator=DRAWS, dtype=torch.float64) for _ in range(2))
T = torch.randn(N, D, generator=DRAWS, dtype=torch.float64)
POSITIVE = T.exp()
SCALE = F.softplus(RAW) + 1e-3


def distribution(family: Any, *shape: float) -> Tensor:
    """The negative log-density of a distribution of scipy, summed over targets."""
    return -torch.from_numpy(family.logpdf(T.numpy(), *shape, loc=Z.numpy(), scale=SCALE.numpy())).sum(1)


def rowwise(metric: Callable[..., float], **given: Any) -> Tensor:
    """A metric of scikit-learn of each positive target and its prediction, summed over targets."""
    cells = [
        [metric([t], [m], **given) for t, m in zip(*rows, strict=True)] for rows in zip(POSITIVE, Z.exp(), strict=True)
    ]
    return torch.tensor(cells, dtype=torch.float64).sum(1)


def barron(residual: Tensor, alpha: float) -> Tensor:
    """The paper's cases, as it writes them."""
    square = residual.square()
    if alpha == 2:
        return square / 2
    if alpha == 0:
        return torch.log(square / 2 + 1)
    return abs(alpha - 2) / alpha * ((square / abs(alpha - 2) + 1) ** (alpha / 2) - 1)


BOTH = torch.cat([Z, RAW], 1)
REFERENCES: dict[str, tuple[Tensor, Tensor]] = {
    "squared": (losses.residual.squared_error(Z, T), F.mse_loss(Z, T, reduction="none").sum(1)),
    "absolute": (losses.residual.absolute_error(Z, T), F.l1_loss(Z, T, reduction="none").sum(1)),
    "huber": (losses.huber(Z, T, delta=0.7), F.huber_loss(Z, T, delta=0.7, reduction="none").sum(1)),
    "log_cosh": (losses.log_cosh(Z, T), torch.log(torch.cosh(Z - T)).sum(1)),
    "quantile": (losses.quantile(Z, T, level=0.3), torch.where(T > Z, 0.3 * (T - Z), 0.7 * (Z - T)).sum(1)),
    "expectile": (losses.expectile(Z, T, level=0.3),
                  torch.where(T > Z, 0.3 * (T - Z) ** 2, 0.7 * (T - Z) ** 2).sum(1)),
    "tukey": (losses.tukey(Z, T, c=1.5),
              torch.where((T - Z).abs() < 1.5, 0.375 * (1 - (1 - ((T - Z) / 1.5) ** 2) ** 3), 0.375).sum(1)),
    **{f"robust {alpha}": (losses.general_robust(Z, T, alpha=alpha), barron(T - Z, alpha).sum(1))
       for alpha in (-10.0, -2.0, 1.0, 1.5)},
    "poisson": (losses.poisson_nll(Z, POSITIVE),
                F.poisson_nll_loss(Z, POSITIVE, log_input=True, reduction="none").sum(1)),
    "gamma": (losses.gamma_deviance(Z, POSITIVE), rowwise(sklearn.metrics.mean_gamma_deviance)),
    "tweedie": (losses.tweedie(Z, POSITIVE, power=1.3), rowwise(sklearn.metrics.mean_tweedie_deviance, power=1.3)),
    "mape": (losses.mape(Z, POSITIVE), rowwise(sklearn.metrics.mean_absolute_percentage_error)),
    "smape": (losses.smape(Z, POSITIVE), (2 * (Z.exp() - POSITIVE).abs() / (Z.exp() + POSITIVE)).sum(1)),
    "msle": (losses.msle(torch.log1p(Z.exp()), torch.log1p(POSITIVE)),
             rowwise(sklearn.metrics.mean_squared_log_error)),
    "gaussian": (losses.gaussian_nll(BOTH, T), distribution(scipy.stats.norm)),
    "gaussian of torch": (losses.gaussian_nll(BOTH, T),
                          F.gaussian_nll_loss(Z, T, SCALE**2, full=True, reduction="none").sum(1)),
    "laplace": (losses.laplace_nll(BOTH, T), distribution(scipy.stats.laplace)),
    "student": (losses.student_t_nll(BOTH, T, df=3.5),
                -torch.from_numpy(scipy.stats.t.logpdf(T, 3.5, Z, SCALE)).sum(1)),
    "beta": (losses.beta_nll(BOTH, T, beta=0.5),
             (SCALE * F.gaussian_nll_loss(Z, T, SCALE**2, full=True, reduction="none")).sum(1)),
}  # fmt: skip


@pytest.mark.parametrize("name", REFERENCES)
def test_a_loss_is_its_reference(name: str) -> None:
    got, wanted = REFERENCES[name]
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_the_weight_of_beta_nll_lets_no_gradient_through() -> None:
    outputs = BOTH.clone().requires_grad_()
    losses.beta_nll(outputs, T, beta=1.0).sum().backward()
    assert outputs.grad is not None
    # At beta 1 the location moves as under half the squared error.
    torch.testing.assert_close(outputs.grad[:, :D], Z - T, rtol=1e-9, atol=1e-9)


def test_quantiles_are_pinball_losses_of_ordered_numbers() -> None:
    levels = (0.1, 0.5, 0.9)
    outputs = torch.randn(N, 3 * D, generator=DRAWS, dtype=torch.float64)
    first, second, third = outputs.split(D, 1)
    found = [first, first + F.softplus(second), first + F.softplus(second) + F.softplus(third)]
    wanted = sum(losses.quantile(q, T, level=level) for q, level in zip(found, levels, strict=True))
    torch.testing.assert_close(losses.quantiles(outputs, T, levels=levels), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bins", [2, 11])
def test_histogram_losses_are_cross_entropies_of_their_bins(bins: int) -> None:
    low, high = -2.0, 3.0
    logits = torch.randn(N, bins, generator=DRAWS, dtype=torch.float64)
    target = T[:, :1].clamp(low, high)
    bounds = torch.tensor([[low], [high]], dtype=torch.float64)
    centres, width = np.linspace(low, high, bins), (high - low) / (bins - 1)
    edges = np.linspace(low - width / 2, high + width / 2, bins + 1)
    below = scipy.stats.norm.cdf(edges, target.numpy(), 0.75 * width)
    gauss = torch.from_numpy(np.diff(below) / (below[:, -1:] - below[:, :1]))
    hats = [np.interp(target.numpy()[:, 0], centres, row) for row in np.eye(bins)]
    for got, share in (
        (losses.hl_gauss(logits, T[:, :1], bounds, bins=bins), gauss),
        (losses.two_hot(logits, T[:, :1], bounds, bins=bins), torch.from_numpy(np.stack(hats, 1))),
    ):
        torch.testing.assert_close(got, F.cross_entropy(logits, share, reduction="none"), rtol=1e-9, atol=1e-9)


# --- predictive distributions ------------------------------------------------------------------------------------

ONE = functools.partial(torch.full, (1, 1, 1), dtype=torch.float64)
KNOTS = torch.tensor([[[[-1.0, 0.0, 0.5, 2.0]]]], dtype=torch.float64)
MASS = torch.tensor([[[[0.1, 0.3, 0.2, 0.25, 0.15]]]], dtype=torch.float64)
PREDICTED: dict[str, Predictive] = {
    "normal": Normal(ONE(0.3), ONE(1.7)),
    "laplace": Laplace(ONE(-0.2), ONE(0.6)),
    "student": StudentT(ONE(0.4), ONE(0.8), ONE(3.0)),
    "student of many": StudentT(ONE(0.4), ONE(0.8), ONE(40.0)),
    "histogram": Histogram(KNOTS, MASS, torch.tensor([[[[0.4, 0.9]]]], dtype=torch.float64)),
}
PLACES = (-30.0, -1.3, -1.0, -0.4, 0.1, 0.4, 1.9, 2.0, 5.0)


def at(function: Callable[[Tensor], Tensor], y: float) -> float:
    return float(function(ONE(y)))


@pytest.mark.parametrize("name", ["normal", "laplace", "student", "histogram"])
def test_a_predictive_distribution_agrees_with_itself_and_with_quadrature(name: str) -> None:
    predicted = PREDICTED[name]
    corners = [-1.0, -0.2, 0.0, 0.3, 0.4, 0.5, 2.0]

    def integral(function: Callable[[float], float], low: float, high: float) -> float:
        ends = [low, *(c for c in sorted(corners) if low < c < high), high]
        pieces = itertools.pairwise(ends)
        return sum(scipy.integrate.quad(function, a, b, epsabs=1e-12, epsrel=1e-12, limit=100)[0] for a, b in pieces)

    def density(x: float) -> float:
        return math.exp(at(predicted.log_density, x))

    for low, high in ((-5.0, -1.2), (-1.2, 0.7), (0.7, 6.0)):
        share = at(predicted.cdf, high) - at(predicted.cdf, low)
        assert integral(density, low, high) == pytest.approx(share, rel=1e-9, abs=1e-9)
    for y in (-1.3, 1.9):
        left = integral(lambda x: at(predicted.cdf, x) ** 2, -np.inf, y)
        right = integral(lambda x: (1 - at(predicted.cdf, x)) ** 2, y, np.inf)
        assert at(predicted.crps, y) == pytest.approx(left + right, rel=1e-9, abs=1e-9)
    for level in (0.01, 0.05, 0.1, 0.37, 0.5, 0.95, 0.999):
        assert at(predicted.cdf, float(predicted.quantile(level))) == pytest.approx(level, rel=1e-9)


def test_distribution_functions_are_those_of_scipy() -> None:
    for y in PLACES:
        assert at(PREDICTED["normal"].cdf, y) == pytest.approx(scipy.stats.norm.cdf(y, 0.3, 1.7), rel=1e-9)
        assert at(PREDICTED["laplace"].cdf, y) == pytest.approx(scipy.stats.laplace.cdf(y, -0.2, 0.6), rel=1e-9)
        for name, df in (("student", 3.0), ("student of many", 40.0)):
            wanted = scipy.stats.t.cdf(y, df, 0.4, 0.8)
            assert at(PREDICTED[name].cdf, y) == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert float(PREDICTED["student"].quantile(0.05)) == pytest.approx(scipy.stats.t.ppf(0.05, 3.0, 0.4, 0.8), rel=1e-9)


def test_metrics_are_those_of_scikit_learn() -> None:
    truth, point = 5.0 + 3.0 * T, 5.0 + Z
    spread = torch.full_like(point, 1.5)
    found = regression_metrics(regression_columns(point[None], Normal(point[None], spread[None]), truth[None]))
    values = {name: float(value) for name, value in found.items()}
    y, p = truth.numpy(), point.numpy()
    assert values["rmse"] == pytest.approx(sklearn.metrics.mean_squared_error(y, p) ** 0.5, rel=1e-9)
    assert values["abs_error"] == pytest.approx(sklearn.metrics.mean_absolute_error(y, p), rel=1e-9)
    assert values["median_error"] == pytest.approx(np.median(np.abs(y - p)), rel=1e-9)
    assert values["r2"] == pytest.approx(sklearn.metrics.r2_score(y, p), rel=1e-9)
    law = scipy.stats.norm(p, 1.5)
    assert values["density_nll"] == pytest.approx(-law.logpdf(y).mean(), rel=1e-9)
    inside = np.mean((law.ppf(0.05) <= y) & (y <= law.ppf(0.95)))
    assert values["coverage_gap"] == pytest.approx(abs(inside - 0.9), rel=1e-9)
    assert values["width"] == pytest.approx(2 * 1.5 * scipy.stats.norm.ppf(0.95), rel=1e-9)
    even = (np.arange(y.size) + 0.5) / y.size
    assert values["pit_error"] == pytest.approx(np.abs(np.sort(law.cdf(y).ravel()) - even).mean(), rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_has_mean_0_variance_1_and_its_distribution_function(shape: Any) -> None:
    drawn = draw_noise(shape, 200_000, generator(0, "noise"))
    assert float(drawn.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(drawn.var()) == pytest.approx(1.0, abs=0.15 if shape == "heavy_tailed" else 0.02)
    # Kolmogorov's distance of so many draws stays below 0.004 in 99.8 % of cases.
    ordered = drawn.sort().values
    assert float((noise_cdf(shape, ordered) - (torch.arange(200_000) + 0.5) / 200_000).abs().max()) < 0.004


@pytest.mark.parametrize("kind", ["homoscedastic", "heteroscedastic", "skewed", "heavy_tailed", "bimodal"])
def test_the_truth_behind_a_synthetic_number_is_exact(kind: Any) -> None:
    whole = regression_synthetic(kind=kind, samples=4000)
    assert whole.posterior is not None
    mean, scale = whole.posterior[:, :1], whole.posterior[:, 1:2]
    shape = SHAPES[int(whole.posterior[0, 2])]
    pit = noise_cdf(shape, (whole.targets[:, None] - mean) / scale)
    assert float((pit.flatten().sort().values - (torch.arange(4000) + 0.5) / 4000).abs().max()) < 0.03
    stats = {"point": mean[None] + 0.5, "low": mean[None] - scale, "high": mean[None] + scale}
    assert REGRESSION.against_truth is not None
    found = REGRESSION.against_truth(stats, whole.posterior)
    assert float(found["excess_rmse"]) == pytest.approx(0.5, rel=1e-9)
    one = torch.ones(1, dtype=torch.float64)
    covered = float(noise_cdf(shape, one) - noise_cdf(shape, -one))
    assert float(found["true_coverage_gap"]) == pytest.approx(abs(covered - 0.9), rel=1e-9)

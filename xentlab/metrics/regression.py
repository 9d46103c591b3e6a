"""The yardstick of regression: a point and a predictive distribution against a number, in the target's own unit.

Contract: a median and a calibration need all examples, so chunks of columns [R, N, D] are concatenated first.
"""

import torch
from torch import Tensor

from xentlab.metrics.contract import Metric
from xentlab.metrics.predictive import Predictive

LEVEL = 0.9
"""Of the central interval that is looked at."""

_UNIT = "of the target"
REGRESSION_METRICS = (
    Metric("rmse", "min", _UNIT, False, "RMSE", "Root mean squared error", root=True),
    Metric("abs_error", "min", _UNIT, False, "MAE", "Mean absolute error"),
    Metric("median_error", "min", _UNIT, False, "median error", "Median absolute error"),
    Metric("r2", "max", "share of the variance", False, "R2", "Variance explained", 1.0),
    # What gives a point only has no distribution of its own: the label says what stands for it.
    Metric("crps", "min", _UNIT, False, "CRPS", "CRPS (of a point: with a Gaussian of its validation residuals)"),
    Metric("density_nll", "min", "nats", False, "density NLL",
           "Negative log-density (of a point: a Gaussian of its validation residuals)", None),
    Metric("coverage_gap", "min", "fraction", True, "coverage gap", "90 % interval's coverage, distance from 90 %"),
    Metric("width", "min", _UNIT, False, "interval width", "Width of the 90 % interval"),
    Metric("pit_error", "min", "fraction", True, "PIT error", "Calibration error of the predictive distribution (PIT)"),
)  # fmt: skip
# Beside those, on test, where the dataset knows the conditional distribution.
CONDITIONAL_METRICS = (
    Metric("excess_rmse", "min", _UNIT, False, "excess over Bayes", "Root mean squared distance to the true mean"),
    Metric("true_coverage_gap", "min", "fraction", True, "true coverage gap",
           "90 % interval's true coverage, distance from 90 %"),
)  # fmt: skip


def regression_columns(point: Tensor, predicted: Predictive, target: Tensor) -> dict[str, Tensor]:
    """What each prediction [R, B, D] is worth against its target, float64 [R, B, D] each."""
    point, target = point.double(), target.double().expand(point.shape)
    tail = (1 - LEVEL) / 2
    return {
        "target": target,
        "point": point,
        "nll": -predicted.log_density(target),
        "crps": predicted.crps(target),
        "pit": predicted.cdf(target),
        "low": predicted.quantile(tail).expand(point.shape),
        "high": predicted.quantile(1 - tail).expand(point.shape),
    }


def regression_answers(point: Tensor, target: Tensor) -> dict[str, Tensor]:
    """What each example [R, B, D] came to: its squared error as `rmse`, mean over its targets, float32 [R, B].

    Of a single target also what was `predicted`, and what is `true`.
    """
    found = {"rmse": (target.double() - point.double()).square().mean(2).float()}
    if point.shape[2] == 1:
        found |= {"predicted": point[..., 0].float(), "true": target.expand_as(point)[..., 0].float()}
    return found


def regression_metrics(columns: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every metric from the columns of all examples [R, N, D]; means over examples and targets, float64 [R].

    `r2` is `1 - sum of squared errors / sum of squares about the mean of these targets`, its mean over the targets;
    NaN where one does not vary. `pit_error` is the mean distance between the sorted PIT values and those of an even
    distribution: 0 where the predictive distribution is calibrated, 1/4 and less for what is off by its width.
    """
    target, point = columns["target"], columns["point"]
    error = target - point
    about = (target - target.mean(1, keepdim=True)).square().sum(1)
    inside = (columns["low"] <= target) & (target <= columns["high"])
    pit = columns["pit"].flatten(1).sort(1).values
    even = (torch.arange(pit.shape[1], device=pit.device, dtype=pit.dtype) + 0.5) / pit.shape[1]
    return {
        "rmse": error.square().mean((1, 2)).sqrt(),
        "abs_error": error.abs().mean((1, 2)),
        "median_error": _median(error.abs().flatten(1)),
        "r2": (1 - error.square().sum(1) / torch.where(about > 0, about, torch.nan)).mean(1),
        "crps": columns["crps"].mean((1, 2)),
        "density_nll": columns["nll"].mean((1, 2)),
        "coverage_gap": (inside.double().mean((1, 2)) - LEVEL).abs(),
        "width": (columns["high"] - columns["low"]).mean((1, 2)),
        "pit_error": (pit - even).abs().mean(1),
    }


def _median(values: Tensor) -> Tensor:
    """The median of each row, of two middle values their mean; `Tensor.quantile` refuses large rows."""
    ordered = values.sort(1).values
    count = values.shape[1]
    return (ordered[:, (count - 1) // 2] + ordered[:, count // 2]) / 2


def conditional_metrics(columns: dict[str, Tensor], mean: Tensor, low: Tensor, high: Tensor) -> dict[str, Tensor]:
    """Against the true conditional distribution: exact where targets would only estimate it; float64 [R].

    Args:
        columns: as `regression_columns` gives them, [R, N, D].
        mean: the true conditional mean [N, D], the best point under squared error.
        low: the true probability [R, N, D] that a target lies below the interval.
        high: that it does not lie above it.
    """
    excess = (columns["point"] - mean).square().mean((1, 2)).sqrt()
    return {"excess_rmse": excess, "true_coverage_gap": ((high - low).mean((1, 2)) - LEVEL).abs()}

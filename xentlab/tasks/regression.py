"""Regression: a number is to be predicted, or D of them. Targets floats [N] or [N, D], metrics in their own unit.

A loss sees targets at mean 0 and deviation 1 over each seed's training rows; under the log link divided by their mean.
The link says what its outputs are: a point (identity, log, log1p), or a distribution (gaussian, laplace, student_t,
quantiles, histogram). A point gets the Gaussian of its residuals on validation as its predictive distribution.
"""

import functools
import operator
from typing import NamedTuple

import torch
from torch import Tensor

from xentlab import metrics
from xentlab.errors import UserError
from xentlab.metrics.noise import SHAPES, noise_cdf
from xentlab.metrics.predictive import Laplace, Normal, Predictive, StudentT
from xentlab.tasks import classes
from xentlab.tasks.contract import Examples, Facts, Link, Statistics, Task
from xentlab.tasks.distributions import mean_of, of_bins, of_quantiles, ordered, parts, positive_scale

_POINTS = ("identity", "log", "log1p")
# Training labels that are disturbed move by this many standard deviations, drawn from a normal distribution.
_OUTLIER = 5.0
# How far the bins of a histogram reach beyond the training targets, as a share of their range.
_MARGIN = 0.1


class Prediction(NamedTuple):
    """A point [R, B, D] and the distribution around it, in the target's unit."""

    point: Tensor
    predictive: Predictive


def _check(examples: Examples) -> None:
    targets, rule = examples.targets, f"Targets of dataset '{examples.name}' must be"
    if not targets.is_floating_point() or targets.ndim not in (1, 2):
        raise UserError(f"{rule} floats [N] or [N, D], got {str(targets.dtype)[6:]} {list(targets.shape)}.")
    columns = _columns(targets)
    if columns.shape[1] != examples.num_classes:
        raise UserError(f"{rule} {examples.num_classes} columns, as many as have names, got {columns.shape[1]}.")
    strange = columns[~columns.isfinite()]
    if len(strange):
        raise UserError(f"{rule} finite numbers, got {float(strange[0])}.")
    for name, column in zip(examples.class_names, columns.unbind(1), strict=True):
        if len(column) and bool((column == column[0]).all()):
            raise UserError(f"{rule} different from each other, got {float(column[0]):g} throughout in '{name}'.")


def _columns(targets: Tensor) -> Tensor:
    """Targets [N] or [N, D] as [N, D]."""
    return targets.unsqueeze(-1) if targets.ndim == 1 else targets


def _disturb(examples: Examples, train: Tensor, rate: float, kind: str, draws: torch.Generator) -> Tensor:
    targets = examples.targets
    chosen = torch.rand(targets.shape, generator=draws)[train] < rate
    moved = torch.randn(targets.shape, generator=draws, dtype=torch.float64)[train]
    size = _OUTLIER * targets[train].double().std(0, correction=0) * (moved if kind == "symmetric" else moved.abs())
    return torch.where(chosen, targets[train] + size.to(targets.dtype), targets[train])


def _exclusive(link: Link) -> bool:
    return False


# --- what a training set tells -----------------------------------------------------------------------------------


def _mean(train: Tensor, examples: Examples) -> Tensor:
    return _columns(train).double().mean(0)


def _spread(train: Tensor, examples: Examples) -> Tensor:
    spread = _columns(train).double().std(0, correction=0)
    return torch.where(spread > 0, spread, 1.0)


def _range(train: Tensor, examples: Examples) -> Tensor:
    """The least and the largest standardised target [2, D], and some room beside them."""
    standard = (_columns(train).double() - _mean(train, examples)) / _spread(train, examples)
    low, high = standard.amin(0), standard.amax(0)
    room = _MARGIN * torch.where(high > low, high - low, 1.0)
    return torch.stack([low - room, high + room])


def _least(train: Tensor, examples: Examples, above: bool) -> Tensor:
    """The least of all targets, train or not, which must be positive, or at least not negative."""
    least = torch.minimum(_columns(train).amin(0), _columns(examples.targets).amin(0))
    if bool((least < 0).any()) or (above and bool((least <= 0).any())):
        raise UserError(
            f"Targets of dataset '{examples.name}' must be {'> 0' if above else '>= 0'} for this loss, got "
            f"{float(least.min()):g}."
        )
    return least.double()


def _logs(train: Tensor, examples: Examples) -> Tensor:
    """Mean and deviation of `log(1 + target)` over the training rows [2, D]."""
    _least(train, examples, above=False)
    logs = torch.log1p(_columns(train).double())
    spread = logs.std(0, correction=0)
    return torch.stack([logs.mean(0), torch.where(spread > 0, spread, 1.0)])


def _weigh(target: Tensor, facts: Facts, ignore_index: int | None, link: Link) -> tuple[Tensor, Tensor | None]:
    columns, mean = _columns(target), facts["target_mean"]
    if link == "log":
        return columns / mean, None
    if link == "log1p":
        return (torch.log1p(columns) - facts["target_logs"][0]) / facts["target_logs"][1], None
    return (columns - mean) / facts["target_spread"], None


# --- what outputs say --------------------------------------------------------------------------------------------


def _point(outputs: Tensor, link: Link, facts: Facts) -> Tensor:
    """What a point loss predicts [R, B, D], in the target's unit."""
    if link == "log":
        return mean_of(outputs) * facts["target_mean"][:, None]
    if link == "log1p":
        logs = facts["target_logs"]
        return torch.expm1((outputs * logs[:, None, 1] + logs[:, None, 0]).clamp_max(80.0))
    return _own_unit(outputs, facts)


def _own_unit(values: Tensor, facts: Facts) -> Tensor:
    """Standardised numbers [R, B, D] in the target's unit."""
    return values * facts["target_spread"][:, None] + facts["target_mean"][:, None]


def _fitted(outputs: Tensor, targets: Tensor, link: Link, facts: Facts) -> Facts:
    if link not in _POINTS:
        return {}
    point = _point(outputs.double(), link, facts)
    residual = _like(targets.double(), point) - point
    spread = residual.std(1, correction=0)
    return {"residual_mean": residual.mean(1), "residual_spread": torch.maximum(spread, 1e-9 * facts["target_spread"])}


def _predict(outputs: Tensor, link: Link, facts: Facts) -> Prediction:
    outputs = outputs.double()
    facts = {name: fact.double() for name, fact in facts.items()}
    if link in _POINTS:
        point = _point(outputs, link, facts)
        spread = facts["residual_spread"][:, None].expand_as(point)
        return Prediction(point, Normal(point + facts["residual_mean"][:, None], spread))
    targets = facts["target_mean"].shape[-1]
    raw = parts(outputs, outputs.shape[-1] // targets)
    units = facts["target_mean"], facts["target_spread"]
    if link == "quantiles":
        return Prediction(*of_quantiles(ordered(raw), _knob(facts, "levels"), *units))
    if link == "histogram":
        return Prediction(*of_bins(torch.softmax(raw, -2), facts["target_range"], *units))
    loc = _own_unit(raw[..., 0, :], facts)
    scale = positive_scale(raw[..., 1, :]) * facts["target_spread"][:, None]
    if link == "student_t":
        return Prediction(loc, StudentT(loc, scale, _knob(facts, "df")[:, None, None].expand_as(loc)))
    return Prediction(loc, Laplace(loc, scale) if link == "laplace" else Normal(loc, scale))


def _knob(facts: Facts, name: str) -> Tensor:
    """A knob of the loss by its name [R, ...], also where the loss is one of several terms."""
    return next(value for path, value in facts.items() if path.startswith("loss.") and path.endswith(f".{name}"))


# --- the yardstick -----------------------------------------------------------------------------------------------


def _like(target: Tensor, point: Tensor) -> Tensor:
    """Targets [B], [R, B], [B, D] or [R, B, D] as [1 or R, B, D], beside a point [R, B, D]."""
    if target.ndim == 2 and target.shape != point.shape[1:]:
        return target.unsqueeze(-1)
    return target.reshape(-1, *point.shape[1:])


def _statistics(prediction: Prediction, target: Tensor, ignore_index: int | None) -> Statistics:
    point = prediction.point
    return metrics.regression_columns(point, prediction.predictive, _like(target, point))


def _answers(prediction: Prediction, target: Tensor) -> dict[str, Tensor]:
    return metrics.regression_answers(prediction.point, _like(target, prediction.point))


def _against_truth(stats: Statistics, truth: Tensor) -> dict[str, Tensor]:
    """Against the true mean, scale and shape of the noise, along the last axis of `truth`."""
    mean, scale = truth[..., :1], truth[..., 1:2]
    shape = SHAPES[int(truth.flatten()[2])]
    below, above = (noise_cdf(shape, (stats[end] - mean) / scale) for end in ("low", "high"))
    return metrics.conditional_metrics(stats, mean, below, above)


def _reliability(stats: Statistics) -> dict[str, Tensor]:
    """The histogram of the PIT values in 15 equal bins, and how often targets lie below each bin's upper quantile.

    As of classes: `count` is the histogram times the number of targets, so that `correct` is whole; `confidence` /
    `count` is the level of the upper quantile, `correct` / `count` the share of targets below it. The sixteenth bin, of
    what is certain, is empty.
    """
    pit = stats["pit"].flatten(1)
    levels = torch.arange(1, 16, device=pit.device, dtype=pit.dtype) / 15
    below = (pit.unsqueeze(-1) <= levels).sum(1)
    count = torch.cat([below[:, :1], below.diff(dim=1), torch.zeros_like(below[:, :1])], 1)
    level = torch.cat([levels, levels[-1:]])
    total = pit.shape[1]
    return {
        "count": total * count,
        "correct": count * torch.cat([below, below[:, -1:]], 1),
        "confidence": total * count * level,
    }


def _trivial(train: Tensor, judged: Tensor, examples: Examples) -> dict[str, float]:
    """Always the training mean, with the training deviation."""
    columns = _columns(judged).double()
    point = _mean(train, examples).to(columns.device).expand(1, *columns.shape)
    spread = _spread(train, examples).to(columns.device).expand_as(point)
    answers = Prediction(point, Normal(point, spread))
    return classes.to_values(metrics.regression_metrics(_statistics(answers, columns, None)))


def _draw(samples: int, targets: int, places: tuple[int, ...], link: Link, generator: torch.Generator) -> Tensor:
    """Random numbers [N, D], positive ones under the log link."""
    numbers = torch.randn(samples, targets, generator=generator, dtype=torch.float64)
    return numbers.abs() + 0.1 if link == "log" else numbers


REGRESSION = Task(
    name="regression",
    check=_check,
    floats=True,
    columns="numbers",
    noise=("symmetric", "asymmetric"),
    disturb=_disturb,
    output="vector",
    num_outputs=classes.num_classes,
    link="identity",
    links=(*_POINTS, "gaussian", "laplace", "student_t", "quantiles", "histogram"),
    exclusive=_exclusive,
    alike=operator.eq,
    weigh=_weigh,
    facts={
        "target_mean": _mean,
        "target_spread": _spread,
        "target_range": _range,
        "target_logs": _logs,
        "nonnegative": functools.partial(_least, above=False),
        "positive": functools.partial(_least, above=True),
    },
    always=("target_mean", "target_spread"),
    predict=_predict,
    fitted=_fitted,
    metrics=metrics.REGRESSION_METRICS,
    statistics=_statistics,
    combine=metrics.join,
    finish=metrics.regression_metrics,
    trivial=_trivial,
    reliability=_reliability,
    answers=_answers,
    truth_metrics=metrics.CONDITIONAL_METRICS,
    against_truth=_against_truth,
    batch_size=32,
    forms=("real",),
    draw=_draw,
)

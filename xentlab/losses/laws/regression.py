"""Laws of regression: what moving and stretching does, and what of a distribution a loss is least at."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from xentlab.losses.laws.cases import cases
from xentlab.losses.laws.contract import Counterexample, Skipped, Subject, differs, show
from xentlab.tasks.distributions import mean_of, parts

_CLASSES = "its targets are classes, not numbers"
_SAMPLE = 401
_APART = 1e-5
_STEP = 24.0 / 4000


def translation(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """Adding a constant to the predicted and the true number alike changes nothing, or does, as declared."""
    if not subject.task.numeric:
        raise Skipped(_CLASSES)
    for case in cases(subject, dtype, generator):
        for constant in (0.5, 3.0):
            moved = parts(case.logits, subject.bound.outputs).clone()
            moved[:, 0] += constant
            before = subject.values(case.logits, case.target)
            after = subject.values(moved.flatten(1), case.target + constant)
            if not differs(after, before):
                continue
            if not subject.spec.moves:
                return
            message = f"{float(before[0]):.6g} became {float(after[0]):.6g} when {constant:g} was added to both"
            yield Counterexample(message, case.logits, case.target)
    if not subject.spec.moves:
        yield Counterexample("declared moves=False, but a constant changed nothing")


def stretch(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """A factor common to the predicted and the true number multiplies the value by its declared power."""
    degree = subject.spec.degree
    if not subject.task.numeric:
        raise Skipped(_CLASSES)
    if degree is None:
        raise Skipped("it declares no degree")
    for case in cases(subject, dtype, generator):
        for factor in (0.5, 3.0):
            stretched = case.logits + math.log(factor) if subject.link == "log" else case.logits * factor
            before = subject.values(case.logits, case.target)
            after = subject.values(stretched, case.target * factor)
            if differs(after, before * factor**degree):
                message = f"{float(before[0]):.6g} became {float(after[0]):.6g} at the factor {factor:g}"
                yield Counterexample(message, case.logits, case.target)


def functional(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:  # noqa: ARG001
    """The constant of least mean value over a skewed sample is the mean, median, ... that it declares to elicit."""
    if not subject.task.numeric:
        raise Skipped(_CLASSES)
    what = subject.spec.elicits
    if what in ("", "distribution"):
        raise Skipped("it declares to elicit no number")
    levels = (torch.arange(_SAMPLE, dtype=dtype) + 0.5) / _SAMPLE
    sample = 0.1 - torch.log1p(-levels)  # exponential, moved off 0
    for given in [{"level": level} for level in (0.1, 0.5, 0.83)] if "level" in subject.schema else [{}]:
        wanted = _elicited(what, sample, given.get("level", 0.5))
        found = _least(subject, sample, given)
        found = float(mean_of(torch.tensor(found, dtype=dtype))) if subject.link == "log" else found
        if abs(found - wanted) > _APART:
            yield Counterexample(f"least at {found:.6g}, not at the {what} {wanted:.6g} of the sample,", knobs=given)


def _elicited(what: str, sample: Tensor, level: float) -> float:
    """The functional of a sorted sample."""
    if what == "mean":
        return float(sample.mean())
    if what in ("median", "quantile"):
        return float(sample[math.ceil((0.5 if what == "median" else level) * len(sample)) - 1])
    from scipy.stats import expectile

    return float(expectile(sample.numpy(), alpha=level))


def _least(subject: Subject, sample: Tensor, given: Mapping[str, Any]) -> float:
    """The output of least mean value over the sample, by ever finer grids."""
    low, high = -10.0, 10.0
    for _ in range(12):
        points = torch.linspace(low, high, 41, dtype=sample.dtype)
        outputs = points.repeat_interleave(len(sample)).unsqueeze(1)
        values = subject.values(outputs, sample.repeat(len(points)).unsqueeze(1), **given)
        best = int(values.reshape(len(points), -1).mean(1).argmin())
        low, high = float(points[max(best - 1, 0)]), float(points[min(best + 1, len(points) - 1)])
    return (low + high) / 2


def distribution(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """The expected value under the distribution that outputs stand for is least at those outputs, and only there."""
    if subject.spec.elicits != "distribution":
        raise Skipped("it elicits no whole distribution")
    for _ in range(4):
        truth = torch.randn(1, subject.bound.outputs, generator=generator, dtype=dtype)
        y, chance = _quadrature(subject, truth)
        at_truth = float((chance * subject.values(truth.expand(len(y), -1), y)).sum())
        for rival in _rivals(truth, generator):
            risk = float((chance * subject.values(rival.expand(len(y), -1), y)).sum())
            if risk <= at_truth + _APART:
                message = (
                    f"under outputs {show(truth[0])} the expected value is {at_truth:.6g}, and no greater at others"
                )
                yield Counterexample(message, rival)


def _quadrature(subject: Subject, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Targets [M, 1] and their probabilities under the distribution that `truth` [1, K] stands for."""
    one = torch.ones(1, 1, dtype=truth.dtype)
    facts = {"target_mean": 0.0 * one, "target_spread": one}
    facts |= {name: torch.tensor([value]) for name, value in subject.bound.numbers.items()}
    prediction = subject.task.predict(truth.unsqueeze(0), subject.link, facts)
    u = torch.arange(-2000, 2001, dtype=truth.dtype) * _STEP
    y = prediction.point.reshape(()) + torch.sinh(u)
    density = prediction.predictive.log_density(y.reshape(1, -1, 1)).reshape(-1).exp()
    chance = density * torch.cosh(u)
    return y.unsqueeze(1), chance / chance.sum()


def _rivals(truth: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    for size in (0.1, 0.3, 1.0, 3.0):
        for _ in range(12):
            direction = torch.randn(truth.shape, generator=generator, dtype=truth.dtype)
            yield truth + size * direction / direction.norm()

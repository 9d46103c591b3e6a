"""Laws of what a loss says of itself: the losses that it contains as limits, and what it is minimised by."""

import functools
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from xentlab import losses
from xentlab.errors import UserError
from xentlab.losses.contract import Limit, suits
from xentlab.losses.laws.cases import draw_target, one_true, space
from xentlab.losses.laws.contract import Counterexample, Skipped, Subject, show, slope_of, subject
from xentlab.losses.laws.regression import distribution
from xentlab.tasks import probabilities

_STEPS = 40
# Probabilities whose log-odds are further apart than this are different ones; a minimum in float64 is far closer.
_APART = 1e-2
_MODERATE = 4


def limits(this: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """At the knobs of each declared limit it is the other loss, times the declared factor.

    With one true class; where several may be true and the limit is not one of two classes, on label sets too.
    """
    if not this.spec.limits:
        raise Skipped("it declares no limits")
    compared = False
    for limit in this.spec.limits:
        other = _other(limit, this)
        if other is None:
            continue
        compared = True
        yield from _compare_limit(this, limit, other, dtype, generator)
    if not compared:
        raise Skipped("its limits are losses of other tasks")


def _other(limit: Limit, this: Subject) -> Subject | None:
    """The loss that a limit names, or None where it has no meaning on the task, or follows it to another link."""
    function = getattr(losses, limit.equals, None)
    if function is None:
        raise UserError(f"a limit must name a loss of xentlab.losses, got '{limit.equals}'.")
    if not suits(function.spec, this.task):
        return None
    other = subject(functools.partial(function, **limit.other_knobs), this.task.name)
    return None if function.spec.link == "task" and other.link != this.link else other


def _compare_limit(
    this: Subject, limit: Limit, other: Subject, dtype: torch.dtype, generator: torch.Generator
) -> Iterator[Counterexample]:
    sizes = ((1, 2), (3, 2)) if limit.binary else ((1, 2), (2, 3), (3, 5))
    for samples, classes in sizes:
        logits = torch.randn(samples, classes * this.bound.outputs, *space(this), generator=generator, dtype=dtype)
        if this.task.numeric:
            targets = [draw_target(this, "real", samples, classes, generator)]
        else:
            indices = torch.randint(classes, (samples, *space(this)), generator=generator)
            targets = [one_true(this, indices, classes, dtype)]
            if not (this.exclusive or limit.binary):
                targets.append(draw_target(this, "soft", samples, classes, generator))
        for target in targets:
            got = this.values(logits, target, **limit.knobs)
            wanted = limit.factor * other.values(logits, target)
            if got.shape != wanted.shape or not torch.allclose(got, wanted, rtol=limit.rtol, atol=limit.rtol):
                words = f"{show(got)}, but {limit.factor:.6g} * {other.name} is {show(wanted)},"
                yield Counterexample(words, logits, target, limit.knobs)


def proper(this: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """The expected loss under p is least where, and only where, link(logits) = p; or it is not, as declared.

    A counterexample is certain: logits of another probability at which the expected loss, in float64, is no greater
    than at p. It is searched from several starts by damped Newton steps.
    """
    if this.task.numeric:
        yield from distribution(this, dtype, generator)
        return
    if not this.declared:
        raise Skipped("it declares nothing about proper scoring")
    if this.spec.coupled:
        raise Skipped("its elements influence each other, so that an expected loss of one does not exist")
    for classes in (2, 3):
        truth = _truth(this, classes, generator, dtype)
        found = _better_elsewhere(this, truth, generator)
        if found is None:
            continue
        if not this.spec.proper:
            return
        yield found
    if not this.spec.proper:
        yield Counterexample("declared proper=False, but no logits but those of p minimise the expected loss")


def _truth(this: Subject, classes: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Random true probabilities [P, C]: of the one true class, or of each label."""
    draws = 1.5 * torch.randn(_MODERATE, classes, generator=generator, dtype=dtype)
    # A loss may only turn at certainty, such as one with a wide margin.
    draws = torch.cat([draws, torch.linspace(0.0, 20.0, classes, dtype=dtype).unsqueeze(0)])
    return torch.softmax(draws, 1) if this.exclusive else torch.sigmoid(draws - 10.0 * (draws.amax(1) > 9)[:, None])


def _expected(this: Subject, logits: Tensor, truth: Tensor) -> Tensor:
    """The expected loss [K] at `logits` [K, C] under `truth` [K, C]."""
    count, classes = logits.shape
    if this.exclusive:
        outcomes = torch.eye(classes, dtype=logits.dtype)
        chance = truth
    else:
        outcomes = torch.tensor(list(itertools.product((0.0, 1.0), repeat=classes)), dtype=logits.dtype)
        chance = torch.where(outcomes > 0, truth.unsqueeze(1), 1.0 - truth.unsqueeze(1)).prod(2)
    pixel = tuple(1 for _ in space(this))
    rows = logits.repeat_interleave(len(outcomes), 0).reshape(-1, classes, *pixel)
    if this.exclusive:
        indices = torch.arange(classes).repeat(count).reshape(-1, *pixel)
        target = one_true(this, indices, classes, logits.dtype)
    else:
        target = outcomes.repeat(count, 1).reshape(-1, classes, *pixel)
    return (chance * this.values(rows, target).reshape(count, len(outcomes))).sum(1)


def _better_elsewhere(this: Subject, truth: Tensor, generator: torch.Generator) -> Counterexample | None:
    """Logits of another probability than the true one at which the expected loss is no greater."""
    at_truth = _logits_of(this, truth)
    noise = torch.randn(truth.shape, generator=generator, dtype=truth.dtype)
    starts = torch.cat([at_truth[-1], torch.zeros_like(truth), 2.0 * noise, -4.0 * noise])
    found = _descend(this, starts, truth.repeat(4, 1))
    points = torch.cat([*at_truth.unbind(0), starts, found])
    with torch.no_grad():
        risks = _expected(this, points, truth.repeat(len(points) // len(truth), 1)).reshape(-1, len(truth))
    implied = probabilities(points, this.link, exclusive=this.exclusive).reshape(-1, *truth.shape)
    away = ((implied - truth) / (truth * (1.0 - truth))).abs().amax(2)
    best = risks.masked_fill(away > 1e-4, torch.inf).amin(0)
    rivals = risks.masked_fill(away < _APART, torch.inf)
    # Near certainty the risk is so flat that only a clear gain means anything.
    margin = torch.full_like(best, 1e-13)
    margin[_MODERATE:] = -1e-10
    better = rivals <= best + margin * (1.0 + best.abs())
    if not bool(better.any()):
        return None
    column = int(better.any(0).to(torch.int8).argmax())
    row = int(rivals[:, column].argmin())
    message = (
        f"under p = {show(truth[column])} the expected loss is {float(rivals[row, column]):.6g} where the link gives "
        f"{show(implied[row, column])}, and {float(best[column]):.6g} where it gives p,"
    )
    return Counterexample(message, points.reshape(-1, *truth.shape)[row, column])


def _logits_of(this: Subject, truth: Tensor) -> Tensor:
    """Logits [S, P, C] whose link is `truth`, several where the link forgets something; the plainest last."""
    if this.link == "sigmoid":
        shares = [0.2, 0.5, 0.9, 1.0] if this.exclusive else [1.0]
        return torch.stack([torch.logit(s * truth) for s in shares])
    base = torch.log(truth) if this.link == "softmax" else truth
    constants = [-2.0, -1.0, 1.0, 2.0, 0.0] if this.exclusive else [0.0]
    return torch.stack([base + c for c in constants])


def _descend(this: Subject, start: Tensor, truth: Tensor) -> Tensor:
    """Damped Newton steps on the expected loss, each point [K, C] on its own; a step that does not descend is undone.

    The curvature is a difference of gradients, so that a loss needs one derivative only.
    """
    points, classes = start.clone(), start.shape[1]
    risk, slope = _risk_and_slope(this, points, truth)
    damping = torch.full((len(points),), 1e-2, dtype=points.dtype)
    offsets = 1e-5 * torch.cat([torch.eye(classes), -torch.eye(classes)]).to(points.dtype)
    eye = torch.eye(classes, dtype=points.dtype)
    for _ in range(_STEPS):
        around = (points.unsqueeze(1) + offsets).reshape(-1, classes)
        _, nearby = _risk_and_slope(this, around, truth.repeat_interleave(2 * classes, 0))
        ahead, behind = nearby.reshape(-1, 2 * classes, classes).split(classes, 1)
        curvature = (ahead - behind) / 2e-5
        values, axes = torch.linalg.eigh(((curvature + curvature.mT) / 2.0).nan_to_num() + 1e-15 * eye)
        along = (axes.mT @ slope.unsqueeze(2)).squeeze(2) / (values.abs() + damping.unsqueeze(1))
        step = (axes @ along.unsqueeze(2)).squeeze(2)
        step = step * (4.0 / step.norm(dim=1, keepdim=True).clamp_min(4.0))
        trial = points - step
        trial_risk, trial_slope = _risk_and_slope(this, trial, truth)
        better = trial_risk <= risk
        points = torch.where(better.unsqueeze(1), trial, points)
        slope = torch.where(better.unsqueeze(1), trial_slope, slope)
        risk = torch.where(better, trial_risk, risk)
        damping = torch.where(better, damping / 4.0, damping * 8.0).clamp(1e-12, 1e6)
        if bool((step.norm(dim=1) < 1e-9).all()):
            break
    return points


def _risk_and_slope(this: Subject, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().clone().requires_grad_()
    risk = _expected(this, leaf, truth)
    return risk.detach(), slope_of(risk, leaf, Counterexample("", logits[:1]))

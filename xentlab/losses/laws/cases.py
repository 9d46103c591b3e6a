"""Inputs for the laws: logits and targets of every form that a task allows, smallest shapes first."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab.losses.laws.contract import Subject
from xentlab.schema import Knob
from xentlab.tasks import Form

SIZES = ((1, 2), (2, 3), (3, 5))
"""Samples N and classes C. A sample with axes of places has two along each: an image of 2 x 2 pixels."""


@dataclass(frozen=True)
class Case:
    """Valid inputs of a loss on its task."""

    logits: Tensor
    target: Tensor


def forms(subject: Subject) -> tuple[Form, ...]:
    """The forms of targets that the task allows and the loss declares: the task's own, and floats."""
    return subject.task.forms if subject.spec.float_targets else subject.task.forms[:1]


def cases(
    subject: Subject,
    dtype: torch.dtype,
    generator: torch.Generator,
    *,
    sizes: tuple[tuple[int, int], ...] = SIZES,
    only: Form | None = None,
) -> Iterator[Case]:
    """Random inputs of every size and form."""
    for samples, classes in sizes:
        for form in forms(subject):
            if only in (None, form):
                width = classes * subject.bound.outputs
                logits = torch.randn(samples, width, *space(subject), generator=generator, dtype=torch.float64)
                target = draw_target(subject, form, samples, classes, generator)
                yield Case(logits.to(dtype), target if form == "index" else target.to(dtype))


def space(subject: Subject) -> tuple[int, ...]:
    """The axes of an element's places, such as pixels; none where an example is one element."""
    return (2,) * subject.task.axes


def draw_target(subject: Subject, form: Form, samples: int, classes: int, generator: torch.Generator) -> Tensor:
    """A random target: indices, distributions, or what the objective makes of n-hot rows; floats in float64."""
    if form == "index":
        return torch.randint(classes, (samples, *space(subject)), generator=generator)
    assert subject.task.draw is not None
    return subject.task.draw(samples, classes, space(subject), subject.link, generator)


def one_true(subject: Subject, indices: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Targets with one true class in the task's own form: indices, or one-hot rows where it has no indices."""
    return indices if "index" in subject.task.forms else one_hot(indices, classes, dtype)


def one_hot(indices: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """One-hot floats with the classes along axis 1."""
    return torch.movedim(F.one_hot(indices, num_classes=classes), -1, 1).to(dtype)


def spread(subject: Subject, rows: Tensor) -> Tensor:
    """Rows [N, C] or [N] as images in which every place is alike, where the task has places; else as they are."""
    pixels = space(subject)
    return rows.reshape(*rows.shape, *(1 for _ in pixels)).expand(*rows.shape, *pixels).contiguous()


def extremes(subject: Subject, dtype: torch.dtype, *, largest: float) -> Iterator[Case]:
    """Logits at ties, at certainty and at +-`largest`, each under every true class, in batches of one class count.

    Where targets are numbers: outputs of such sizes under small and large ones.
    """
    if subject.task.numeric:
        yield from _extreme_numbers(subject, dtype, largest)
        return
    for classes in (1, 2, 3):
        eye = torch.eye(classes, dtype=torch.float64)
        rows = [torch.zeros(classes, dtype=torch.float64)]
        for size in (30.0, 200.0, largest):
            ramp = torch.linspace(-1.0, 1.0, classes, dtype=torch.float64)
            tie = 1.0 - eye[0]
            rows += [
                size * r for r in (*eye, *(-eye), torch.ones(classes), -torch.ones(classes), ramp, tie, 2 * tie - 1)
            ]
        logits = torch.stack([r.double() for r in rows]).repeat_interleave(classes, 0)
        truth = torch.arange(classes).repeat(len(rows))
        wide = spread(subject, logits).to(dtype)
        yield Case(wide, one_true(subject, spread(subject, truth), classes, dtype))
        if "soft" in forms(subject):
            mixed = torch.full((len(logits), classes), 1.0 / classes, dtype=dtype)
            yield Case(wide, spread(subject, mixed))
            if not subject.exclusive:
                yield Case(wide, torch.zeros_like(wide))
                yield Case(wide, torch.ones_like(wide))


def _extreme_numbers(subject: Subject, dtype: torch.dtype, largest: float) -> Iterator[Case]:
    generator = torch.Generator().manual_seed(1)
    for targets in (1, 2):
        width = targets * subject.bound.outputs
        eye = torch.eye(width, dtype=torch.float64)[: 2 * targets]
        ramp = torch.linspace(-1.0, 1.0, width, dtype=torch.float64)
        ones = torch.ones(width, dtype=torch.float64)
        rows = [0.0 * ones]
        for size in (30.0, 200.0, largest):
            rows += [size * row for row in (*eye, *-eye, ones, -ones, ramp, -ramp)]
        target = draw_target(subject, "real", len(rows), targets, generator)
        for factor in (1.0, 100.0):
            yield Case(torch.stack(rows).to(dtype), (factor * target).to(dtype))


def draw_knob(knob: Knob, generator: torch.Generator, *, reach: float = 1.0) -> float:
    """A random value in the declared range of a float knob; `reach` is how many powers of ten it may lie from a bound.

    Uniform between two bounds, log-uniform above or below one. Without a declared range: near the default.
    """
    u = float(torch.rand((), generator=generator, dtype=torch.float64))
    if knob.range is None:
        base = float(knob.default) if isinstance(knob.default, (int, float)) else 1.0
        return base * (0.5 + u) if base else u
    low, high = knob.range.low, knob.range.high
    if low is not None and high is not None:
        return low + (high - low) * (0.02 + 0.96 * u)
    size = 10.0 ** (reach * (2.0 * u - 1.0))
    if low is not None:
        return low + size
    if high is not None:
        return high - size
    return size if float(torch.rand((), generator=generator)) < 0.5 else -size


def float_knobs(subject: Subject) -> dict[str, Knob]:
    """The knobs that may differ inside a stack."""
    return {name: subject.schema[name] for name in subject.bound.terms[""].data}

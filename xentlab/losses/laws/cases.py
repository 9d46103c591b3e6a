"""Inputs for the laws: logits and targets of every kind that a task allows, smallest shapes first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab.losses.laws.contract import Subject
from xentlab.schema import Knob

Kind = Literal["index", "soft"]
SIZES = ((1, 2), (2, 3), (3, 5))
"""Samples N and classes C. On segmentation each sample is an image of 2 x 2 pixels."""


@dataclass(frozen=True)
class Case:
    """Valid inputs of a loss on its task."""

    logits: Tensor
    target: Tensor


def kinds(subject: Subject) -> tuple[Kind, ...]:
    """The kinds of targets that the task allows: n-hot floats on multilabel, else indices and, if declared, floats."""
    if subject.task == "multilabel":
        return ("soft",)
    return ("index", "soft") if subject.spec.soft else ("index",)


def cases(
    subject: Subject,
    dtype: torch.dtype,
    generator: torch.Generator,
    *,
    sizes: tuple[tuple[int, int], ...] = SIZES,
    only: Kind | None = None,
) -> Iterator[Case]:
    """Random inputs of every size and kind."""
    for samples, classes in sizes:
        for kind in kinds(subject):
            if only in (None, kind):
                logits = torch.randn(samples, classes, *space(subject), generator=generator, dtype=torch.float64)
                target = draw_target(subject, kind, samples, classes, generator)
                yield Case(logits.to(dtype), target if kind == "index" else target.to(dtype))


def space(subject: Subject, side: int = 2) -> tuple[int, ...]:
    """The axes of the pixels, none outside segmentation."""
    return (side, side) if subject.task == "segmentation" else ()


def draw_target(subject: Subject, kind: Kind, samples: int, classes: int, generator: torch.Generator) -> Tensor:
    """A random target: indices, distributions, or what the objective makes of n-hot rows; floats in float64."""
    pixels = space(subject)
    if kind == "index":
        return torch.randint(classes, (samples, *pixels), generator=generator)
    if subject.task != "multilabel":
        scores = 2.0 * torch.randn(samples, classes, *pixels, generator=generator, dtype=torch.float64)
        return torch.softmax(scores, 1)
    labels = (torch.rand(samples, classes, generator=generator) < 0.5).double()
    if not subject.bound.as_distribution:
        return labels
    labels[labels.sum(1) == 0, 0] = 1.0
    return labels / labels.sum(1, keepdim=True)


def one_true(subject: Subject, indices: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Targets with one true class in the form that the task gives them: indices, or one-hot rows on multilabel."""
    return one_hot(indices, classes, dtype) if subject.task == "multilabel" else indices


def one_hot(indices: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """One-hot floats with the classes along axis 1."""
    return torch.movedim(F.one_hot(indices, num_classes=classes), -1, 1).to(dtype)


def spread(subject: Subject, rows: Tensor) -> Tensor:
    """Rows [N, C] or [N] as images in which every pixel is alike, on segmentation; else as they are."""
    pixels = space(subject)
    return rows.reshape(*rows.shape, *(1 for _ in pixels)).expand(*rows.shape, *pixels).contiguous()


def extremes(subject: Subject, dtype: torch.dtype, *, largest: float) -> Iterator[Case]:
    """Logits at ties, at certainty and at +-`largest`, each under every true class, in batches of one class count."""
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
        if "soft" in kinds(subject):
            mixed = torch.full((len(logits), classes), 1.0 / classes, dtype=dtype)
            yield Case(wide, spread(subject, mixed))
            if subject.task == "multilabel" and not subject.bound.as_distribution:
                yield Case(wide, torch.zeros_like(wide))
                yield Case(wide, torch.ones_like(wide))


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

"""Laws of shape and number: what a loss returns, that it is finite, that its gradient is its gradient."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from xentlab.losses.laws.cases import (
    Case,
    cases,
    draw_knob,
    extremes,
    float_knobs,
    forms,
    one_true,
    space,
    spread,
)
from xentlab.losses.laws.contract import Counterexample, LossError, Skipped, Subject, error_in_a_line

_LARGEST = 1e4
_CLOSE = 1e-9


def shape(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """One value for each element (for each image, where the loss takes `weight`), in the precision of the logits."""
    for case in _with_absent_classes(subject, dtype, generator):
        logits, target = case.logits, case.target
        wanted = logits.shape[:1] if subject.per_image else logits.shape[:1] + logits.shape[2:]
        values = subject.values(logits, target)
        if values.shape != wanted:
            reduced = " (a mean or a sum belongs to the training step)" if values.ndim == 0 else ""
            message = f"values of shape {list(values.shape)}, not {list(wanted)}{reduced},"
            yield Counterexample(message, logits, target)
        if values.dtype != dtype:
            yield Counterexample(f"values in {_word(values.dtype)} for logits in {_word(dtype)}", logits, target)
        if target.is_floating_point() and subject.declared:
            found = subject.values(logits, target.double()).dtype
            if found != dtype:
                message = f"values in {_word(found)} for logits in {_word(dtype)} and a target in float64"
                yield Counterexample(message, logits, target)


def finite(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """Value and gradient are finite at ties, at certainty and at logits of +-1e4; of one class and none too."""
    for case in extremes(subject, dtype, largest=_LARGEST):
        yield from _infinite(subject, case)
    for case in cases(subject, dtype, generator, sizes=((2, 3),)):
        values, _ = subject.gradient(case.logits[:0], case.target[:0])
        if len(values):
            yield Counterexample(f"an empty batch has values of shape {list(values.shape)}")


def nan(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """NaN in the logits of an element (of an image, for a loss of images) is NaN in its value, whichever is true."""
    for case in cases(subject, dtype, generator):
        classes = case.logits.shape[1]
        targets = [case.target]
        if not subject.task.numeric:
            alike = torch.zeros_like(case.logits[:, 0], dtype=torch.int64)
            targets += [one_true(subject, alike + c, classes, dtype) for c in range(classes)]
        for at in range(classes):
            logits = case.logits.clone()
            logits[:, at] = torch.nan
            for target in targets:
                values = subject.values(logits, target)
                if not bool(values.isnan().all()):
                    number = float(values[~values.isnan()][0])
                    yield Counterexample(f"value {number:g}, not nan,", logits, target)


def masked(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """A class masked by -inf that is never the true one leaves value and gradient finite, and gets no gradient."""
    if subject.link == "identity" or subject.task.numeric:
        raise Skipped("its outputs are no logits, among which -inf could mask a class")
    for case in cases(subject, dtype, generator):
        classes = case.logits.shape[1]
        for at in range(classes):
            logits = case.logits.clone()
            logits[:, at] = -torch.inf
            if case.target.is_floating_point():
                target = case.target.clone()
                target[:, at] = 0.0
                if subject.exclusive:
                    left = target.sum(1, keepdim=True)
                    target = torch.where(left > 0, target / left.clamp_min(1e-9), 1.0 / (classes - 1))
                    target[:, at] = 0.0
            else:
                target = torch.where(case.target == at, (at + 1) % classes, case.target)
            yield from _infinite(subject, Case(logits, target))
            if bool((subject.gradient(logits, target)[1][:, at] != 0).any()):
                yield Counterexample("a masked class got a gradient", logits, target)


def autocast(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:  # noqa: ARG001
    """Value and gradient are finite on bfloat16 logits inside a bfloat16 autocast."""
    for case in extremes(subject, dtype, largest=1e3):
        target = case.target.bfloat16() if case.target.is_floating_point() else case.target
        with torch.autocast("cpu", torch.bfloat16):
            found = list(_infinite(subject, Case(case.logits.bfloat16(), target)))
        yield from found


def gradient(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """The gradient is that of the values, by `torch.autograd.gradcheck`; or it is not, as declared."""
    for case in cases(subject, dtype, generator, sizes=((1, 2), (2, 3))):
        logits = case.logits.clone().requires_grad_()

        def function(z: Tensor, case: Case = case) -> Tensor:
            return subject.values(z.clone(), case.target)

        try:
            torch.autograd.gradcheck(function, (logits,))
        except LossError:
            raise
        except RuntimeError as error:
            message = "the gradient is not the slope of the values"
            if not subject.spec.slope and "Jacobian mismatch" in str(error):
                return
            if "Jacobian mismatch" not in str(error):
                message = f"no gradient: {error_in_a_line(error)}"
            yield Counterexample(message, case.logits, case.target)
    if not subject.spec.slope:
        yield Counterexample("declared slope=False, but its gradient is its slope")


def pure(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """The same inputs give the same values, bit by bit, and are left as they were."""
    for case in cases(subject, dtype, generator):
        logits, target = case.logits.clone(), case.target.clone()
        first = subject.values(logits, target)
        for name, tensor, before in (("logits", logits, case.logits), ("target", target, case.target)):
            if not torch.equal(tensor, before):
                yield Counterexample(f"{name} were changed in place", case.logits, case.target)
        if not torch.equal(first.nan_to_num(), subject.values(logits, target).nan_to_num()):
            yield Counterexample("a second call gave other values", case.logits, case.target)


def knob_ranges(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """Value and gradient are finite for knobs anywhere in their declared ranges, each alone and all at once.

    Just inside a bound that is itself forbidden, too; there as a tensor as well, as in a stack, which may round to it.
    """
    if not subject.schema:
        raise Skipped("it has no knobs")
    batches = []
    for form in forms(subject):
        batches += list(cases(subject, dtype, generator, sizes=((4, 3),), only=form))
    if subject.task.numeric:
        batches += [Case(10.0 * case.logits, case.target) for case in batches]
    else:
        certain = torch.cat([20.0 * torch.eye(2), torch.zeros(1, 2)]).repeat_interleave(2, 0)
        truth = spread(subject, torch.arange(2).repeat(3))
        batches += [Case(spread(subject, certain).to(dtype), one_true(subject, truth, 2, dtype))]
    for given in _settings(subject, generator, dtype):
        for case in batches:
            yield from _infinite(subject, case, **given)


def refusal(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """A target that does not fit the logits raises an error, or gives nan; it never gives a number."""
    classes, pixels = 4, space(subject)
    width = classes * subject.bound.outputs
    logits = torch.randn(3, width, *pixels, generator=generator, dtype=torch.float64).to(dtype)
    floats = {"one class too many": (3, 5), "one class": (3, 1), "one sample": (1, 4), "two samples": (2, 4)}
    wrong: dict[str, Tensor] = {}
    if subject.task.numeric:
        wrong["whole numbers in the target"] = torch.ones(3, classes, dtype=torch.int64)
    if "index" not in forms(subject) or subject.spec.float_targets:
        wrong |= {f"{k} in the target": torch.full((*s, *pixels), 0.25, dtype=dtype) for k, s in floats.items()}
        if not pixels:
            wrong["classes along no axis of the target"] = torch.full((3,), 0.25, dtype=dtype)
    elif "index" in subject.task.forms:
        wrong["floats that it declares meaningless"] = torch.full((3, classes, *pixels), 0.25, dtype=dtype)
    if "index" in forms(subject):
        wrong |= {
            "two samples in the target": torch.zeros(2, *pixels, dtype=torch.int64),
            "one sample in the target": torch.zeros(1, *pixels, dtype=torch.int64),
            "a class that does not exist": torch.full((3, *pixels), classes),
            "PyTorch's -100 for nothing": torch.full((3, *pixels), -100),
            "n-hot labels as whole numbers": torch.ones(3, classes, *pixels, dtype=torch.int64),
        }
        if pixels:
            wrong["one row of places in the target"] = torch.zeros(3, 1, *pixels[1:], dtype=torch.int64)
            wrong["no places in the target"] = torch.zeros(3, dtype=torch.int64)
    for what, target in wrong.items():
        try:
            values = subject.values(logits, target)
        except LossError:
            continue
        if not bool(torch.isfinite(values).any()):
            continue
        first = ", ".join(f"{v:.4g}" for v in values.flatten().tolist()[:3])
        yield Counterexample(f"logits of shape {list(logits.shape)} and {what} gave {first}, ...,", None, target)


def _with_absent_classes(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Case]:
    """Inputs of every size, and those in which the last classes occur nowhere."""
    for case in cases(subject, dtype, generator):
        yield case
        if not case.target.is_floating_point():
            yield from (Case(case.logits, torch.full_like(case.target, c)) for c in (0, 1))


def _settings(subject: Subject, generator: torch.Generator, dtype: torch.dtype) -> Iterator[Mapping[str, Any]]:
    """Settings of the knobs: every choice, the bounds that are allowed, random values, and random values together."""
    for name, knob in subject.schema.items():
        options: tuple[Any, ...] = knob.choices or ((False, True) if knob.kind is bool else ())
        yield from ({name: option} for option in options)
    ranges = {name: (knob, knob.range) for name, knob in float_knobs(subject).items() if knob.range is not None}
    for name, (knob, allowed) in ranges.items():
        ends = [(end, step) for end, step in ((allowed.low, _CLOSE), (allowed.high, -_CLOSE)) if end is not None]
        yield from ({name: float(end)} for end, _ in ends if end in allowed)
        yield from ({name: draw_knob(knob, generator, reach=2.0)} for _ in range(4))
        for inside in [end + step for end, step in ends if end not in allowed]:
            yield from ({name: inside}, {name: torch.tensor(inside, dtype=dtype)})
    if len(ranges) > 1:
        yield from ({n: draw_knob(k, generator, reach=2.0) for n, (k, _) in ranges.items()} for _ in range(4))


def _infinite(subject: Subject, case: Case, **knobs: Any) -> Iterator[Counterexample]:
    """The first sample whose value, and whose gradient, is not finite."""
    values, slope = subject.gradient(case.logits, case.target, **knobs)
    for what, tensor in (("value", values), ("gradient", slope)):
        sound = torch.isfinite(tensor)
        if bool(sound.all()):
            continue
        row = int((~sound).reshape(len(tensor), -1).any(1).to(torch.int8).argmax())
        bad = tensor[row].flatten()
        number = float(bad[~torch.isfinite(bad)][0])
        yield Counterexample(f"{what} {number:g}", case.logits[row : row + 1], case.target[row : row + 1], knobs)


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

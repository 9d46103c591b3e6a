"""Laws of what may change and what must not: other elements, the names of the classes, a constant, the true class.

Where a declaration can be true or false, it is held to both: a loss that declares `shift_invariant=False` must change
under a constant. What a loss without a declaration cannot be asked is skipped.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from xentlab.losses.laws.cases import cases, draw_target, one_hot, one_true, space, spread
from xentlab.losses.laws.contract import Counterexample, Skipped, Subject, differs

NUMBERS = "its targets are numbers, not classes"


def independence(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """The value of an element (of an image, for a loss of images) is its own: other elements do not change it."""
    found = _influence(subject, dtype, generator)
    if not subject.spec.coupled:
        yield from found
    elif next(found, None) is None:
        yield Counterexample("declared coupled, but no element changed another's value")


def _influence(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    for case in cases(subject, dtype, generator, sizes=((2, 2), (3, 3), (4, 5))):
        before = subject.values(case.logits, case.target)
        logits, target = case.logits.clone(), case.target.clone()
        if space(subject) and not subject.per_image:
            # One place of the first example stays, such as a pixel of an image, everything else changes.
            flat = -subject.task.axes
            logits[...] = 3.0 * torch.randn(logits.shape, generator=generator, dtype=torch.float64).to(dtype)
            target = target.roll(1, -1)
            logits.flatten(flat)[0, :, 0] = case.logits.flatten(flat)[0, :, 0]
            target.flatten(flat)[0, ..., 0] = case.target.flatten(flat)[0, ..., 0]
            after, kept = subject.values(logits, target).flatten(flat)[0, 0], before.flatten(flat)[0, 0]
        else:
            logits[1:] = 3.0 * torch.randn(logits[1:].shape, generator=generator, dtype=torch.float64).to(dtype)
            target[1:] = target[1:].flip(1) if target.is_floating_point() else (target[1:] + 1) % logits.shape[1]
            after, kept = subject.values(logits, target)[0], before[0]
            alone = subject.values(case.logits[:1], case.target[:1])[0]
            if differs(alone, kept):
                message = f"the first element is {kept:.6g} in the batch and {alone:.6g} alone"
                yield Counterexample(message, case.logits, case.target)
        if differs(after, kept):
            message = f"the first element went from {kept:.6g} to {after:.6g} when the others changed"
            yield Counterexample(message, case.logits, case.target)


def renaming(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """Renaming the classes in logits and target alike changes nothing, or does, as declared."""
    for case in cases(subject, dtype, generator):
        classes = case.logits.shape[1] // subject.bound.outputs
        for order in (torch.arange(classes).flip(0), torch.randperm(classes, generator=generator)):
            target = case.target[:, order] if case.target.is_floating_point() else torch.argsort(order)[case.target]
            before = subject.values(case.logits, case.target)
            renamed = case.logits.unflatten(1, (-1, classes))[:, :, order].flatten(1, 2)
            after = subject.values(renamed, target)
            if differs(after, before):
                if not subject.spec.symmetric:
                    return
                message = (
                    f"{_first(before):.6g} became {_first(after):.6g} with the classes in the order {order.tolist()}"
                )
                yield Counterexample(message, case.logits, case.target)
    if not subject.spec.symmetric:
        yield Counterexample("declared symmetric=False, but renaming the classes changed nothing")


def raises_truth(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:  # noqa: ARG001
    """At equal logits a gradient step raises the true class more than any other, or does not, as declared."""
    if subject.task.numeric:
        raise Skipped(NUMBERS)
    for classes in (2, 3, 5):
        heights = torch.tensor([0.0, 1.0, -1.0], dtype=dtype).repeat_interleave(classes)
        true = torch.arange(classes).repeat(3)
        logits = spread(subject, heights.unsqueeze(1).expand(-1, classes))
        target = one_true(subject, spread(subject, true), classes, dtype)
        # Coupled elements are looked at one by one.
        size = 1 if subject.spec.coupled else len(logits)
        batches = zip(logits.split(size), target.split(size), strict=True)
        slope = torch.cat([subject.gradient(z, t)[1] for z, t in batches]).reshape(len(logits), classes, -1)
        of_truth = one_hot(true, classes, dtype).unsqueeze(2) > 0
        rivals = slope.masked_fill(of_truth, torch.inf).amin(1)
        lowest = (slope.masked_fill(~of_truth, torch.inf).amin(1) < rivals).all(1)
        if bool(lowest.all()):
            continue
        if not subject.spec.raises_truth:
            return
        row = int((~lowest).to(torch.int8).argmax())
        most = int(slope[row, :, 0].argmin())
        message = f"a step raises class {most} most, or several alike, where {int(true[row])} is true,"
        yield Counterexample(message, logits[row : row + 1], target[row : row + 1])
    if not subject.spec.raises_truth:
        yield Counterexample("declared raises_truth=False, but the true class was always raised most")


def shift(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """Adding a constant to all logits of an element changes nothing, or does, as declared."""
    if subject.task.numeric:
        raise Skipped(NUMBERS)
    if not subject.declared:
        raise Skipped("it declares nothing about a constant")
    if subject.spec.link == "task" and subject.link == "sigmoid":
        raise Skipped("its declaration speaks of the softmax")
    for case in cases(subject, dtype, generator):
        elements = (len(case.logits), 1, *space(subject))
        for size in (1.0, 5.0):
            constant = size * torch.randn(elements, generator=generator, dtype=torch.float64).to(dtype)
            before, after = (
                subject.values(case.logits, case.target),
                subject.values(case.logits + constant, case.target),
            )
            if not differs(after, before):
                continue
            if not subject.spec.shift_invariant:
                return
            message = f"{_first(before):.6g} became {_first(after):.6g} when {_first(constant):.4g} was added"
            yield Counterexample(message, case.logits, case.target)
    if not subject.spec.shift_invariant:
        yield Counterexample("declared shift_invariant=False, but adding a constant changed nothing")


def minimum(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """With one true class no value lies below the declared minimum."""
    bound = subject.spec.minimum
    if bound is None:
        raise Skipped("it declares no minimum")
    slack = (1e-9 if dtype == torch.float64 else 1e-4) * (1.0 if subject.task.numeric else max(1.0, abs(bound)))
    for classes in (2, 3, 5):
        for size in (0.0, 0.1, 1.0, 10.0, 1e4):
            # Half of them right, in their first numbers or confidently: there most losses are least.
            if subject.task.numeric:
                target = draw_target(subject, "real", 40, classes, generator)
                logits = torch.randn(40, classes * subject.bound.outputs, generator=generator, dtype=torch.float64)
                logits[:20, :classes] = target[:20].log() if subject.link == "log" else target[:20]
                logits[20:] *= size
                target = target.to(dtype)
            else:
                logits = torch.randn(40, classes, *space(subject), generator=generator, dtype=torch.float64)
                indices = torch.randint(classes, (40, *space(subject)), generator=generator)
                logits[:20] = logits[:20].abs() * (2.0 * one_hot(indices[:20], classes, torch.float64) - 1.0)
                logits *= size
                target = one_true(subject, indices, classes, dtype)
            logits = logits.to(dtype)
            values = subject.values(logits, target).reshape(40, -1).amin(1)
            row = int(values.argmin())
            if float(values[row]) < bound - slack:
                message = f"value {float(values[row]):.6g} below the declared minimum {bound:g}"
                yield Counterexample(message, logits[row : row + 1], target[row : row + 1])


def _first(values: Tensor) -> float:
    return float(values.flatten()[0])

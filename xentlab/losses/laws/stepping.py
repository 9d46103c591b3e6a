"""Laws of how the training step uses a loss: stacked over trials, on both forms of a target, under weights."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from xentlab.losses.laws.cases import Case, cases, draw_knob, float_knobs, one_hot, space
from xentlab.losses.laws.contract import (
    Counterexample,
    LossError,
    Skipped,
    Subject,
    class_counts,
    differs,
    error_in_a_line,
    show,
)

_ROWS = 3


def stacked_knobs(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """`torch.vmap` over every float knob gives the values and gradients of a loop over its values."""
    schema = float_knobs(subject)
    if not schema:
        raise Skipped("it has no float knobs")
    draws = {name: [draw_knob(knob, generator) for _ in range(_ROWS)] for name, knob in schema.items()}
    together = [dict(zip(draws, row, strict=True)) for row in zip(*draws.values(), strict=True)]
    settings = [[{name: value} for value in values] for name, values in draws.items()]
    for rows in settings + ([together] if len(draws) > 1 else []):
        for case in cases(subject, dtype, generator, sizes=((1, 2), (2, 3))):
            stacked = {name: torch.tensor([row[name] for row in rows], dtype=dtype) for name in rows[0]}

            def one(logits: Tensor, knobs: Mapping[str, Tensor], case: Case = case) -> Tensor:
                return subject.values(logits, case.target, **knobs)

            spread = case.logits.expand(_ROWS, *case.logits.shape)
            alone = [subject.gradient(case.logits, case.target, **row) for row in rows]
            yield from _compare(one, spread, stacked, alone, f"vmap over {' and '.join(rows[0])}", case)


def stacked_inputs(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """`torch.vmap` over logits and targets gives the values and gradients of a loop over them."""
    for case in cases(subject, dtype, generator, sizes=((1, 2), (2, 3))):
        noise = torch.randn(_ROWS, *case.logits.shape, generator=generator, dtype=torch.float64).to(dtype)
        logits = case.logits + noise
        if case.target.is_floating_point():
            target = torch.stack([case.target.roll(r, 1) for r in range(_ROWS)])
        else:
            target = torch.stack([(case.target + r) % case.logits.shape[1] for r in range(_ROWS)])
        alone = [subject.gradient(z, t) for z, t in zip(logits, target, strict=True)]
        yield from _compare(subject.values, logits, target, alone, "vmap over logits and target", case)


def _compare(
    one: Callable[..., Tensor], logits: Tensor, beside: Any, alone: list[tuple[Tensor, Tensor]], words: str, case: Case
) -> Iterator[Counterexample]:
    """Whether `one` over a stack of logits, and of what it takes beside, has the values and gradients of its rows."""
    leaf = logits.detach().clone().requires_grad_()
    try:
        values = torch.vmap(one)(leaf.clone(), beside)
        (slope,) = torch.autograd.grad(values.sum(), leaf)
    except LossError as error:
        yield Counterexample(f"{words} raised {error.example.message}", case.logits, case.target)
        return
    except RuntimeError as error:
        yield Counterexample(f"{words} raised {error_in_a_line(error)}", case.logits, case.target)
        return
    for what, got, wanted in (
        ("values", values.detach(), torch.stack([v for v, _ in alone])),
        ("gradients", slope, torch.stack([g for _, g in alone])),
    ):
        if differs(got, wanted):
            message = f"{words} gives {what} {show(got)}, the loop {show(wanted)},"
            yield Counterexample(message, case.logits, case.target)


def two_forms(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """A class index and its one-hot row are the same target."""
    if "index" not in subject.task.forms:
        raise Skipped(f"{subject.task.name} targets have one form only")
    if not subject.spec.float_targets:
        raise Skipped("it takes class indices only")
    for case in cases(subject, dtype, generator, only="index"):
        row = one_hot(case.target, case.logits.shape[1], dtype)
        by_index = subject.gradient(case.logits, case.target)
        by_row = subject.gradient(case.logits, row)
        for what, got, wanted in zip(("value", "gradient"), by_row, by_index, strict=True):
            if differs(got, wanted):
                message = f"{what} {show(wanted)} of the index, {show(got)} of its one-hot row,"
                yield Counterexample(message, case.logits, case.target)


def ignored(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """Ignored targets and classes of weight zero change nothing, and their logits get no gradient."""
    if subject.task.numeric:
        raise Skipped("no number is ignored")
    n_hot = "index" not in subject.task.forms
    data = subject.bound.data_term(None if n_hot else 255)
    for samples, classes in ((2, 2), (3, 3), (4, 4)):
        logits = torch.randn(samples, classes, *space(subject), generator=generator, dtype=torch.float64).to(dtype)
        other = logits + 3.0 * torch.randn(logits.shape, generator=generator, dtype=torch.float64).to(dtype)
        facts = {"class_counts": class_counts(logits)}
        weights = torch.ones(classes, dtype=dtype)
        weights[0] = 0.0
        indices = torch.randint(1, classes, (samples, *space(subject)), generator=generator)
        # The last pixel of every image (the last sample) is the one that must not count.
        nothing = torch.zeros(indices.shape, dtype=torch.bool)
        nothing[..., -1] = True
        trials: dict[str, tuple[Tensor, Tensor | None]]
        if n_hot:
            trials = {"a label of weight zero": (one_hot(indices.masked_fill(nothing, 0), classes, dtype), weights)}
        else:
            trials = {
                "an ignored element": (indices.masked_fill(nothing, 255), None),
                "a class of weight zero": (indices.masked_fill(nothing, 0), weights),
            }
            if "class_weights" in subject.bound.terms[""].asks:
                # Its class costs nothing, but its pixels are still of no other class: see `own_class_weights`.
                del trials["a class of weight zero"]
        for what, (target, class_weights) in trials.items():
            given = facts if class_weights is None else facts | {"class_weights": class_weights}
            where = nothing.unsqueeze(1) if space(subject) else nothing.reshape(samples, 1)
            yield from _ignores(subject, data, what, logits, torch.where(where, other, logits), target, given, where)


def own_class_weights(subject: Subject, dtype: torch.dtype, generator: torch.Generator) -> Iterator[Counterexample]:
    """Class weights that a loss takes itself weigh classes: those of weight 0 may swap pixels, even ones do nothing."""
    if "class_weights" not in subject.bound.terms[""].asks:
        raise Skipped("it takes no class weights; the objective weighs its elements")
    data, knobs = subject.bound.data_term(None), subject.bound.data
    for case in cases(subject, dtype, generator, sizes=((2, 3), (3, 5)), only="index"):
        classes = case.logits.shape[1]
        plain = data(case.logits, case.target, {}, knobs)
        even = data(case.logits, case.target, {"class_weights": torch.full((classes,), 2.5, dtype=dtype)}, knobs)
        if differs(even, plain):
            yield Counterexample(f"even class weights made {plain:.6g} {even:.6g}", case.logits, case.target)
        for at in range(classes):
            facts = {"class_weights": one_hot(torch.tensor([at]), classes, dtype)[0]}
            following = (case.target + 1) % classes
            following = torch.where(following == at, (at + 1) % classes, following)
            swapped = torch.where(case.target == at, case.target, following)
            before, after = (data(case.logits, t, facts, knobs) for t in (case.target, swapped))
            if differs(after, before):
                message = (
                    f"with all weight on class {at}, {before:.6g} became {after:.6g} when other classes swapped pixels"
                )
                yield Counterexample(message, case.logits, case.target)


def _ignores(
    subject: Subject,
    data: Callable[[Tensor, Tensor, dict[str, Tensor], Mapping[str, Any]], Tensor],
    what: str,
    logits: Tensor,
    other: Tensor,
    target: Tensor,
    facts: dict[str, Tensor],
    where: Tensor,
) -> Iterator[Counterexample]:
    """Whether `logits` and `other`, which differ where nothing should count, have the same objective."""
    leaf = logits.clone().requires_grad_()
    knobs = subject.bound.data
    try:
        before = data(leaf, target, facts, knobs)
        after = data(other, target, facts, knobs)
        (slope,) = torch.autograd.grad(before, leaf)
        nothing_left = data(logits, _all_like(target, where), facts, knobs)
    except LossError:
        raise
    except (RuntimeError, IndexError) as error:
        raise LossError(Counterexample(f"with {what}: {error_in_a_line(error)}", logits, target)) from error
    if differs(after, before.detach()):
        yield Counterexample(f"{what} changed the objective from {before:.6g} to {after:.6g}", logits, target)
    if bool((slope.masked_select(where) != 0).any()):
        yield Counterexample(f"{what} got a gradient", logits, target)
    if float(nothing_left) != 0.0:
        yield Counterexample(f"{what} everywhere gave {float(nothing_left):.6g}, not 0,", logits, target)


def _all_like(target: Tensor, where: Tensor) -> Tensor:
    """A target that counts nowhere: everywhere what `target` is where nothing counts."""
    if target.is_floating_point():
        return target[-1:].expand_as(target)
    return torch.full_like(target, int(target[where.reshape(target.shape)][0]))

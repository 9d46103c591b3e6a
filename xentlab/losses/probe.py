"""What a loss from outside is, found on tiny inputs: which values it gives, and which outputs and targets it takes.

Everything that it might do beside is contained, see `contained`.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xentlab.errors import UserError, a_kind
from xentlab.losses.contained import DRAWS, contained
from xentlab.losses.probed import REDUCED, STATE, Probed, TargetForm, ValueForm, as_input
from xentlab.tasks import Link, Task

Call = Callable[..., Tensor]

_TRUTHS = {"target", "targets", "label", "labels", "y", "y_true", "true", "truth", "gt", "mask", "masks", "t"}
_SLOW = 0.25  # seconds of a call on four examples

# What torch's own losses take and imply, where their values do not tell.
_TORCH_INPUT = {"nll": "log_probabilities", "kldiv": "log_probabilities", "bce": "probabilities"}
_TORCH_INPUT |= {"binarycrossentropy": "probabilities"}
_TORCH_LINK = dict.fromkeys(
    ("bce", "binarycrossentropy", "bcewithlogits", "binarycrossentropywithlogits", "multilabelsoftmargin"), "sigmoid"
) | dict.fromkeys(("mse", "l1", "smoothl1", "huber"), "identity")


def _inputs(task: Task, classes: int) -> tuple[Tensor, dict[TargetForm, Tensor]]:
    """Logits and targets of each form of a few examples, no two axes alike: no wrong shape passes for a right one."""
    draws = torch.Generator().manual_seed(0)
    places = (2, 5)[: task.axes]
    logits = 2.0 * torch.randn(classes + 1, classes, *places, generator=draws)
    if "index" in task.forms:
        index = torch.randint(classes, (classes + 1, *places), generator=draws)
        column = index.unsqueeze(1)
        targets: dict[TargetForm, Tensor] = {"index": index, "soft": torch.zeros_like(logits).scatter(1, column, 1.0)}
        return logits, targets | ({"column": column} if places else {})
    numbers = torch.randn(classes + 1, classes, *places, generator=draws)
    return logits, {"real": numbers} if "real" in task.forms else {"soft": (numbers > 0).float()}


def probe(
    call: Call, name: str, inputs: Sequence[str], library: str, task: Task, said: Mapping[str, str],
    knobs: Mapping[str, Any], *, per_class: bool, classes: int = 3,
) -> Probed:  # fmt: skip
    """What `call` is on a task.

    Args:
        call: `(first, second, **knobs) -> values`; raises UserError where the loss fails.
        name: of the loss.
        inputs: the names of its two inputs.
        library: the name of one of torch's own losses, or nothing.
        said: `_input_` and `_link_` where the user said them.
        knobs: that are data.
        classes: of the tiny inputs, where a knob holds a number for each.
        per_class: whether values [N, C] have a mean that their author meant: those of `reduction="mean"`.

    Raises:
        UserError: no order and no form of its inputs give values that a loss may have.
    """
    tiny, targets = _inputs(task, classes)
    known = _TORCH_LINK.get(library)
    link = said.get("_link_") or (known if known in task.links else None) or task.link
    if link not in task.links:
        raise UserError(f"loss {name} must have a link of {task.name} ({', '.join(task.links)}), got {link}.")
    exclusive = task.exclusive(link)
    known_input = said.get("_input_") or _TORCH_INPUT.get(library) or _named_input(inputs)
    orders = (False, True) if not inputs or inputs[0] not in _TRUTHS else (True, False)

    def taking(form: TargetForm, *, swapped: bool) -> Probed:
        """What it is if it takes that form of a target, in that place."""
        target = targets[form]

        def ask(logits: Tensor, target: Tensor, kind: str, **data: Any) -> Tensor:
            outputs = as_input(logits, kind, link, exclusive=exclusive)
            return call(*((target, outputs) if swapped else (outputs, target)), **(data or knobs))

        with contained(name) as seen:
            kind = known_input or _input_of(ask, tiny, target)
            values = _checked(ask, tiny, target, kind, name, task, per_class=per_class)
            if swapped != orders[0] and not _rewards(ask, tiny, target, kind):
                raise UserError(f"loss {name} must fall as the outputs of the true classes rise.")
            either = form == "index" and _either(ask, tiny, targets, kind)
            told = library in _TORCH_LINK or "_link_" in said or kind != "logits"
            told = told or (values in REDUCED and not exclusive)  # softmax would weigh each row's labels
            implied = link if told else _link(ask, tiny, target, link, task)
            seen += _manners(ask, tiny, target, kind)
            stacks = not {STATE, DRAWS} & set(seen) and _stacks(ask, tiny, target, kind, knobs)
        notes = (*dict.fromkeys(seen), *(() if stacks else ("does not stack: its trials train one by one",)))
        return Probed(
            values, "either" if either else form, kind, swapped, implied, stacks, notes,
            task.exclusive(implied), task.axes > 0,
        )  # fmt: skip

    refused: list[UserError] = []
    for form, swapped in itertools.product(targets, orders):
        try:
            return taking(form, swapped=swapped)
        except UserError as error:
            refused.append(error)
    raise refused[0]


def _checked(
    ask: Call, tiny: Tensor, target: Tensor, kind: str, name: str, task: Task, *, per_class: bool
) -> ValueForm:
    """What the values are, by their shape and by what a doubled batch does to them."""
    leaf = tiny.clone().requires_grad_()
    values: Any = ask(leaf, target, kind)
    if not isinstance(values, Tensor):
        raise UserError(f"loss {name} must return a tensor, got {a_kind(values)}.")
    if not bool(values.isfinite().any()):
        raise UserError(f"loss {name} must be finite at ordinary outputs, got {values.flatten()[0].item()}.")
    count, places = tiny.shape[0], tiny.shape[2:]
    shape = tuple(values.shape)
    if values.requires_grad is False:
        raise UserError(f"loss {name} must have a gradient: its values do not hang on the outputs.")
    if shape == (count, *places):
        return "element"
    if shape == tiny.shape and "real" in task.forms:
        return "element"
    if shape == tiny.shape and per_class:
        return "class"
    flat = per_class and shape[2:] == (1,) * len(places) and shape[1:2] in ((1,), (tiny.shape[1],))
    if shape == (count,) or (places and shape[:1] == (count,) and flat):
        return "image"
    if shape:
        wanted = [count, *places]
        raise UserError(
            f"loss {name} must give values of shape {wanted} for outputs {list(tiny.shape)} and a target "
            f"{list(target.shape)}, got {list(shape)}."
        )
    once = values.detach()
    twice = ask(torch.cat([tiny] * 2), torch.cat([target] * 2), kind)
    if torch.allclose(twice, once, rtol=1e-4, equal_nan=True):
        return "mean"
    return "sum" if torch.allclose(twice, 2 * once, rtol=1e-4) else "batch"


def _rewards(ask: Call, logits: Tensor, target: Tensor, kind: str) -> bool:
    """Whether it falls as the true outputs rise: an order of inputs that no name suggests must show that it is one."""
    hot = _hot(logits, target)
    return bool(_slopes(ask, logits, target, kind)[hot > hot.mean()].mean() < 0)


def _hot(logits: Tensor, target: Tensor) -> Tensor:
    """The target in the shape of the outputs, a class index as 1 in its place."""
    if target.shape == logits.shape:
        return target
    return torch.zeros_like(logits).scatter(1, target.view_as(logits[:, :1]), 1.0)


def _slopes(ask: Call, logits: Tensor, target: Tensor, kind: str) -> Tensor:
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(ask(leaf, target, kind).sum(), leaf)[0]


def _input_of(ask: Call, logits: Tensor, target: Tensor) -> str:
    """What its outputs must be, where values tell: a logarithm of a negative number, or one that was not taken."""
    try:
        plain = ask(logits, target, "logits")
    except UserError:
        try:
            ask(logits, target, "probabilities")
        except UserError:
            return "logits"
        return "probabilities"
    if not isinstance(plain, Tensor):
        return "logits"
    probs = ask(logits, target, "probabilities")
    if not bool(plain.isfinite().all()) and bool(probs.isfinite().all()):
        return "probabilities"
    # -z_y moves with a constant that is added to all logits; the logarithm of a softmax does not.
    logs = ask(logits, target, "log_probabilities")
    truth = None
    if not target.is_floating_point():
        truth = torch.log_softmax(logits, 1).gather(1, target.view_as(logits[:, :1])).squeeze(1)
    if truth is not None and logs.shape in (truth.shape, ()):
        nll = -truth if logs.shape == truth.shape else -truth.mean()
        if torch.allclose(logs, nll, rtol=1e-4) and not torch.allclose(plain, nll, rtol=1e-4):
            return "log_probabilities"
    return "logits"


def _named_input(inputs: Sequence[str]) -> str:
    words = {word.lower().replace("_", "") for word in inputs}
    if words & {"probs", "prob", "probabilities", "probability", "p", "probas"}:
        return "probabilities"
    if words & {"logprobs", "logprob", "logp", "logprobabilities", "logprobas"}:
        return "log_probabilities"
    return "logits" if words & {"logits", "logit"} else ""


def _either(ask: Call, logits: Tensor, targets: Mapping[TargetForm, Tensor], kind: str) -> bool:
    """Whether a loss that takes class indices takes a distribution too, and means the same by it."""
    try:
        soft = ask(logits, targets["soft"], kind)
    except UserError:
        return False
    index = ask(logits, targets["index"], kind)
    return soft.shape == index.shape and torch.allclose(soft, index, rtol=1e-4, equal_nan=True)


def _link(ask: Call, logits: Tensor, target: Tensor, link: Link, task: Task) -> Link:
    """Softmax where a constant added to all logits changes nothing; one class at a time where none moves another.

    Of the latter, what still falls beyond the margins 1 and -1 is the likelihood of a sigmoid, else a distance.
    """
    if "softmax" not in task.links:
        return link
    if torch.allclose(ask(logits, target, "logits"), ask(logits + 3.0, target, "logits"), rtol=1e-4, atol=1e-5):
        return "softmax"
    hot, moved = _hot(logits, target), logits.clone()
    moved[:, 0] += 3.0
    here, there = (_slopes(ask, outputs, target, "logits") for outputs in (logits, moved))
    if not bool(here[hot == 0].any()) or not torch.allclose(here[:, 1:], there[:, 1:], rtol=1e-4, atol=1e-6):
        return link
    margins = 2 * hot - 1
    found: Link = (
        "sigmoid" if ask(2 * margins, target, "logits").mean() < ask(margins, target, "logits").mean() else "identity"
    )
    return found if found in task.links else link


def _stacks(ask: Call, logits: Tensor, target: Tensor, kind: str, knobs: Mapping[str, Any]) -> bool:
    """Whether several trials of it can be one tensor program, with other numbers for their knobs."""
    stack = torch.stack([logits, logits + 1.0]).requires_grad_()
    numbers = {name: torch.full((2,), value) for name, value in knobs.items() if isinstance(value, float)}
    try:
        values = torch.vmap(lambda z, data: ask(z, target, kind, **{**knobs, **data}))(stack, numbers)
        torch.autograd.grad(values.sum(), stack)
    except Exception:
        return False
    alone = torch.stack([ask(row, target, kind) for row in stack])
    return torch.allclose(values, alone, rtol=1e-4, atol=1e-5, equal_nan=True)


def _manners(ask: Call, logits: Tensor, target: Tensor, kind: str) -> list[str]:
    """What it does beside."""
    state = torch.random.get_rng_state()
    began = time.perf_counter()
    first = ask(logits, target, kind)
    took = time.perf_counter() - began
    ends = [torch.random.get_rng_state()]
    torch.random.set_rng_state(torch.Generator().manual_seed(1).get_state())
    again = ask(logits, target, kind)
    ends.append(torch.random.get_rng_state())
    torch.random.set_rng_state(state)
    notes = []
    if not torch.equal(ends[0], state) and not torch.equal(*ends):
        notes.append(DRAWS)
    elif not torch.allclose(first, again, rtol=1e-6, atol=0.0, equal_nan=True):
        notes.append(STATE)
    if not bool(first.isfinite().all()):
        notes.append("its values are not finite at ordinary outputs")
    if took > _SLOW:
        notes.append(f"a call takes {took:.1f} s")
    return notes

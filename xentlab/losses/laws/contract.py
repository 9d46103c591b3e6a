"""What a law is: a function that looks for inputs on which a loss breaks it.

    law(subject, dtype, generator) -> Iterator[Counterexample]

`Subject` is a loss as one task uses it. A law tries its inputs from the smallest shapes upwards and yields those on
which it is broken, of which the first is all that is asked for; it raises `Skipped` where it says nothing about this
loss. An error that the loss raises on valid inputs breaks whichever law asked for the value.

To add one: such a function in the module of its theme, its entry in `suite`, and a mutant in the tests that breaks it.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from xentlab.dotted import behind
from xentlab.errors import UserError, a_kind
from xentlab.losses.adapters import BoundLoss
from xentlab.losses.compound import bind
from xentlab.losses.contract import UNDECLARED, LossSpec, probed_of, spec_of
from xentlab.losses.foreign import RULE, adopt, parameters_of
from xentlab.losses.probed import Probed
from xentlab.schema import Knob, check_knobs, knobs
from xentlab.tasks import Link, Task, find

_FACTS = ("weight", "class_weights", "class_counts", "target_range")
_LISTED = "weight, class_weights, class_counts and target_range"
_SHOWN = 12


@dataclass(frozen=True)
class Counterexample:
    """Inputs on which a law is broken."""

    message: str  # what happened, in a few words
    logits: Tensor | None = None  # the logits that were given, where they matter
    target: Tensor | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)  # the knobs that were not at their defaults

    def __str__(self) -> str:
        parts = [f"{k} {show(v)}" for k, v in (("logits", self.logits), ("target", self.target)) if v is not None]
        parts += [f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in self.knobs.items()]
        return f"{self.message} at {', '.join(parts)}" if parts else self.message


class Skipped(Exception):  # noqa: N818 - no error
    """Why a law says nothing about a loss."""


LawFunction = Callable[["Subject", torch.dtype, torch.Generator], Iterator[Counterexample]]


@dataclass(frozen=True)
class Law:
    """A law with the name under which reports list it."""

    name: str  # two or three words
    function: LawFunction
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64)  # the precisions in which it is tried

    @property
    def statement(self) -> str:
        """What holds when it holds, in one sentence."""
        return (self.function.__doc__ or "").splitlines()[0]


class LossError(Exception):
    """The loss raised an error, or returned no tensor, on inputs that the contract allows."""

    def __init__(self, example: Counterexample) -> None:
        super().__init__(str(example))
        self.example = example


@dataclass(frozen=True)
class Subject:
    """A loss as one task uses it, every knob at its default (or as the user's partial has it)."""

    name: str  # of the function
    spec: LossSpec  # what it declares
    declared: bool  # whether it declares anything
    task: Task
    bound: BoundLoss  # what the training step would call
    schema: Mapping[str, Knob]

    @property
    def link(self) -> Link:
        return self.bound.link

    @property
    def exclusive(self) -> bool:
        """Whether one class is true: of several labels, a loss that divides them by their sum sees a distribution."""
        return self.task.exclusive(self.link)

    @property
    def probed(self) -> Probed | None:
        """What the probe found of a loss from outside."""
        return probed_of(self.bound.terms[""].function)

    @property
    def per_image(self) -> bool:
        """Whether it gives one value for a whole image."""
        return "weight" in self.bound.terms[""].asks

    def values(self, logits: Tensor, target: Tensor, *, weight: Tensor | None = None, **given: Any) -> Tensor:
        """The values of the elements, with the knobs `given` in place of the defaults.

        Raises:
            LossError: the loss raised, or returned something that is no tensor.
        """
        term = self.bound.terms[""]
        asked = {"weight": weight, "class_weights": None, "class_counts": class_counts(logits)}
        if "target_range" in term.asks:
            asked["target_range"] = target_range(target, logits)
        try:
            result: Any = term.function(logits, target, *(asked[name] for name in term.asks), **term.data | given)
        except Exception as error:
            raise LossError(Counterexample(error_in_a_line(error), logits, target, given)) from error
        if not isinstance(result, Tensor):
            raise LossError(Counterexample(f"returned {a_kind(result)}, not a tensor", logits, target, given))
        return result

    def gradient(
        self, logits: Tensor, target: Tensor, *, weight: Tensor | None = None, **given: Any
    ) -> tuple[Tensor, Tensor]:
        """The values, and the gradient of their sum with respect to the logits.

        Raises:
            LossError: forward or backward raised.
        """
        leaf = logits.detach().clone().requires_grad_()
        # Through a copy: a loss that writes into its logits is the business of one law only.
        values = self.values(leaf.clone(), target, weight=weight, **given)
        return values.detach(), slope_of(values, leaf, Counterexample("", logits, target, given))


def subject(loss: Callable[..., Any], task: str) -> Subject:
    """`loss`, or a `functools.partial` of it with some knobs set, as the task of that name uses it.

    Raises:
        UserError: its signature is not that of a loss, a knob is out of range, or it has no meaning on the task.
    """
    function, given = behind(loss), getattr(loss, "keywords", {})
    name = getattr(function, "__name__", str(function))
    if spec_of(function) is UNDECLARED:
        try:
            adopted = adopt(function, given, find(task), {})
            function, given = adopted.func, adopted.keywords
        except UserError:
            if isinstance(function, type):
                raise
            check_signature(name, function)  # the laws tell what is wrong with it otherwise
    values = check_knobs("loss", function, given)
    bound = bind(functools.partial(function, **values), task)
    own = bound.terms[""].function.func
    spec = spec_of(own)
    declared = spec is not UNDECLARED and probed_of(own) is None
    return Subject(name, spec, declared, bound.task, bound, knobs(own))


def takes(loss: Callable[..., Any], task: str) -> bool:
    """Whether a loss from outside, or a partial of it, can be a loss on the task of that name."""
    try:
        adopt(behind(loss), getattr(loss, "keywords", {}), find(task), {})
    except UserError:
        return False
    return True


def check_signature(name: str, function: Callable[..., Any]) -> None:
    """Refuse what is not `(logits, target, [facts,] *, knobs)`, and say what is wrong with it."""
    if not callable(function):
        raise UserError(f"{name} is {a_kind(function)}: {RULE}.")
    parameters_of(name, function)
    for parameter in list(inspect.signature(function).parameters.values())[2:]:
        if parameter.kind is not parameter.KEYWORD_ONLY and parameter.name not in _FACTS:
            raise UserError(
                f"{name} takes {parameter.name} by position: {RULE}, where only {_LISTED} may follow "
                f"the target and every knob stands behind the *."
            )


def slope_of(values: Tensor, leaf: Tensor, example: Counterexample) -> Tensor:
    """The gradient of the sum of `values` with respect to `leaf`.

    Raises:
        LossError: there is none; it carries the inputs of `example`.
    """
    try:
        (slope,) = torch.autograd.grad(values.sum(), leaf)
    except RuntimeError as error:
        raise LossError(replace(example, message=f"no gradient: {error_in_a_line(error)}")) from error
    return slope


def class_counts(logits: Tensor) -> Tensor:
    """How often each class occurs in an imagined training set, unequal: [C]."""
    count = logits.shape[1]
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return 10.0 * torch.arange(count, 0, -1, dtype=dtype, device=logits.device)


def target_range(target: Tensor, logits: Tensor) -> Tensor:
    """Between which numbers an imagined training set's targets lie [2, D]."""
    return logits.new_tensor([[-3.0], [4.0]]).expand(2, target.shape[-1])


def differs(got: Tensor, wanted: Tensor) -> bool:
    """Whether two tensors differ by more than the rounding of their precision."""
    rtol, atol = (1e-9, 1e-10) if got.dtype == wanted.dtype == torch.float64 else (1e-4, 1e-5)
    wanted = wanted.to(got.dtype)
    return got.shape != wanted.shape or not torch.allclose(got, wanted, rtol=rtol, atol=atol, equal_nan=True)


def error_in_a_line(error: Exception) -> str:
    """An error in one line; of what a user's own code raised, that."""
    error = error.__cause__ if isinstance(error, UserError) and isinstance(error.__cause__, Exception) else error
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__


def show(tensor: Tensor) -> str:
    """A small tensor as nested lists of short numbers, a large one by its shape."""
    if tensor.numel() > _SHOWN:
        return f"of shape {list(tensor.shape)}"
    return _nested(tensor.detach().tolist())


def _nested(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_nested, value))}]"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}"
    return str(value)

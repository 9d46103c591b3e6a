"""What a loss is: the contract that every function of the catalogue, and every user's own loss, obeys.

    loss(logits, target[, weight][, class_weights][, class_counts], *, knobs) -> values

`logits` [N, C] or [N, C, H, W]. `target` int64 class indices [N] or [N, H, W], or floats shaped like `logits` (a
distribution, or n-hot labels). `values` per element, [N] or [N, H, W]; never reduced. A loss of a whole image (Dice,
Lovasz) returns [N], and takes `weight` [N, H, W] or None after the target: the weight of each pixel, 0 where it is
ignored. It may take `class_weights` [C] or None as well: then those weigh its classes, where otherwise they weigh the
pixels of each class. A loss that depends on how often classes occur takes `class_counts` [C], from the training set.

Of regression, outputs [N, K * D] hold K numbers for each of D targets, the first of all targets before the second, and
`target` [N, D] is floats; a loss that cuts its outputs into bins takes `target_range` [2, D], from the training set.

No Python branch on a float knob, no `.item()`, no boolean-mask indexing: a loss must `torch.vmap` over its knobs. It is
finite, value and gradient, at logits of +-1e4 in float32. NaN in the logits of an element is NaN in its value. Where
logits imply probabilities, one of -inf masks its class: while it is never true, value and gradient stay finite. What is
to be ignored is no class of its own, such as PyTorch's -100: it is a weight of 0 in the mean, and a loss refuses it.

To add one: a function in its family's module, with formula, ranges and reference, re-exported by `xentlab.losses`, and
a YAML in `configs/loss` that lists its knobs. Its docstring need not say what `_INPUTS` says of its inputs, nor of its
values what `minimum` does.
"""

import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xentlab.dotted import behind
from xentlab.losses.probed import Probed
from xentlab.tasks import Link, Task
from xentlab.tasks.distributions import parts

LossFunction = Callable[..., Tensor]


@dataclass(frozen=True)
class Limit:
    """A case in which a loss is another: `loss(knobs) = factor * other(other_knobs)`, to `rtol`."""

    knobs: Mapping[str, Any]  # of this loss; the rest stay at their defaults
    equals: str  # name of the other loss in `xentlab.losses`
    other_knobs: Mapping[str, Any] = field(default_factory=dict)
    factor: float = 1.0
    binary: bool = False  # holds for two classes only
    rtol: float = 1e-9  # how close; looser than 1e-9 only for a knob that approaches its limit, such as `q = 1e-7`


# How the inputs of losses are, by kind, link or need where those decide: entered into docstrings that do not say so.
_INPUTS = {
    "logits": "[N, C] or [N, C, H, W].",
    "logits of images": "[N, C, H, W].",
    "outputs": "points [N, D].",
    "outputs of log": "logarithms of the prediction [N, D].",
    "outputs of log1p": "predicted standardised logarithms [N, D].",
    "outputs of quantiles": "[N, K D] for K levels.",
    "outputs of bins": "logits of the bins [N, K D].",
    "target of softmax": "class indices [N] or [N, H, W], or a distribution shaped like `logits`.",
    "target of sigmoid": "class indices [N] or [N, H, W] (one-vs-rest), or labels in [0, 1] shaped like `logits`.",
    "target of identity": "class indices [N] or [N, H, W], or floats shaped like `logits`.",
    "target of images": "class indices [N, H, W], or distributions shaped like `logits`.",
    "target of numbers": "floats [N, D].",
    "target of nonnegative": "floats [N, D], >= 0.",
    "target of positive": "floats [N, D], > 0.",
    "target of target_logs": "standardised logarithms [N, D].",
    "target of bins": "floats [N, D]; what lies outside the outermost centres counts as lying there.",
    "target_range": "[2, D], the outermost centres.",
    "weight": "of each pixel [N, H, W], >= 0; None for all equal.",
    "class_weights": "of each class in the mean [C], >= 0; None for all equal.",
    "class_counts": "how often each class occurs in the training set [C], >= 0.",
} | {f"outputs of {link}": "locations and raw scales [N, 2 D]." for link in ("gaussian", "laplace", "student_t")}

# The lab's own losses by name.
_OWN: dict[str, LossFunction] = {}


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """What a loss declares beside its formula; the laws hold it to every word. As a decorator it enters itself."""

    family: str  # the module's theme, for lists
    # Turns its logits into the probabilities that it implies; `task` means softmax where one class is true and sigmoid
    # where several may be.
    link: Link
    tasks: tuple[str, ...] = ("multiclass", "multilabel", "segmentation")  # with a meaning, and what is like one
    reference: str = ""  # author and year
    float_targets: bool = True  # whether float targets (distributions, n-hot) have a meaning, beside class indices
    symmetric: bool = True  # whether renaming the classes in logits and target alike changes nothing
    shift_invariant: bool = False  # whether adding a constant to all logits of an element changes nothing
    values: str = ""  # their range and unit in words, such as `in [0, 2]`; where empty, that they are >= `minimum`
    # No value lies below it, at the default knobs and for one true class; None where there is no bound.
    minimum: float | None = 0.0
    proper: bool = False  # whether the expected loss under p is least where, and only where, link(logits) = p
    raises_truth: bool = True  # whether at equal logits a gradient step raises the true class most
    coupled: bool = False  # whether elements of a batch influence each other's values
    # How many numbers the model gives for each target (each class); a function of the knobs where they tell.
    outputs: int | Callable[[Mapping[str, Any]], int] = 1
    # Facts of the training set that it takes no look at, but without which it has no meaning: such as `positive`, which
    # refuses targets that are not.
    requires: tuple[str, ...] = ()
    # Functions that stand for it on the tasks that they declare, where its name is another formula.
    elsewhere: tuple[LossFunction, ...] = ()
    slope: bool = True  # whether its gradient is that of its value; False where it lets none through on purpose
    # Of regression: what of a target's distribution minimises its expectation (mean, median, quantile, expectile: the
    # latter two at its knob `level`), `distribution` of a whole one, or nothing of these.
    elicits: str = ""
    moves: bool = False  # of regression: whether adding a constant to point and target alike changes nothing
    # Of regression: the power of a factor, common to point and target, by which its value grows; or None.
    degree: float | None = None
    limits: tuple[Limit, ...] = ()  # the cases in which it is another loss of the catalogue

    def __call__(self, function: LossFunction) -> LossFunction:
        """`function` itself, which from now on declares this."""
        function.spec = self  # type: ignore[attr-defined]
        if function.__module__.startswith("xentlab.losses."):
            _OWN[function.__name__] = function
            function.__doc__ = _completed(function, self)
        for other in self.elsewhere:
            _OWN.pop(other.__name__, None)
        return function


def _completed(function: LossFunction, spec: LossSpec) -> str:
    """The docstring, with what `_INPUTS` says of the inputs before the first that it names itself, and its range."""
    text = inspect.getdoc(function) or ""
    names = list(inspect.signature(function).parameters)
    marks = {"weight": "images", "target_range": "bins", "outputs": "numbers"}
    kind = next((kind for mark, kind in marks.items() if mark in names), spec.link)
    silent = itertools.takewhile(lambda name: f"\n    {name}: " not in text, names)
    said = ""
    for name in silent:
        ways = [f"{name} of {what}" for what in (*spec.requires, kind, spec.link)]
        said += f"    {name}: {next(_INPUTS[way] for way in (*ways, name) if way in _INPUTS)}\n"
    if "\nReturns:\n" not in text:
        values = "[N]" if kind in marks.values() else "[N] or [N, H, W]"
        bound = "" if spec.minimum is None else f">= {spec.minimum:g}"
        values = ", ".join(filter(None, (values, spec.values or bound)))
        before, mark, after = text.partition("\n\nExample:" if "\n\nExample:" in text else "\n\nReference:")
        text = f"{before}\n\nReturns:\n    {values}.{mark}{after}"
    if "\nArgs:\n" not in text:
        text = text.replace("\nReturns:\n", "\nArgs:\n\nReturns:\n")
    return text.replace("\nArgs:\n", f"\nArgs:\n{said}")


# A loss that declares nothing, such as a user's own, follows the task and is held to what every loss must do.
UNDECLARED = LossSpec(family="own", link="task", minimum=None)


# As a decorator: `@loss(family=..., link=...)`.
loss = LossSpec


def spec_of(function: Callable[..., Any]) -> LossSpec:
    """What `function` (or a partial of it) declares, or `UNDECLARED`."""
    found: LossSpec = getattr(behind(function), "spec", UNDECLARED)
    return found


def probed_of(function: Callable[..., Any]) -> Probed | None:
    """What the probe found of a loss from outside (or a partial of it); None of a loss of this lab."""
    return getattr(behind(function), "probed", None)


def suits(spec: LossSpec, task: Task) -> bool:
    """Whether a loss has a meaning on a task; one that declares nothing is taken on trust."""
    return spec is UNDECLARED or task.name in spec.tasks or task.like in spec.tasks


def standing_for(function: LossFunction, task: Task) -> LossFunction:
    """What computes the loss on a task: `function`, or the one that its declaration puts in its place there."""
    others = (other for other in spec_of(function).elsewhere if task.name in spec_of(other).tasks)
    return next(others, function)


def meaningful(task: Task) -> list[str]:
    """The names of the lab's own losses that have a meaning on a task."""
    return sorted(name for name, function in _OWN.items() if suits(spec_of(function), task))


def catalogue() -> dict[str, LossFunction]:
    """The lab's own losses by name, in alphabetical order; `compound` is no entry, but a sum of entries."""
    return {name: function for name, function in sorted(_OWN.items()) if spec_of(function).family != "combinators"}


def per_target(outputs: Tensor, target: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` numbers of each regression target [count, N, D], and the target [N, D] in their precision.

    Outputs [N, count * D] hold the first number of all targets before the second.

    Raises:
        ValueError: the target is no float [N, D] that belongs to these outputs.
    """
    if target.shape != (outputs.shape[0], outputs.shape[1] // count) or outputs.shape[1] % count:
        wanted = [outputs.shape[0], outputs.shape[1] / count]
        raise ValueError(f"the target of outputs {list(outputs.shape)} must be {wanted}, got {list(target.shape)}.")
    if not target.is_floating_point():
        raise ValueError("the target must be floats, got whole numbers.")
    return torch.movedim(parts(outputs, count), -2, 0), target.to(outputs.dtype)


def fitting(target: Tensor, logits: Tensor) -> Tensor:
    """The target in the logits' precision, or as int64 class indices.

    Raises:
        ValueError: its shape does not belong to these logits; broadcasting and gathering would make numbers of it.
            Whole numbers are indices, so that n-hot labels must be floats.
    """
    wanted = logits.shape if target.is_floating_point() else logits.shape[:1] + logits.shape[2:]
    if target.shape != wanted:
        raise ValueError(f"the target of logits {list(logits.shape)} must be {list(wanted)}, got {list(target.shape)}.")
    return target.to(logits.dtype) if target.is_floating_point() else target.long()


def as_distribution(target: Tensor, logits: Tensor) -> Tensor:
    """The `fitting` target as floats shaped like `logits`: class indices one-hot along axis 1, floats as they are."""
    target = fitting(target, logits)
    if target.is_floating_point():
        return target
    # A scatter and no one_hot: that one fails where only the gradient is vmapped. A class that does not exist raises.
    return torch.zeros_like(logits).scatter(1, target.unsqueeze(1), 1.0)


def of_truth(target: Tensor, logits: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
    """Each class's share of the truth, and `maps` [N, C, ...] there: `sum(1)` of a product is the mean over the truth.

    Of a class index that is the class alone, share 1 and maps gathered to [N, 1, ...]. Of a distribution it is all
    classes, with the maps `bounded`. The target must be `fitting`.
    """
    target = fitting(target, logits)
    if target.is_floating_point():
        return target, *map(bounded, maps)
    index = target.unsqueeze(1)
    return logits.new_ones(()), *(values.gather(1, index) for values in maps)


def one_vs_rest(
    logits: Tensor, target: Tensor, yes: Callable[..., Tensor], no: Callable[..., Tensor], *maps: Callable[..., Tensor]
) -> Tensor:
    """`sum_c t_c yes_c + (1 - t_c) no_c`, of logits [N, C, ...], here `bounded`, and a `fitting` target: [N, ...].

    Both are functions of `maps` of the logits, or of these alone. Of a class index, `yes` is computed of the true class
    alone.
    """
    logits, target = bounded(logits), fitting(target, logits)
    if target.is_floating_point():
        found = [values(logits) for values in maps] or [logits]
        return (target * yes(*found) + (1.0 - target) * no(*found)).sum(1)
    true = target.unsqueeze(1)
    own = logits.gather(1, true)
    found, own_found = ([values(z) for values in maps] or [z] for z in (logits, own))
    return no(*found).scatter(1, true, yes(*own_found)).sum(1)


def unmasked(values: Tensor) -> Tensor:
    """`values` with 0 for -inf: a masked class is left out of their sum. No gradient passes there."""
    return F.threshold(values, torch.finfo(values.dtype).min, 0.0)


def bounded(values: Tensor) -> Tensor:
    """`values` with a large negative number for -inf, so that 0 times it is 0: a masked class without a share costs 0.

    The number leaves room for sums, products and a third power in float32. No gradient passes there.
    """
    low = max(-1e12, torch.finfo(values.dtype).min)
    return F.threshold(values, low, low)  # a clamp's backward pass chooses number by number

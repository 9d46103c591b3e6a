"""A loss from outside, as a loss of this lab: a function, a class or a partial, of the user or of another library.

It is opened (what is a knob, what is an input), probed once on tiny inputs (see `probe`), and wrapped into a function
`(outputs, target, *, knobs) -> values` that declares what was found. What no probe can know is said by hand, in keys
beside the knobs: `+loss._input_=log_probabilities`, `+loss._link_=sigmoid`.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xentlab.dotted import behind, posing_as
from xentlab.errors import UserError, own_error
from xentlab.losses.contained import with_manners
from xentlab.losses.contract import LossSpec, as_distribution
from xentlab.losses.probe import probe
from xentlab.losses.probed import INPUTS
from xentlab.schema import check_knobs, target_of
from xentlab.tasks import Task
from xentlab.tasks.classes import LINKS

_SAID = {"_input_": INPUTS, "_link_": LINKS}
_ASKED = ("weight", "class_weights", "class_counts")
_OLD = ("size_average", "reduce")  # torch's, in `reduction`'s place
_COUNTS = ("num_classes", "n_classes", "classes", "num_labels", "nb_classes")
RULE = "a loss must be a function (logits, target, *, knobs) -> values"
_PLAIN = (float, int, bool, str)


def build_loss(path: str, node: Mapping[str, Any], task: Task) -> functools.partial[Tensor]:
    """The loss that a config node names, with every knob checked and bound: of the lab, or adopted.

    Raises:
        UserError: there is none, a knob is wrong, or it cannot be a loss on this task.
    """
    found, values = target_of(path, node)
    if isinstance(getattr(found, "spec", None), LossSpec):
        return functools.partial(found, **check_knobs(path, found, values))
    said = {key: str(node[key]) for key in _SAID if key in node}
    for key, value in said.items():
        if value not in _SAID[key]:
            raise UserError(f"{path}.{key} must be one of {', '.join(_SAID[key])}, got '{value}'.")
    return adopt(found, values, task, said, path)


_ADOPTED: dict[tuple[Any, ...], functools.partial[Tensor]] = {}


def adopt(
    function: Callable[..., Any], values: Mapping[str, Any], task: Task, said: Mapping[str, str], path: str = "loss"
) -> functools.partial[Tensor]:
    """A loss from outside with its knobs, wrapped as what the probe found; the same one for the same arguments.

    Args:
        function: a function, a class whose objects are called with outputs and target, or a partial of one.
        values: of its knobs.
        task: which is probed.
        said: what is known by hand: `_input_`, `_link_`.
        path: where the config names it.

    Raises:
        UserError: a knob is wrong, or it cannot be a loss on this task.
    """
    key = (function, repr(sorted(values.items())), task.name, tuple(sorted(said.items())))
    if key in _ADOPTED:
        return _ADOPTED[key]
    origin = behind(function)
    name = str(getattr(origin, "__name__", type(origin).__name__))
    inputs, asked, knobs = parameters_of(name, function)
    fixed = isinstance(origin, type) or any(p.name == "reduction" for p in knobs)
    stands = _as_declared(name, origin, asked, knobs, fixed=fixed)
    given = check_knobs(path, stands(lambda: None), values)
    ways = [given]
    if "reduction" in given and "reduction" not in values:
        # Of single values where it has them; some classes have the word and refuse "none", or mean another shape by it.
        ways = [given | {"reduction": "none"}, given]
    for given in ways:
        call = _Stranger(name, function, given, asked, fixed=fixed)
        try:
            result = probe(
                call, name, inputs, _library(origin), task, said, {} if fixed else given, per_class=fixed,
                classes=_classes(given),
            )  # fmt: skip
            break
        except UserError:
            if given is ways[-1]:
                raise
    if any(isinstance(ready, nn.Module) and list(ready.parameters()) for ready in call.made.values()):
        result = replace(result, notes=(*result.notes, "its own parameters are not trained"))
    call.made.clear()
    run = with_manners(call, result.notes)

    def loss(outputs: Tensor, target: Tensor, *facts: Tensor, **data: Any) -> Tensor:
        hot = result.target == "soft" and not target.is_floating_point()
        pair = result.arguments(outputs, as_distribution(target, outputs) if hot else target)
        values = result.reduced(run(*pair, *facts, **data), len(outputs))
        if not result.fits(values.shape, outputs.shape):
            raise UserError(
                f"loss {name} gives values of shape {list(values.shape)} for outputs {list(outputs.shape)} and a "
                f"target {list(target.shape)}: it must give {result.gives}."
            )
        return values

    spec = LossSpec(
        family="own",
        link=result.link,
        tasks=(task.name,),
        float_targets=result.target not in ("index", "column"),
        minimum=None,
        coupled=result.reduces,
    )
    adopted = stands(loss, __wrapped__=origin, probed=result, renew=call.made.clear, spec=spec)
    return _ADOPTED.setdefault(key, functools.partial(adopted, **given))


def _classes(given: Mapping[str, Any]) -> int:
    """How many classes its knobs speak of: some hold a number for each."""
    counts = [v for k, v in given.items() if k in _COUNTS and isinstance(v, int) and v > 1]
    return max([*counts, *map(len, _weights(given).values())], default=3)


def _weights(given: Mapping[str, Any]) -> dict[str, Sequence[float]]:
    return {k: v for k, v in given.items() if k.endswith("weight") and isinstance(v, (list, tuple))}


def _library(origin: Any) -> str:
    """The name of one of torch's own losses, without case and underscores; else nothing."""
    origin = type(origin.stands_for) if hasattr(origin, "stands_for") else origin
    own = str(getattr(origin, "__module__", "")).startswith("torch.nn")
    return str(origin.__name__).lower().replace("_", "").removesuffix("loss") if own else ""


def parameters_of(name: str, function: Any) -> tuple[list[str], list[str], list[inspect.Parameter]]:
    """What it takes: the names of its two inputs, the facts that it asks for, and its knobs.

    Raises:
        UserError: it does not take two inputs, or what it takes has no name.
    """
    kind = behind(function)
    built = isinstance(kind, type)
    try:
        called = parameters = list(inspect.signature(function).parameters.values())
        if isinstance(kind, type):  # what calling an object of it runs
            runs = kind.forward if issubclass(kind, nn.Module) else kind.__call__
            called = list(inspect.signature(runs).parameters.values())[1:]
    except (ValueError, TypeError) as error:
        raise UserError(f"{name} does not tell its parameters: {RULE}.") from error
    needed = [p.name for p in called if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if built and len(needed) > 2:
        raise UserError(f"{name} is called with {', '.join(needed)}: a loss is called with outputs and target alone.")
    positional = [p for p in called if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    starred = [str(p) for p in called if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if starred and not built:
        raise UserError(f"{name} takes {starred[0]}: {RULE}, each knob by its name.")
    if len(positional) < 2 and not starred:
        got = ", ".join(p.name for p in positional) or "nothing"
        raise UserError(f"{name} takes {got} by position: {RULE}.")
    inputs = [p.name for p in positional[:2]]
    rest = [p for p in (parameters if built else parameters[2:]) if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    reduces = any(p.name == "reduction" for p in rest)
    asked = [p.name for p in rest if p.name in _ASKED and p.kind is not p.KEYWORD_ONLY and not (built or reduces)]
    return inputs, asked, [p for p in rest if p.name not in (*asked, *_OLD)]


def _as_declared(
    name: str, origin: Any, asked: list[str], parameters: list[inspect.Parameter], *, fixed: bool
) -> Callable[..., Any]:
    """What gives a function the signature that the loss has as one of the lab: inputs, facts, and all knobs by name."""
    try:
        maker: Any = vars(origin).get("__init__", origin) if isinstance(origin, type) else origin
        hints = typing.get_type_hints(maker, include_extras=True)
    except Exception:  # a name that its module does not hold; then the defaults tell
        hints = {}
    named = sorted(parameters, key=lambda p: p.default is not p.empty)
    knobs = {p.name: (_kind(hints.get(p.name), p.default, fixed=fixed), p.default) for p in named}
    inputs = ("outputs", "target", *asked)
    return functools.partial(posing_as, name=name, origin=origin, inputs=inputs, knobs=knobs, fixed=fixed)


def _kind(hint: Any, default: Any, *, fixed: bool) -> Any:
    """What a knob may be: what its annotation says, where that is plain; else what its default is; else anything."""
    if hint in _PLAIN or typing.get_origin(hint) in (typing.Annotated, Literal):
        return hint
    if hint is None and isinstance(default, (bool, str, float)):
        return type(default)
    # A number of a function without an annotation is data, as in the lab's own losses.
    return float if hint is None and isinstance(default, int) and not fixed else Any


class _Stranger:
    """A loss from outside as it is called with inputs and the knobs that are data; an error in it is one sentence.

    `made` keeps what it was built into, once for each device and dtype.
    """

    def __init__(self, name: str, found: Any, given: Mapping[str, Any], asked: Sequence[str], *, fixed: bool) -> None:
        self.made: dict[Any, Callable[..., Any]] = {}
        self._name, self._found, self._asked, self._fixed = name, found, asked, fixed
        self._knobs = given if fixed else {}

    def __call__(self, first: Tensor, second: Tensor, *facts: Tensor, **data: Any) -> Tensor:
        at_call = dict(zip(self._asked, facts, strict=False)) | ({} if self._fixed else data)
        try:
            outputs = first if first.is_floating_point() else second
            where = (outputs.device, outputs.dtype)
            if where not in self.made:
                self.made[where] = self._built(*where)
            values: Tensor = self.made[where](first, second, **at_call)
        except (torch.OutOfMemoryError, UserError):
            raise
        except Exception as error:
            raise own_error(f"loss {self._name}", error) from error
        return values

    def _built(self, device: torch.device, dtype: torch.dtype) -> Callable[..., Any]:
        weights = {k: torch.tensor(v).to(device, dtype) for k, v in _weights(self._knobs).items()}
        knobs = {**self._knobs, **weights}
        if not isinstance(behind(self._found), type):
            return functools.partial(self._found, **knobs)
        # Outside of a stack's axis, and with the same numbers each time.
        with torch._C._DisableFuncTorch(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            built: Callable[..., Any] = self._found(**knobs)
        return built.to(device, dtype) if isinstance(built, nn.Module) else built

"""A model from outside: a class or function of the user or of another library, as a builder of this lab.

Sizes go to the names that it has; all other arguments are knobs. Outputs in a dict, or with `.logits`, are opened.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xentlab.dotted import behind, posing_as
from xentlab.errors import UserError, a_kind, own_error
from xentlab.models.contract import Builder, check_output, in_evaluation, is_foreign, is_torchvision, kind
from xentlab.models.start import Start, file_digest, tensors_in, weights_file
from xentlab.schema import check_knobs, target_of
from xentlab.schema import knobs as knobs_of

_WHOLE = ("input_shape", "in_shape", "shape")
_FEATURES = ("in_features", "input_size", "input_dim", "in_dim", "num_features", "n_features", "num_inputs", "n_inputs")
_CHANNELS = ("in_channels", "in_chans", "input_channels", "num_channels", "n_channels", "channels")
_SIDES = ("image_size", "img_size")
_OUTPUTS = (
    "num_outputs", "num_classes", "n_classes", "out_features", "n_outputs", "output_dim", "output_size", "out_dim",
    "num_labels", "nb_classes", "classes",
)  # fmt: skip
# What builders of a library take by **kwargs.
_THROUGH = {"timm": ("in_chans", "num_classes")}
_LOGITS = ("logits", "out", "output", "outputs", "pred", "preds", "prediction")


def model_of(node: Mapping[str, Any]) -> tuple[functools.partial[Any], Start, dict[str, Any]]:
    """What `model` in a config says: the builder, where it starts, and the node with the digest of its weights.

    Raises:
        UserError: a target or a knob is wrong, or its file of weights is not here, or another than was recorded.
    """
    begin = {k: v for k, v in node.items() if k in knobs_of(Start)}
    builder = build_model("model", {k: v for k, v in node.items() if k not in begin})
    start = Start(**check_knobs("model", Start, begin))
    if start.weights is None:
        return builder, start, {k: v for k, v in node.items() if k != "_sha256_"}
    file = weights_file(start.weights, builder, node.get("_sha256_"))
    tensors_in(file)
    return builder, start, {**node, "_sha256_": file_digest(file)}


def build_model(path: str, node: Mapping[str, Any]) -> functools.partial[nn.Module]:
    """The builder that a config node names, with every knob checked and bound: of the lab, or adopted.

    Raises:
        UserError: there is none, or a knob is wrong.
    """
    found, values = target_of(path, node)
    if kind(found) is not None or is_torchvision(found):
        return functools.partial(found, **check_knobs(path, found, values))
    opened = adopt(found)
    passed = {k: v for k, v in values.items() if k not in knobs_of(opened)} if getattr(opened, "loose", False) else {}
    checked = check_knobs(path, opened, {k: v for k, v in values.items() if k not in passed})
    return functools.partial(opened, **checked, **passed)


@functools.cache
def adopt(builder: Callable[..., Any]) -> Builder:
    """A class or function from outside as `(input_shape, num_outputs, *, knobs) -> nn.Module`."""
    name = str(getattr(builder, "__name__", type(builder).__name__))
    try:
        parameters = list(inspect.signature(builder).parameters.values())
    except (ValueError, TypeError) as error:
        raise UserError(f"model {name} does not tell its parameters.") from error
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    sized = [p.name for p in named if p.name in (*_WHOLE, *_FEATURES, *_CHANNELS, *_SIDES, *_OUTPUTS)]
    loose = len(named) < len(parameters)
    library = str(getattr(builder, "__module__", "")).partition(".")[0]
    if loose and library in _THROUGH:
        named += [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=None) for n in _THROUGH[library]]
        sized += _THROUGH[library]
    required = [p.name for p in named[:2] if p.default is p.empty]
    if len(required) == 2 and sized in ([], required[:1]):
        sized = [named[0].name, named[1].name]  # (shape of an input, number of outputs), by any names

    def build(input_shape: tuple[int, ...], num_outputs: int, **given: Any) -> nn.Module:
        sizes = {n: _size(n, n == sized[0], input_shape, num_outputs) for n in sized}
        try:
            made = builder(**{**sizes, **{k: v for k, v in given.items() if not (k in sizes and v is None)}})
        except UserError:
            raise
        except Exception as error:
            raise own_error(f"model {name}", error) from error
        if not isinstance(made, nn.Module):
            raise UserError(f"model {name} must give a torch.nn.Module, got {a_kind(made)}.")
        return _opened(made, input_shape)

    inputs = ("input_shape", "num_outputs")
    free = sorted(named, key=lambda p: p.name not in sized and p.default is p.empty, reverse=True)
    knobs = {p.name: (Any, None if p.name in sized else p.default) for p in free if p.name not in inputs}
    opened: Builder = posing_as(build, name, builder, inputs, knobs, __wrapped__=builder, foreign=True, loose=loose)
    return opened


def _size(name: str, first: bool, input_shape: tuple[int, ...], num_outputs: int) -> Any:
    """What a parameter of that name is told."""
    if name in _OUTPUTS:
        return num_outputs
    if name in _FEATURES:
        return math.prod(input_shape)
    if name in _CHANNELS:
        return input_shape[0]
    if name in _SIDES:
        return input_shape[-1]
    return input_shape if first or name in _WHOLE else num_outputs


class _Opened(nn.Module):
    """A net whose outputs hold the logits among other things."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: Tensor) -> Any:
        return logits_of(self.net(inputs))


def logits_of(outputs: Any) -> Any:
    """The logits of a dict, or of an object that has them; else what is given."""
    if isinstance(outputs, Mapping):
        return next((outputs[key] for key in _LOGITS if key in outputs), outputs)
    return getattr(outputs, "logits", outputs)


def _opened(module: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    try:
        with in_evaluation(module):
            found = module(torch.zeros(2, *input_shape))
    except Exception:
        return module  # `check_foreign` says it
    return module if isinstance(found, Tensor) else _Opened(module)


def check_foreign(
    builder: Builder, module: nn.Module, blank: Tensor, num_outputs: int, what: str, examples: int = 2
) -> bool:
    """Refuse a model from outside with a wrong output; whether several trials of it can be one tensor program.

    A model of this lab passes. `examples`: 1 where batches hold one.

    Raises:
        UserError: it fails on blank inputs or in training, or gives another shape than `what` (vector, map) says.
    """
    if not is_foreign(builder):
        return True
    name, input_shape = f"model {behind(builder).__name__}", tuple(blank.shape[1:])
    try:
        check_output(module, input_shape, num_outputs, what, name, blank)
    except UserError as error:
        if error.__cause__ is None:
            raise
        raise own_error(f"{name} on inputs of shape {input_shape}", error.__cause__) from error
    parameters = [p.requires_grad for p in module.parameters()]
    if not any(parameters):
        raise UserError(
            f"{name} must have parameters to train, got {'none' if not parameters else 'frozen ones only'}."
        )
    try:  # BatchNorm fails on one example, others have no gradient
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            module.float().train()(blank[:examples]).sum().backward()
    except Exception as error:
        raise own_error(f"{name} in training on a batch of {len(blank[:examples])}", error) from error
    module.zero_grad()
    return runs_stacked(module, blank)


def runs_stacked(module: nn.Module, inputs: Tensor) -> bool:
    """Whether it works under `torch.vmap` in training, and draws nothing there."""
    params = {name: torch.stack([p.detach()] * 2) for name, p in module.named_parameters()}
    buffers = {name: torch.stack([b] * 2) for name, b in module.named_buffers()}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.vmap(lambda p, b: torch.func.functional_call(module, (p, b), (inputs,)))(params, buffers)
    except Exception:
        return False
    return True

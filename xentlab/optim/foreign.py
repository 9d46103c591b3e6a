"""An optimizer class of torch, or of the user, by its dotted path: as an optimizer of this lab that trains alone.

It moves the parameters of one module, so its trials train one after another; the schedule sets its learning rate.
"""

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from xentlab.dotted import posing_as
from xentlab.errors import UserError, own_error
from xentlab.optim.contract import Rate
from xentlab.schema import check_knobs, target_of


def build_optimizer(path: str, node: Mapping[str, Any]) -> functools.partial[Any]:
    """The optimizer that a config node names, with every knob checked and bound: of the lab, or adopted.

    Raises:
        UserError: there is none, a knob is wrong, or it cannot take a step by itself.
    """
    chosen, values = target_of(path, node)
    if not (isinstance(chosen, type) and issubclass(chosen, torch.optim.Optimizer)):
        return functools.partial(chosen, **check_knobs(path, chosen, values))
    opened = adopt(chosen)  # type: ignore[arg-type]
    bound = functools.partial(opened, **check_knobs(path, opened, values))
    blank = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))]
    try:
        for parameter in blank:
            parameter.grad = torch.ones_like(parameter)
        opened.make(blank, "all", **bound.keywords).step()
    except Exception as error:
        raise own_error(f"optimizer {chosen.__name__}", error) from error
    return bound


@functools.cache
def adopt(chosen: Any) -> Any:
    """A function with the class's arguments as its knobs, and `make(parameters, decay, **knobs)`: an object of it."""
    own = list(inspect.signature(chosen).parameters.values())[1:]
    named = [p for p in own if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if "lr" not in {p.name for p in named}:
        raise UserError(f"optimizer {chosen.__name__} must take a learning rate by the name lr.")
    if any(p.name == "closure" and p.default is p.empty for p in inspect.signature(chosen.step).parameters.values()):
        raise UserError(
            f"optimizer {chosen.__name__} must take a step on the gradient of one batch, but asks for a closure that "
            f"computes it again."
        )

    def make(parameters: Sequence[nn.Parameter], decay: str, **given: Any) -> torch.optim.Optimizer:
        if decay == "all":
            return chosen(parameters, **given)
        groups: list[dict[str, Any]] = [{"params": [p for p in parameters if p.ndim >= 2]}]
        groups.append({"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0})
        return chosen([group for group in groups if group["params"]], **given)

    def opened(**knobs: Any) -> None:  # noqa: ARG001
        raise AssertionError("an adopted optimizer moves parameters by the object that `make` makes")

    knobs = {p.name: (Rate if p.name == "lr" else Any, p.default) for p in named}
    return posing_as(opened, chosen.__name__, chosen, (), knobs, make=make)

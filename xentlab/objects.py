"""Arguments of the Python functions as overrides: words as they are, objects by the path at which they are held."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from xentlab import held
from xentlab.errors import UserError, a_kind

_PLAIN_DATA = {"tuple": "arrays", "dict": "parts", "DataFrame": "frame"}


def as_overrides(given: dict[str, Any]) -> list[str]:
    """Arguments by name as overrides; an object becomes the dotted path by which it is held."""
    found = []
    for name, value in given.items():
        if isinstance(value, (str, int, float, bool)) or value is None:
            found.append(f"{name}={'null' if value is None else value}")
        elif name in ("dataset", "model", "loss", "augment"):
            found.append(f"{name}._target_={held.path_of(_callable(name, value))}")
        else:
            raise UserError(f"{name} must be a word or a number, got {a_kind(value)}.")
    return found


def as_entry(loss: Any) -> str:
    """An entry of `comparison.losses`."""
    if isinstance(loss, str):
        return loss
    label, value = next(iter(loss.items())) if isinstance(loss, dict) else (getattr(loss, "__name__", "mine"), loss)
    return f"{{{label}:{{_target_:{held.path_of(_callable('loss', value))}}}}}"


def _callable(group: str, value: Any) -> Callable[..., Any]:
    """A class or function in place of a ready object, called after it."""
    name = type(value).__name__
    if group == "dataset" and not callable(value):
        name = _PLAIN_DATA.get(name, name)
        return held.stand_in(value, lambda: value, name)
    if isinstance(value, nn.Module) and group == "model":
        return held.stand_in(value, lambda: copy.deepcopy(value), name)
    if isinstance(value, nn.Module):
        return held.stand_in(value, _loss_class(value), name)
    if not callable(value):
        raise UserError(f"{group} must be a name, a class, a function or a module, got a {name}.")
    return value


def _loss_class(ready: nn.Module) -> type[nn.Module]:
    """A class whose objects are copies of a ready loss, which is asked for single values where it has them."""
    if not hasattr(ready, "reduction"):

        class Plain(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.ready = copy.deepcopy(ready)

            def forward(self, outputs: Tensor, target: Tensor) -> Any:
                return self.ready(outputs, target)

        return Plain

    class Reducing(nn.Module):
        def __init__(self, reduction: Any = ready.reduction) -> None:
            super().__init__()
            self.ready = copy.deepcopy(ready)
            self.ready.reduction = reduction

        def forward(self, outputs: Tensor, target: Tensor) -> Any:
            return self.ready(outputs, target)

    return Reducing

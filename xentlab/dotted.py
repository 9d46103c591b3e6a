"""Dotted paths: the objects that configs and records name, and which of them may be looked up at all."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from xentlab.errors import UserError, a_kind, own_error, unknown

_allowed: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("allowed", default=())


@contextlib.contextmanager
def only(prefixes: tuple[str, ...]) -> Iterator[None]:
    """Within it, a config can name only what modules under one of `prefixes` define; nothing else is even imported."""
    before = _allowed.set(prefixes)
    try:
        yield
    finally:
        _allowed.reset(before)


def see_working_directory() -> None:
    """A user's own modules lie where the command is called: they are found there, after all others."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def locate(path: str, target: str) -> Callable[..., Any]:
    """The object that the dotted path `target` names; `path` (such as `loss`) is where the config names it."""
    allowed = _allowed.get()
    if allowed and (not target.startswith(allowed) or "__" in target):  # importing a __main__ would run it
        raise not_allowed(path, target, allowed)
    found = _find(path, target)
    # a module that is allowed imports others: xentlab.journal.os.system begins well and ends elsewhere
    if allowed and not f"{getattr(found, '__module__', None)}.".startswith(allowed):
        raise not_allowed(path, target, allowed)
    return found


def not_allowed(path: str, target: str, allowed: Iterable[str]) -> UserError:
    """Say that a record may not name `target`."""
    names = ", ".join(allowed)
    return UserError(
        f"{path}._target_ names {target}, which is not imported: a record may name {names} without --trust."
    )


def _find(path: str, target: str) -> Callable[..., Any]:
    parts = target.split(".")
    if not all(part.isidentifier() for part in parts):
        near = re.sub(r"\W+", ".", target).strip(".")
        near = f"{near.removesuffix('.py')}.NAME" if near.endswith(".py") else near
        raise UserError(f"{path}._target_ must be a dotted path such as {near}, got '{target}'.")
    for split in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:split])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
                continue
            raise UserError(f"{path}._target_ names {target}, but importing {name} failed: {error}.") from error
        except (Exception, SystemExit) as error:
            raise own_error(f"{path}._target_ names {target}, but importing {name}", error) from error
        for attribute in parts[split:]:
            if not hasattr(found, attribute):
                public = [n for n in dir(found) if not n.startswith("_") and callable(getattr(found, n))]
                raise unknown(f"name in {name}", attribute, public)
            found = getattr(found, attribute)
        if not callable(found):
            raise UserError(f"{path}._target_ must name a function, got {target}, which is {a_kind(found)}.")
        return found
    raise UserError(f"{path}._target_ must be a dotted path that can be imported, got '{target}'.")


def behind(component: Any) -> Any:
    """The function or class behind partials."""
    while isinstance(component, functools.partial):
        component = component.func
    return component


def posing_as(
    function: Callable[..., Any], name: str, origin: Any, inputs: Sequence[str], knobs: Mapping[str, Any], **more: Any
) -> Any:
    """The function as what it stands for, in place: name, module, inputs, each knob's kind and default, and `more`."""
    parameters = [inspect.Parameter(p, inspect.Parameter.POSITIONAL_OR_KEYWORD) for p in inputs]
    parameters += [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=d) for k, (_, d) in knobs.items()]
    facts = {
        "__name__": name,
        "__qualname__": getattr(origin, "__qualname__", name),
        "__module__": getattr(origin, "__module__", "__main__"),
        "__signature__": inspect.Signature(parameters),
        "__annotations__": {knob: kind for knob, (kind, _) in knobs.items()},
    }
    for attribute, value in {**facts, **more}.items():
        setattr(function, attribute, value)
    return function

"""Objects that Python hands over, as attributes of this module, so that a config can name them by a dotted path.

What can be imported is named by its own path. All else lives as long as this process: it is recorded by its source, and
its record can be run again from Python only.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from xentlab.errors import UserError

_PLAIN = (bool, int, float, str, type(None))


_objects: dict[str, Any] = {}


def __getattr__(name: str) -> Any:
    if name in _objects:
        return _objects[name]
    if name.startswith("_"):
        raise AttributeError(name)
    raise UserError(f"'{name}' was an object of a Python session: its record can be run again from Python only.")


def path_of(value: Callable[..., Any]) -> str:
    """The dotted path by which `value` is found."""
    module, name = str(getattr(value, "__module__", "")), str(getattr(value, "__qualname__", ""))
    if module not in ("", "__main__") and "<" not in name:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is value:
            return f"{module}.{name}"
    word = str(getattr(value, "__name__", type(value).__name__)).strip("<>")
    word, number = word if word.isidentifier() else "mine", 1
    while word in globals() or _objects.get(word, value) is not value:
        number += 1
        word = f"{word.rstrip('0123456789')}{number}"
    _objects[word] = value
    return f"{__name__}.{word}"


def stand_in(value: Any, function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A function or class that is called in the place of an object, under its name."""
    function.__name__ = function.__qualname__ = name
    function.stands_for = value  # type: ignore[attr-defined]
    return function


def _nodes(config: Any) -> Iterator[dict[str, Any]]:
    """The nodes of a config that name a held object."""
    if isinstance(config, dict):
        yield from [config] if str(config.get("_target_")).startswith(f"{__name__}.") else []
    for inner in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        yield from _nodes(inner)


def held_names(config: Any) -> Iterator[str]:
    """The held objects that a config names."""
    return (node["_target_"].rpartition(".")[2] for node in _nodes(config))


def write_sources(config: dict[str, Any]) -> None:
    """Write the source of each held object beside where a config names it, in place."""
    for node in list(_nodes(config)):
        name = node["_target_"].rpartition(".")[2]
        if name in _objects:
            node["_source_"] = source(_objects[name])


def source(value: Any) -> str:
    """What decides what an object computes, as text: its code, and what that code holds and calls of its own place."""
    return "\n".join(_sources(getattr(value, "stands_for", value), set()))


def _sources(value: Any, seen: set[int]) -> Iterator[str]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, _PLAIN):
        yield repr(value)
    elif isinstance(value, functools.partial):
        yield repr((value.args, value.keywords))
        yield from _sources(value.func, seen)
    elif inspect.ismodule(value) or inspect.isbuiltin(value):
        yield value.__name__
    elif (isinstance(value, type) or inspect.isfunction(value)) and _installed(value):
        yield f"{value.__module__}.{value.__qualname__}"
    elif isinstance(value, type) or inspect.isfunction(value):
        yield from _texts(value)
        for function in _functions(value):
            yield from _around(function, seen)
    else:
        yield _facts(value)
        yield from _sources(type(value), seen)


def _around(function: Any, seen: set[int]) -> Iterator[str]:
    """What a function holds from around it, and its defaults."""
    found = inspect.getclosurevars(function)
    held = {**found.nonlocals, **found.globals, "its defaults": function.__defaults__ or function.__kwdefaults__}
    for name, value in sorted(held.items()):
        if value is not None and id(value) not in seen:
            yield f"# {name}"
            yield from _sources(value, seen)


def _functions(value: Any) -> list[Any]:
    """A function, or those of a class."""
    return [f for f in vars(value).values() if inspect.isfunction(f)] if isinstance(value, type) else [value]


def _texts(value: Any) -> list[str]:
    try:
        return [textwrap.dedent(inspect.getsource(value))]
    except (OSError, TypeError):  # of a notebook's cell, which knows its functions alone
        if isinstance(value, type):
            return [value.__qualname__, *(text for function in _functions(value) for text in _texts(function))]
        return [hashlib.sha256(value.__code__.co_code + repr(value.__code__.co_consts).encode()).hexdigest()]


def _facts(value: Any) -> str:
    """What a ready object says of itself, and the digest of the numbers that it holds."""
    parts = list(value.modules()) if hasattr(value, "modules") else [value]
    plain = [
        {k: v for k, v in vars(part).items() if isinstance(v, _PLAIN)} for part in parts if hasattr(part, "__dict__")
    ]
    state = {k: v.tolist() for k, v in value.state_dict().items()} if hasattr(value, "state_dict") else {}
    shown = "" if " at 0x" in repr(value) else f"{value!r:.2000}"
    return f"{shown} {hashlib.sha256(repr((plain, state)).encode()).hexdigest()}".strip()


def _installed(value: Any) -> bool:
    """Whether its module is one of Python, of the installed packages or of this one."""
    file = str(getattr(inspect.getmodule(value), "__file__", None) or "")
    room = str(value.__module__).partition(".")[0]
    return "site-packages" in file or "dist-packages" in file or room == "xentlab" or room in sys.stdlib_module_names

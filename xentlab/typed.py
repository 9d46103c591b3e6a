"""JSON <-> annotated dataclasses, both ways: the one validator of events, records and whatever else comes from a file.

`load` gives plain JSON the shape of a hint, or says in one sentence which field is wrong; `dump` is its inverse. A hint
is a dataclass, `list[X]`, `tuple[X, ...]`, `dict[str, X]`, `dict[int, X]` (JSON writes such keys as words), a
`Literal`, a union with None, `Any`, or float, int, str, bool. `Annotated[float, Range(0, 1)]` and
`Annotated[str, Pattern(...)]` narrow it further. Numbers are finite; a number that does not exist is None.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from xentlab.errors import UserError, unknown
from xentlab.schema import Range


@dataclass(frozen=True)
class Pattern:
    """The form that a text must have: a regular expression that matches the whole of it, and what it is called."""

    regex: str
    words: str


def load(hint: Any, value: Any, path: str) -> Any:
    """`value` as the annotation `hint` wants it, or one sentence that names the path and the rule.

    Raises:
        UserError: a field is missing, unknown, of the wrong type or out of its range.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        return _narrowed(load(args[0], value, path), args[1:], path)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        members = [a for a in args if a is not type(None)]
        # bool is an int to Python and an int a float; the exact type must win, so that knobs keep theirs.
        exact = next((m for m in members if type(value) is m), members[0])
        return load(exact, value, path)
    if origin is Literal:
        if value not in args:
            raise UserError(f"{path} must be one of {', '.join(map(str, args))}, got {value!r:.80}.")
        return value
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{path} must be a list, got {value!r:.80}.")
        return origin(load(args[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        return _load_dict(args, value, path)
    if dataclasses.is_dataclass(hint):
        return _load_fields(hint, value, path)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint is not float and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    noun = {float: "a finite number", int: "an integer", str: "a text", bool: "true or false"}[hint]
    raise UserError(f"{path} must be {noun}, got {value!r:.80}.")


def _narrowed(value: Any, rules: tuple[Any, ...], path: str) -> Any:
    for rule in rules:
        if isinstance(rule, Range) and value is not None and value not in rule:
            raise UserError(f"{path} must be {rule}, got {value!r:.80}.")
        if isinstance(rule, Pattern) and value is not None and re.fullmatch(rule.regex, value) is None:
            raise UserError(f"{path} must be {rule.words}, got {value!r:.80}.")
    return value


def _load_dict(args: tuple[Any, ...], value: Any, path: str) -> dict[Any, Any]:
    noun = "whole numbers" if args[0] is int else "words"
    if not isinstance(value, Mapping):
        raise UserError(f"{path} must be a mapping, got {value!r:.80}.")
    found = {}
    for key, item in value.items():
        name: Any = key
        if args[0] is int and isinstance(key, str) and re.fullmatch(r"-?\d{1,18}", key):
            name = int(key)
        if type(name) is not args[0]:
            raise UserError(f"{path} must be a mapping with {noun} as keys, got {key!r:.80}.")
        found[name] = load(args[1], item, f"{path}.{key}")
    return found


def _load_fields(hint: Any, value: Any, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise UserError(f"{path} must be a mapping, got {value!r:.80}.")
    hints = _hints(hint)
    for key in value:
        if key not in hints:
            raise unknown(f"field of {path}", str(key), hints)
    for name in _required(hint):
        if name not in value:
            raise UserError(f"{path}.{name} is missing.")
    return hint(**{name: load(hints[name], item, f"{path}.{name}") for name, item in value.items()})


@functools.cache
def _hints(hint: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(hint, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(hint)}


@functools.cache
def _required(hint: Any) -> list[str]:
    return [f.name for f in dataclasses.fields(hint) if f.default is f.default_factory is dataclasses.MISSING]


def dump(value: Any) -> Any:
    """The value as plain JSON: dataclasses as mappings, tuples as lists, keys as words."""
    if dataclasses.is_dataclass(value):
        return {field.name: dump(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): dump(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [dump(item) for item in value]
    return value

"""JSON <-> annotated dataclasses, both ways: the one validator of events, records and whatever else comes from a file.

`from_json` gives plain JSON the shape of a hint, or says in a sentence which field is wrong; `to_json` is its inverse.
A hint is a dataclass, `list[X]`, `tuple[X, ...]`, `dict[str, X]`, `dict[int, X]` (JSON writes such keys as words), a
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
from typing import Annotated, Any, Literal

from xentlab.errors import UserError, unknown
from xentlab.schema import Pattern, Range

# Of what is a value of any kind: deeper or larger is not what a config or an environment is like.
_DEPTH = 40
_INT = 2**63


def from_json(hint: Any, value: Any, path: str) -> Any:
    """`value` as the annotation `hint` wants it, or one sentence that names the path and the rule.

    Raises:
        UserError: a field is missing, unknown, of the wrong type or out of its range.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return _plain(value, path, 0)
    if origin is Annotated:
        return _narrowed(from_json(args[0], value, path), args[1:], path)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        members = [a for a in args if a is not type(None)]
        # bool is an int to Python and an int a float; the exact type must win, so that knobs keep theirs.
        exact = next((m for m in members if type(value) is m), members[0])
        return from_json(exact, value, path)
    if origin is Literal:
        if value not in args:
            raise UserError(f"{path} must be one of {', '.join(map(str, args))}, got {value!r:.80}.")
        return value
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{path} must be a list, got {value!r:.80}.")
        return origin(from_json(args[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        return _load_dict(args, value, path)
    if dataclasses.is_dataclass(hint):
        return _load_fields(hint, value, path)
    if hint is float and _is_number(value):
        return float(value)
    if hint is int and _is_number(value) and isinstance(value, int):
        return value
    if (hint is bool and isinstance(value, bool)) or (hint is str and isinstance(value, str) and _encodes(value)):
        return value
    noun = {float: "a finite number", int: "an integer", str: "a text", bool: "true or false"}[hint]
    raise UserError(f"{path} must be {noun}, got {_brief(value)}.")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -_INT <= value < _INT if isinstance(value, int) else math.isfinite(value)


def _encodes(text: str) -> bool:
    """Whether the text is one: half of a surrogate pair cannot be written anywhere."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _plain(value: Any, path: str, depth: int) -> Any:
    """Refuse what no file could hold, or no reader walk through."""
    if depth > _DEPTH:
        raise UserError(f"{path[:120]} must be nested at most {_DEPTH} deep.")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str) or not _encodes(key):
                raise UserError(f"{path} must be a mapping with words as keys, got {key!r:.80}.")
            _plain(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            _plain(item, f"{path}[{i}]", depth + 1)
    elif isinstance(value, str) and not _encodes(value):
        raise UserError(f"{path} must be a text, got {value!r:.80}.")
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and not _is_number(value):
        raise UserError(f"{path} must be a number of usual size, got {_brief(value)}.")
    elif not (value is None or isinstance(value, (str, bool, int, float))):
        raise UserError(f"{path} must be a mapping, a list, a text, a number, true, false or null, got {value!r:.80}.")
    return value


def _brief(value: Any) -> str:
    try:
        return f"{value!r:.80}"
    except ValueError:  # Python writes no integer of thousands of digits
        return "one of thousands of digits"


def _narrowed(value: Any, rules: tuple[Any, ...], path: str) -> Any:
    for rule in rules:
        if isinstance(rule, (Range, Pattern)) and value is not None and value not in rule:
            raise UserError(f"{path} must be {rule}, got {value!r:.80}.")
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
        if type(name) is not args[0] or (isinstance(name, str) and not _encodes(name)):
            raise UserError(f"{path} must be a mapping with {noun} as keys, got {key!r:.80}.")
        found[name] = from_json(args[1], item, f"{path}.{key}")
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
    return hint(**{name: from_json(hints[name], item, f"{path}.{name}") for name, item in value.items()})


@functools.cache
def _hints(hint: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(hint, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(hint)}


@functools.cache
def _required(hint: Any) -> list[str]:
    return [f.name for f in dataclasses.fields(hint) if f.default is f.default_factory is dataclasses.MISSING]


def to_json(value: Any) -> Any:
    """The value as plain JSON: dataclasses as mappings, tuples as lists, keys as words."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value

"""The border of the report: plain JSON into annotated dataclasses, or one sentence that says which field is wrong."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from xentlab.errors import UserError, unknown


def load(hint: Any, value: Any, path: str) -> Any:
    """`value` as the annotation `hint` wants it, or one sentence that names the path and the rule."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        members = [a for a in args if a is not type(None)]
        # bool is an int to Python and an int a float; the exact type must win, so that knobs keep theirs.
        exact = next((m for m in members if type(value) is m), members[0])
        return load(exact, value, path)
    if origin is Literal:
        if value not in args:
            raise UserError(f"{path} must be one of {', '.join(args)}, got {value!r}.")
        return value
    if origin is list:
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{path} must be a list, got {value!r}.")
        return [load(args[0], item, f"{path}[{i}]") for i, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise UserError(f"{path} must be a mapping with words as keys, got {value!r}.")
        return {key: load(args[1], item, f"{path}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return _load_fields(hint, value, path)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint is not float and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    noun = {float: "a finite number", int: "an integer", str: "a text", bool: "true or false"}[hint]
    raise UserError(f"{path} must be {noun}, got {value!r}.")


def _load_fields(hint: Any, value: Any, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise UserError(f"{path} must be a mapping, got {value!r}.")
    hints = _hints(hint)
    for key in value:
        if key not in hints:
            raise unknown(f"field of {path}", str(key), hints)
    required = [f.name for f in dataclasses.fields(hint) if f.default is f.default_factory is dataclasses.MISSING]
    for name in required:
        if name not in value:
            raise UserError(f"{path}.{name} is missing.")
    return hint(**{name: load(hints[name], item, f"{path}.{name}") for name, item in value.items()})


@functools.cache
def _hints(hint: Any) -> dict[str, Any]:
    return typing.get_type_hints(hint)

"""A component is a function and its signature is its schema.

Knobs are the keyword-only parameters of a loss, model, optimizer, schedule, regularizer or dataset. Their annotations
carry the rules:

    def focal(logits, target, *, gamma: Annotated[float, Range(0, None)] = 2.0) -> Tensor: ...

`float` knobs are data (they may differ inside a stack); everything else is structure. `build` is the border: it finds
the function, checks every value once, and hands back a `functools.partial`.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from xentlab.dotted import locate
from xentlab.errors import UserError, unknown


@dataclass(frozen=True)
class Range:
    """The interval that a number must lie in; `None` is unbounded. Bounds are included unless their `open` flag is set.

    For a knob that holds a list of numbers, the range holds for each of them.
    """

    low: float | None
    high: float | None
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        if math.isnan(value):
            return False
        above = self.low is None or (value > self.low if self.open_low else value >= self.low)
        below = self.high is None or (value < self.high if self.open_high else value <= self.high)
        return above and below

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"in {'(' if self.open_low else '['}{self.low:g}, {self.high:g}{')' if self.open_high else ']'}"
        if self.low is not None:
            return f"{'>' if self.open_low else '>='} {self.low:g}"
        if self.high is not None:
            return f"{'<' if self.open_high else '<='} {self.high:g}"
        return "a finite number"


NonNegativeFloat = Annotated[float, Range(0, None)]
PositiveFloat = Annotated[float, Range(0, None, open_low=True)]
NonNegativeInt = Annotated[int, Range(0, None)]
PositiveInt = Annotated[int, Range(1, None)]


@dataclass(frozen=True)
class Pattern:
    """The form that a text must have: a regular expression that matches the whole of it, and what it is called."""

    regex: str
    meaning: str

    def __contains__(self, value: str) -> bool:
        return re.fullmatch(self.regex, value) is not None

    def __str__(self) -> str:
        return self.meaning


@dataclass(frozen=True)
class Knob:
    """One tunable parameter of a component.

    `kind` is the plain type (`float`, `int`, `bool`, `str`, `list`, `dict`; `object` for anything), `item` the type of
    a list's items, `choices` the allowed values of a `Literal`, `optional` whether `None` is allowed, `others` what
    else a union allows.
    """

    name: str
    kind: type
    default: Any
    range: Range | None = None
    choices: tuple[Any, ...] = ()
    optional: bool = False
    item: type | None = None
    pattern: Pattern | None = None
    others: tuple[Knob, ...] = ()

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def is_data(self) -> bool:
        """Whether rows of one stack may differ in it: floats are data, everything else is structure."""
        return self.kind is float and not self.optional

    @property
    def rule(self) -> str:
        """The rule in words, as the error says it: `>= 0`, `one of relu, tanh`, `an integer >= 1`."""
        if self.choices:
            words = f"one of {', '.join(map(str, self.choices))}" if len(self.choices) > 1 else str(self.choices[0])
        elif self.kind is list:
            words = "a list" + (f" of {_PLURALS[self.item]}" if self.item else "")
            words += f", each {self.range}" if self.range else ""
        elif self.kind in (int, float):
            noun = "an integer" if self.kind is int else "a number"
            words = f"{noun} {self.range}" if self.range else noun
        elif self.pattern is not None:
            words = str(self.pattern)
        else:
            words = _NOUNS[self.kind]
        *first, last = [words, *(other.rule for other in self.others), *(["null"] if self.optional else [])]
        return f"{', '.join(first)}{',' if len(first) > 1 else ''} or {last}" if first else last


_NOUNS = {float: "a number", int: "an integer", bool: "true or false", dict: "a mapping", list: "a list"} | {
    str: "a text that is not empty"
}
_PLURALS = {float: "numbers", int: "integers", str: "words", bool: "true or false"}


@functools.cache
def knobs(function: Callable[..., Any]) -> dict[str, Knob]:
    """The keyword-only parameters of `function`, by name, with their types, defaults and ranges."""
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    keyword_only = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    return {p.name: _knob(p.name, hints.get(p.name, _kind_of(p.default)), p.default) for p in keyword_only}


def _kind_of(default: Any) -> Any:
    """What a knob without an annotation is: a number, unless its default is something else."""
    number = default is inspect.Parameter.empty or _is_number(default)
    return float if number else type(default) if isinstance(default, (bool, str)) else Any


def _knob(name: str, hint: Any, default: Any) -> Knob:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        found = _knob(name, args[0], default)
        interval = found.range or next((e for e in args[1:] if isinstance(e, Range)), None)
        pattern = found.pattern or next((e for e in args[1:] if isinstance(e, Pattern)), None)
        others = tuple(replace(other, range=other.range or interval) for other in found.others)
        return replace(found, range=interval, pattern=pattern, others=others)
    if origin in (typing.Union, types.UnionType):
        first, *more = (a for a in args if a is not type(None))
        # Beside a float stands the Tensor that it is inside a stack: no config gives one.
        others = tuple(_knob(name, a, default) for a in more if a in _NOUNS or typing.get_origin(a) is not None)
        return replace(_knob(name, first, default), optional=type(None) in args, others=others)
    if origin is Literal:
        return Knob(name, type(args[0]), default, choices=args)
    if origin is not None:
        kind: type = dict if issubclass(origin, Mapping) else list
        return Knob(name, kind, default, item=args[0] if kind is list and args and args[0] in _PLURALS else None)
    if hint is Any:
        return Knob(name, object, default)
    return Knob(name, hint if hint in _NOUNS else (list if hint in (tuple, list) else float), default)


def check_knob(path: str, knob: Knob, value: Any) -> Any:
    """The value as the function wants it (an int given for a float becomes one), or one sentence that says the rule."""

    def refuse() -> UserError:
        shown = f"'{value:.80}'" if isinstance(value, str) else "null" if value is None else f"{value!s:.200}"
        plain = knob.range and _is_number(value) and knob.kind is not list and not knob.others
        rule = "below 2^63" if _too_large(value, knob.kind) else str(knob.range) if plain else knob.rule
        return UserError(f"{path}.{knob.name}".lstrip(".") + f" must be {rule}, got {shown}.")

    if knob.kind is object or (value is None and knob.optional):
        return value
    if knob.others:
        for one in (replace(knob, others=()), *knob.others):
            with contextlib.suppress(UserError):
                return check_knob(path, one, value)
        raise refuse()
    if knob.choices:
        if not isinstance(value, knob.kind) or value not in knob.choices:
            raise refuse()
        return value
    if knob.kind is list:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise refuse()
        items = tuple(_convert(v, knob.item) if knob.item else v for v in value)
        if any(v is _WRONG or (knob.range and v not in knob.range) for v in items):
            raise refuse()
        return items
    converted = _convert(value, knob.kind)
    if converted is _WRONG or (knob.range is not None and converted not in knob.range):
        raise refuse()
    if knob.kind is float and not math.isfinite(converted):
        raise refuse()
    if isinstance(converted, str) and (converted not in knob.pattern if knob.pattern else not converted.strip()):
        raise refuse()
    return converted


_WRONG = object()
_INT = 2**63


def _too_large(value: Any, kind: type) -> bool:
    """Whether an integer is one that nobody means: a float could not hold it, and a journal's reader refuses it."""
    return _is_number(value) and (kind is int or isinstance(value, int)) and _INT <= abs(value) < math.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _convert(value: Any, kind: type) -> Any:
    if _too_large(value, kind):
        return _WRONG
    if kind is float and _is_number(value):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    return _WRONG


def check_mapping(path: str, values: Any) -> Mapping[str, Any]:
    """The section of a config that stands under `path`; refuses one that is not there or is something else."""
    if not isinstance(values, Mapping):
        raise UserError(f"{path} must be a mapping of its keys, got {'none' if values is None else repr(values)}.")
    return values


def check_knobs(path: str, function: Callable[..., Any], values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Every knob of `function` with its checked value; refuses unknown names, wrong types and values out of range."""
    return check_values(path, knobs(function), values)


def check_values(path: str, known: Mapping[str, Knob], values: Mapping[str, Any] | None) -> dict[str, Any]:
    """As `check_knobs`, of knobs that belong to no signature."""
    values = check_mapping(path, values)
    for name in values:
        if name not in known:
            raise unknown(f"knob of {path}", name, known)
    missing = [k.name for k in known.values() if k.required and k.name not in values]
    if missing:
        raise UserError(f"{path}.{missing[0]} has no default and must be given.")
    return {k.name: check_knob(path, k, values[k.name]) if k.name in values else k.default for k in known.values()}


def target_of(path: str, node: Mapping[str, Any] | None) -> tuple[Any, dict[str, Any]]:
    """What a config node names, and the values that it gives to knobs; other keys that begin with `_` are Hydra's.

    Raises:
        UserError: it names nothing, or nothing that can be imported.
    """
    node = check_mapping(path, node)
    if "_target_" not in node:
        raise UserError(f"{path}._target_ must name a function, got nothing.")
    values = {name: value for name, value in node.items() if not name.startswith("_")}
    return locate(path, str(node["_target_"])), values


def build(path: str, node: Mapping[str, Any] | None) -> functools.partial[Any]:
    """The component that a config node names, with every knob checked and bound.

    Args:
        path: where the node stands in the config, for the error's sentence (`loss`, `optimizer`).
        node: a mapping with `_target_` and the knobs' values.

    Raises:
        UserError: the target cannot be imported, or a knob is unknown, of a wrong type or out of range.
    """
    function, values = target_of(path, node)
    return functools.partial(function, **check_knobs(path, function, values))

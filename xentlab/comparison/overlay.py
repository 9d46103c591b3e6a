"""Choices laid over a composed config: what the axes of a comparison and the arms of a published experiment say.

loss: ce                   a component by its name
loss: {gce: {q: 0.7}}      by its name, with knobs of its own
optimizer: {lr: 0.1}       knobs of what is chosen already
optimizer.lr: 0.1          one knob, dotted
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from xentlab.errors import unknown
from xentlab.train import COMPONENTS

GroupNode = Callable[[str, str], dict[str, Any]]
"""Composes `configs/GROUP/NAME.yaml`."""


def lay(config: dict[str, Any], choices: Mapping[str, Any], group_node: GroupNode, keep: Collection[str] = ()) -> None:
    """Lay choices over a config in place, but for the dotted keys in `keep`.

    Raises:
        UserError: a key that is not there.
    """
    for key, choice in choices.items():
        if key in keep:
            continue
        knobs = choice
        if key in COMPONENTS:
            name, knobs = _named(choice, config[key])
            if name is not None:
                config[key] = group_node(key, name)
        elif "." in key or not isinstance(choice, Mapping):
            set_key(config, key, choice)
            continue
        elif key not in config:
            raise unknown("config key", key, config)
        for knob, value in knobs.items():
            if f"{key}.{knob}" not in keep:
                set_key(config, f"{key}.{knob}", value)


def _named(choice: Any, chosen: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any]]:
    """The component that a choice names, if it names one, and the knobs that it sets."""
    if not isinstance(choice, Mapping):
        return str(choice), {}
    if len(choice) == 1:
        ((name, knobs),) = choice.items()
        if name not in chosen:
            return str(name), knobs or {}
    return None, choice


def set_key(config: dict[str, Any], key: str, value: Any) -> None:
    """Set the value of a dotted key that is there.

    Raises:
        UserError: it is not.
    """
    *path, last = key.split(".")
    node: Any = config
    for part in path:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        raise unknown("config key", ".".join(path), config)
    if last not in node:
        kind = f"knob of {'.'.join(path)}" if path else "config key"
        raise unknown(kind, last, [name for name in node if not name.startswith("_")])
    node[last] = copy.deepcopy(value)


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings by their dotted keys."""
    for key, value in dict(node or {}).items():
        where = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from leaves(value, where)
        elif value is not None:
            yield where, value


def combinations(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values of dotted keys; components come before the knobs of what they choose."""
    keys = sorted(axes, key=lambda key: key not in COMPONENTS)
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(axes[key] for key in keys))]

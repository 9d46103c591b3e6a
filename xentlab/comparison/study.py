"""A comparison over cells: every combination of its axes (datasets, models, knobs), under each fairness mode."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from xentlab.comparison.protocol import LossNode, Mode, Protocol, Settings, leaves, read_protocol, read_settings
from xentlab.errors import UserError, unknown

GroupNode = Callable[[str, str], dict[str, Any]]
"""Composes `configs/GROUP/NAME.yaml`."""

_GROUPS = ("dataset", "model", "optimizer", "schedule", "regularizer")
_MODES: tuple[Mode, ...] = ("tuned", "shared", "matched")


@dataclass(frozen=True)
class Study:
    """What `xentlab compare` runs: one protocol for each cell, by the cell's label (empty where there is one only)."""

    name: str
    question: str
    cells: dict[str, Protocol]


def read_study(config: Mapping[str, Any], group_node: GroupNode) -> Study:
    """The protocols of a composed config.

    Raises:
        UserError: a key is missing, unknown, or of a value that makes no sense.
    """
    settings = read_settings(config)
    for mode in settings.modes:
        if mode not in _MODES:
            raise unknown("comparison.modes", mode, _MODES)
    if not settings.modes:
        raise UserError("comparison.modes must name at least one of tuned, shared, matched, got none.")
    loss_node: LossNode = lambda name: group_node("loss", name)  # noqa: E731
    cells: dict[str, Protocol] = {}
    for label, cell in _cells(config, settings, group_node):
        for mode in _MODES:
            if mode in settings.modes:
                parts = [label] if label else []
                parts += [mode] if len(settings.modes) > 1 else []
                cells[" · ".join(parts)] = read_protocol(cell, settings, mode, loss_node)
    return Study(settings.name, settings.question, cells)


def _cells(config: Mapping[str, Any], settings: Settings, group_node: GroupNode) -> list[tuple[str, dict[str, Any]]]:
    """Every combination of the axes: what it is called, and its config."""
    axes = dict(leaves(settings.axes))
    for key, values in axes.items():
        if not isinstance(values, (list, tuple)) or not values:
            raise UserError(f"comparison.axes.{key} must be a list of values, got {values!r}.")
    found = []
    # Groups are set before the knobs of what they choose.
    ordered = sorted(axes, key=lambda key: (key not in _GROUPS, list(axes).index(key)))
    for combination in itertools.product(*(axes[key] for key in ordered)):
        cell, words = copy.deepcopy(dict(config)), []
        for key, value in zip(ordered, combination, strict=True):
            words.append(_choose(cell, key, value, group_node))
        found.append((" · ".join(words), cell))
    return found


def _choose(cell: dict[str, Any], key: str, value: Any, group_node: GroupNode) -> str:
    """Set one axis of a cell in place; returns its word in the cell's label."""
    if key in _GROUPS:
        name, knobs = (str(value), {}) if not isinstance(value, Mapping) else next(iter(value.items()))
        cell[key] = group_node(key, str(name)) | dict(knobs or {})
        return str(name)
    *path, last = key.split(".")
    node: Any = cell
    for part in path:
        if not isinstance(node, dict) or part not in node:
            raise UserError(f"comparison.axes names {key}, which is not in the config.")
        node = node[part]
    if last not in node:
        raise UserError(f"comparison.axes names {key}, but {'.'.join(path)} has no {last}.")
    node[last] = value
    return f"{last.replace('_', ' ')} {value}"

"""A comparison over cells: every combination of its axes (datasets, models, knobs), under each fairness mode."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xentlab.comparison.overlay import GroupNode, combinations, lay, leaves
from xentlab.comparison.protocol import LossNode, Mode, Protocol, Settings, read_protocol, read_settings
from xentlab.errors import UserError, unknown
from xentlab.train import COMPONENTS

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
    for choices in combinations(axes):
        cell = copy.deepcopy(dict(config))
        lay(cell, choices, group_node)
        found.append((" · ".join(_word(key, value) for key, value in choices.items()), cell))
    return found


def _word(key: str, value: Any) -> str:
    """One axis in a cell's label."""
    if key in COMPONENTS:
        return str(next(iter(value)) if isinstance(value, Mapping) else value)
    return f"{key.rpartition('.')[2].replace('_', ' ')} {value}"

"""A comparison over cells: every combination of its axes (datasets, models, knobs), under each fairness mode."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xentlab.comparison.overlay import GroupNode, combinations, lay, leaves
from xentlab.comparison.protocol import LossNode, Mode, Protocol, Settings, read_protocol, read_settings
from xentlab.errors import UserError, unknown
from xentlab.report.setup import Axes, axis_word
from xentlab.train import COMPONENTS

_MODES: tuple[Mode, ...] = ("tuned", "shared", "matched")


@dataclass(frozen=True)
class Setting:
    """One cell of a study: its value on each axis (dotted key -> value), its fairness mode, and what follows from them.

    A group's value is the name of the chosen one, with its knobs where others of that name are chosen too.
    """

    axes: Axes
    mode: Mode
    protocol: Protocol


@dataclass(frozen=True)
class StudyPlan:
    """What `xentlab compare` runs: one protocol for each setting."""

    name: str
    question: str
    settings: tuple[Setting, ...]

    @property
    def cells(self) -> dict[str, Setting]:
        """The settings by their labels, which say what differs; the empty label where there is one setting only."""
        several = len({setting.mode for setting in self.settings}) > 1
        found = {}
        for setting in self.settings:
            words = [axis_word(key, value) for key, value in setting.axes.items()]
            found[" · ".join([*words, *([setting.mode] if several else [])])] = setting
        return found


def read_study(config: Mapping[str, Any], group_node: GroupNode) -> StudyPlan:
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
    found = [
        Setting(axes, mode, read_protocol(cell, settings, mode, loss_node))
        for axes, cell in _cells(config, settings, group_node)
        for mode in _MODES
        if mode in settings.modes
    ]
    return StudyPlan(settings.name, settings.question, tuple(found))


def _cells(config: Mapping[str, Any], settings: Settings, group_node: GroupNode) -> list[tuple[Axes, dict[str, Any]]]:
    """Every combination of the axes: its value on each, and its config."""
    axes = dict(leaves(settings.axes))
    for key, values in axes.items():
        if not isinstance(values, (list, tuple)) or not values:
            raise UserError(f"comparison.axes.{key} must be a list of values, got {values!r}.")
        if len({str(value) for value in values}) < len(values):
            raise UserError(f"comparison.axes.{key} must hold different values, got {list(values)}.")
    found = []
    for choices in combinations(axes):
        cell = copy.deepcopy(dict(config))
        lay(cell, choices, group_node)
        found.append(({key: _plain(key, value, axes[key]) for key, value in choices.items()}, cell))
    return found


def _plain(key: str, value: Any, values: Sequence[Any]) -> Any:
    """A value of an axis as a setting has it; of a group the name, with the knobs where others have the name too."""
    if key not in COMPONENTS:
        return value if value is None or isinstance(value, (int, float, str)) else str(value)
    names = [_name(choice) for choice in values]
    name, told = _name(value), value if isinstance(value, Mapping) else {}
    knobs = told if name is None else told.get(name) or {} if names.count(name) > 1 else {}
    return " ".join([*([name] if name else []), *(f"{knob} {given}" for knob, given in knobs.items())])


def _name(choice: Any) -> str | None:
    """The component that a choice of a group names; None where it sets knobs of what is chosen already."""
    if not isinstance(choice, Mapping):
        return str(choice)
    ((name, knobs), *more) = choice.items()
    return None if more or not isinstance(knobs, (Mapping, type(None))) else str(name)

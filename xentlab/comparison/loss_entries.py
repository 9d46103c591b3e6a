"""The entries of `comparison.losses`: names, or labels with their knobs and grids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xentlab.comparison.overlay import leaves
from xentlab.comparison.search import Space
from xentlab.errors import UserError
from xentlab.schema import Knob, Range, check_knob, check_mapping

LossNode = Callable[[str], dict[str, Any]]
"""Composes `configs/loss/NAME.yaml`."""

_OFFSET = Knob("seed_offset", int, 0, Range(0, None))
Nodes = tuple[dict[str, dict[str, Any]], dict[str, Space], dict[str, int]]


def read_losses(entries: Sequence[Any], loss_node: LossNode) -> Nodes:
    """Label -> config node, own space and seed offset, from `[ce, {focal: {gamma: 1, tune: {gamma: [0, 1]}}}]`."""
    if len(entries) < 2:
        raise UserError(f"comparison.losses must be a list of at least two losses, got {list(entries)}.")
    nodes: dict[str, dict[str, Any]] = {}
    spaces: dict[str, Space] = {}
    offsets: dict[str, int] = {}
    for entry in entries:
        label, given = (entry, {}) if isinstance(entry, str) else _single(entry)
        if label in nodes:
            raise UserError(f"comparison.losses must have different labels, got '{label}' twice.")
        where = f"comparison.losses.{label}"
        overrides = dict(check_mapping(where, given or {}))
        own = check_mapping(f"{where}.tune", overrides.pop("tune", {}))
        spaces[label] = {f"loss.{k}": read_values(f"loss.{k}", v) for k, v in leaves(own)}
        offsets[label] = check_knob(where, _OFFSET, overrides.pop("seed_offset", 0))
        if "_target_" in overrides:
            nodes[label] = overrides
        else:
            nodes[label] = loss_node(str(overrides.pop("loss", label))) | overrides
    return nodes, spaces, offsets


def _single(entry: Any) -> tuple[str, Any]:
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise UserError(f"comparison.losses must hold names, or one label with its knobs each, got {entry!r}.")
    ((label, given),) = entry.items()
    return str(label), given


def read_values(key: str, values: Any) -> tuple[float, ...]:
    numbers = isinstance(values, (list, tuple)) and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) for v in values
    )
    if not numbers or not values:
        raise UserError(f"comparison.tune.{key} must be a list of numbers, got {values!r}.")
    return tuple(sorted({float(v) for v in values}))

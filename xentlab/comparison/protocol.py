"""What a comparison does, as its config says it: which losses, tuned how, over which seeds, judged by what."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xentlab.errors import UserError, unknown
from xentlab.train import Trial, prepare

Point = tuple[tuple[str, float], ...]
"""Values of the tuned keys, such as (("optimizer.lr", 0.1),)."""

# Tuning seeds begin here, so that they never meet the final ones, which count from 0.
_FIRST_TUNING_SEED = 1000


@dataclass(frozen=True)
class Protocol:
    """A comparison, checked.

    Attributes:
        name: of the comparison.
        question: what it asks, one sentence.
        base: the config of a trial, without loss, tuned values and seed.
        losses: label -> config node of the loss, in the order in which they are shown.
        baseline: label of the loss that all others are compared with.
        grids: tuned key -> its values, ascending, the same for every loss.
        extensions: how often a grid may grow on the side where the winner sits on its edge.
        margin: the largest difference of the judged metric that would not matter, or None.
    """

    name: str
    question: str
    base: dict[str, Any]
    losses: dict[str, dict[str, Any]]
    baseline: str
    grids: dict[str, tuple[float, ...]]
    extensions: int
    tuning_seeds: tuple[int, ...]
    final_seeds: tuple[int, ...]
    margin: float | None

    def points(self) -> list[Point]:
        """Every combination of the grids' values."""
        return list(itertools.product(*([(key, v) for v in values] for key, values in self.grids.items())))

    def trial(self, label: str, point: Point, seed: int, *, test: bool) -> Trial:
        """One trial of one loss; only those with `test` may ever see test data."""
        config = copy.deepcopy(self.base)
        config["loss"], config["seed"] = copy.deepcopy(self.losses[label]), seed
        for key, value in point:
            _set(config, key, value)
        return prepare(config, test=test, name=label)


def read_protocol(config: Mapping[str, Any], loss_node: Callable[[str], dict[str, Any]]) -> Protocol:
    """The protocol of a composed config; `loss_node` composes `configs/loss/NAME.yaml`.

    Raises:
        UserError: a key is missing, unknown, or of a value that makes no sense.
    """
    node = dict(config["comparison"])
    known = ("name", "question", "losses", "baseline", "tune", "extensions", "tuning_seeds", "final_seeds", "margin")
    for key in node:
        if key not in known:
            raise unknown("key of comparison", key, known)
    for key in known:
        if key not in node:
            raise UserError(f"comparison.{key} is missing: a file of configs/comparison must give it.")
    base = {k: v for k, v in config.items() if k not in ("comparison", "loss", "seed")}
    losses = _losses(node["losses"], loss_node)
    if node["baseline"] not in losses:
        raise unknown("comparison.baseline", str(node["baseline"]), losses)
    tuning = _seeds("tuning_seeds", node["tuning_seeds"], _FIRST_TUNING_SEED)
    final = _seeds("final_seeds", node["final_seeds"], 0)
    shared = sorted(set(tuning) & set(final))
    if shared:
        raise UserError(f"comparison.final_seeds must not hold a tuning seed, got {shared[0]} in both.")
    if len(final) < 2:
        raise UserError(f"comparison.final_seeds must be at least 2 seeds, got {len(final)}.")
    margin = node["margin"]
    if margin is not None and not (isinstance(margin, (int, float)) and margin > 0):
        raise UserError(f"comparison.margin must be a number > 0 or null, got {margin!r}.")
    extensions = node["extensions"]
    if not isinstance(extensions, int) or extensions < 0:
        raise UserError(f"comparison.extensions must be an integer >= 0, got {extensions!r}.")
    protocol = Protocol(
        name=str(node["name"]),
        question=str(node["question"]),
        base=base,
        losses=losses,
        baseline=node["baseline"],
        grids={key: _grid(key, values) for key, values in _leaves(node["tune"])},
        extensions=extensions,
        tuning_seeds=tuning,
        final_seeds=final,
        margin=None if margin is None else float(margin),
    )
    for label in losses:  # every mistake is found before the first trial
        protocol.trial(label, protocol.points()[0], final[0], test=True)
    return protocol


def _losses(entries: Any, loss_node: Callable[[str], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Label -> config node, from a list of names, or of one label with its knobs: `[ce, {custom_ce: {gamma: 1}}]`."""
    if not isinstance(entries, (list, tuple)) or len(entries) < 2:
        raise UserError(f"comparison.losses must be a list of at least two losses, got {entries!r}.")
    nodes: dict[str, dict[str, Any]] = {}
    for entry in entries:
        label, given = (entry, {}) if isinstance(entry, str) else _single(entry)
        if label in nodes:
            raise UserError(f"comparison.losses must have different labels, got '{label}' twice.")
        overrides = dict(given or {})
        if "_target_" in overrides:
            nodes[label] = overrides
        else:
            nodes[label] = loss_node(str(overrides.pop("loss", label))) | overrides
    return nodes


def _single(entry: Any) -> tuple[str, Any]:
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise UserError(f"comparison.losses must hold names, or one label with its knobs each, got {entry!r}.")
    ((label, given),) = entry.items()
    return str(label), given


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The grids of nested mappings by their dotted keys."""
    for key, value in dict(node).items():
        where = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from _leaves(value, where)
        else:
            yield where, value


def _seeds(key: str, value: Any, first: int) -> tuple[int, ...]:
    """A count of seeds, or the seeds themselves."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return tuple(range(first, first + value))
    if isinstance(value, (list, tuple)) and value and all(isinstance(s, int) and s >= 0 for s in value):
        if len(set(value)) == len(value):
            return tuple(value)
        raise UserError(f"comparison.{key} must be different seeds, got {list(value)}.")
    raise UserError(f"comparison.{key} must be a number >= 1 or a list of seeds, got {value!r}.")


def _grid(key: str, values: Any) -> tuple[float, ...]:
    if not isinstance(values, (list, tuple)) or not values:
        raise UserError(f"comparison.tune.{key} must be a list of numbers, got {values!r}.")
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        raise UserError(f"comparison.tune.{key} must be a list of numbers, got {values!r}.")
    return tuple(sorted({float(v) for v in values}))


def _set(config: dict[str, Any], key: str, value: float) -> None:
    *path, last = key.split(".")
    node: Any = config
    for part in path:
        if not isinstance(node, dict) or part not in node:
            raise UserError(f"comparison.tune names {key}, which is not in the config.")
        node = node[part]
    if last not in node:
        raise UserError(f"comparison.tune names {key}, but {'.'.join(path)} has no {last}.")
    node[last] = value

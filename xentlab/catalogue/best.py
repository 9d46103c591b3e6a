"""The best points by validation: trainings that differ in their seed alone are one point. Test data stay out of it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xentlab.journal import TrialRecord
from xentlab.tasks import find

# Of a config what is no part of a point: who trained it, where it is kept, and which draw it is.
_APART = ("seed", "output", "tracking", "executor")
_HOW = ("train_sample", "eval_batch_size", "checkpoint_every", "max_stack", "memory", "target")


@dataclass(frozen=True)
class BestPoint:
    """One setting over its seeds.

    Attributes:
        setting: what tells it from the other points of its loss: dotted key -> value.
        mean, sd: of the best value on validation over its `n` seeds.
        diverged: how many seeds more gave none.
        trial: the id of its best training.
    """

    loss: str
    setting: dict[str, Any]
    mean: float
    sd: float | None
    n: int
    diverged: int
    trial: str


@dataclass(frozen=True)
class Ranking:
    """The points of one dataset that one metric ranks, the best first."""

    dataset: str
    metric: str
    larger: bool
    points: list[BestPoint]


def best_points(trials: Sequence[TrialRecord]) -> list[Ranking]:
    """One ranking for each dataset and monitored metric, by their names."""
    kinds: dict[tuple[str, str, str], list[TrialRecord]] = {}
    lost: list[TrialRecord] = []
    for trial in trials:
        if trial.ended is not None and trial.ended.best is not None and not trial.ended.diverged:
            kinds.setdefault((trial.tags["dataset"], trial.tags["task"], trial.ended.monitor), []).append(trial)
        elif trial.ended is not None:
            lost.append(trial)
    return [
        _ranking(dataset, find(task).metric(monitor).direction == "max", monitor, found, lost)
        for (dataset, task, monitor), found in sorted(kinds.items())
    ]


def _ranking(
    dataset: str, larger: bool, monitor: str, trials: Sequence[TrialRecord], lost: Sequence[TrialRecord]
) -> Ranking:
    points: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        points.setdefault(_key(trial), []).append(trial)
    gone = [_key(trial) for trial in lost]
    settings = {key: dict(flat(_deciding(of[0].config))) for key, of in points.items()}
    alike: dict[str, list[dict[str, Any]]] = {}
    for key, of in points.items():
        alike.setdefault(of[0].tags["loss"], []).append(settings[key])
    own_keys = {loss: differing(found) for loss, found in alike.items()}
    sign = -1 if larger else 1
    found = []
    for key, of in points.items():
        values = [(sign * (trial.outcome.best or 0.0), trial.id) for trial in of]
        mean = sign * statistics.fmean(value for value, _ in values)
        sd = statistics.stdev(value for value, _ in values) if len(values) > 1 else None
        own = {name: settings[key][name] for name in own_keys[of[0].tags["loss"]] if name in settings[key]}
        found.append(BestPoint(of[0].tags["loss"], own, mean, sd, len(of), gone.count(key), min(values)[1]))
    return Ranking(dataset, monitor, larger, sorted(found, key=lambda p: (sign * p.mean, p.trial)))


def _deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    trainer = {k: v for k, v in config.get("trainer", {}).items() if k not in _HOW}
    return {**{k: v for k, v in config.items() if k not in _APART}, "trainer": trainer}


def _key(trial: TrialRecord) -> str:
    return json.dumps(_deciding(trial.config), sort_keys=True, default=str)


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys in which settings differ."""
    keys = dict.fromkeys(key for setting in settings for key in setting)
    return [key for key in keys if len({repr(setting.get(key)) for setting in settings}) > 1]


def flat(node: Any, path: str = "") -> list[tuple[str, Any]]:
    """The values of nested mappings by their dotted keys."""
    if not isinstance(node, Mapping):
        return [(path, node)]
    return [pair for key, value in node.items() for pair in flat(value, f"{path}.{key}" if path else str(key))]

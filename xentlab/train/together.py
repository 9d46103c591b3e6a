"""Trials that share a stream: those of one seed train side by side, and every batch is decoded once for all of them.

A group is what is planned, ordered and claimed in a stack's place. Its units train in turns, each as it would alone:
stacks of one structure, and looped trials one by one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from xentlab.data import Dataset
from xentlab.train.memory import footprint, memory_limit
from xentlab.train.plan import ReadDataset, lift_of, structure
from xentlab.train.trial import Trial


def units(group: Sequence[Trial], dataset: Dataset) -> list[list[int]]:
    """The places of the trials that train as one stack; all of them where the data is held."""
    if not dataset.streams:
        return [list(range(len(group)))]
    found: dict[str, list[int]] = {}
    for place, trial in enumerate(group):
        alone = place if trial.loss.alone or lift_of(trial, dataset) == "looped" else ""
        found.setdefault(f"{alone} {trial.seed} {structure(trial)}", []).append(place)
    return list(found.values())


def groups(
    planned: Sequence[Sequence[Trial]],
    dataset: ReadDataset,
    say: Callable[[str], None] = lambda sentence: None,  # noqa: ARG005
) -> list[Sequence[Trial]]:
    """Stacks as they are planned, those over a stream brought together by what they read and their seeds.

    A group is no larger than memory allows and has at most `trainer.max_stack` units; it says where memory decides, and
    that all data is then read again.
    """
    found: list[Sequence[Trial]] = []
    together: dict[str, list[list[Trial]]] = {}
    for stack in planned:
        data = dataset(stack[0])
        if not data.streams:
            found.append(stack)
            continue
        for places in units(stack, data):
            unit = [stack[place] for place in places]
            config = unit[0].config
            key = [config["dataset"], config["trainer"], unit[0].seed, unit[0].test]
            # What has a state of its own would share it with the others.
            key += [unit[0].label] if unit[0].loss.alone else []
            together.setdefault(json.dumps(key, sort_keys=True, default=str), []).append(unit)
    for one in together.values():
        found += _as_memory_allows(one, dataset(one[0][0]), say)
    return found


def _as_memory_allows(
    planned: Sequence[list[Trial]], dataset: Dataset, say: Callable[[str], None]
) -> list[list[Trial]]:
    first = planned[0][0]
    if len(planned) == 1:
        return [*planned]
    needs: dict[str, tuple[int, int]] = {}
    limit, taken, most = memory_limit(first), 0, first.trainer.max_stack
    found: list[list[Trial]] = []
    total, count = 0, most
    for unit in planned:
        key = structure(unit[0])
        if key not in needs:
            needs[key] = _bytes(unit[0], dataset)
        fixed, each = needs[key]
        own = each * len(unit)
        total += own
        if count == most or fixed + taken + own > limit:
            found.append([])
            taken = count = 0
        found[-1] += unit
        taken, count = taken + own, count + 1
    if len(found) > -(-len(planned) // most):
        say(
            f"{sum(map(len, planned))} trials of seed {first.seed} train in {len(found)} passes over "
            f"{dataset.name}: together they would take {(fixed + total) / 2**20:,.1f} MB, and {limit / 2**20:,.1f} MB "
            f"are allowed."
        )
    return found


def _bytes(trial: Trial, dataset: Dataset) -> tuple[int, int]:
    """What a unit like this trial takes once, and for each of its trials."""
    try:
        needed = footprint(trial, dataset, looped=lift_of(trial, dataset) == "looped")
    except (Exception, SystemExit):  # the step raises again in training, where it is this trial's own failure
        return 0, 0
    return needed.fixed, needed.per_trial

"""The planner: which trials train together as one stack, and by which lift.

Floats of the loss, the optimizer, the regularizer and the schedule are data, and so is the seed: trials that differ
only in them form a stack. Everything else is structure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import nn

from xentlab.data import Dataset
from xentlab.models import has_convolution, has_dropout, initial
from xentlab.schema import knobs
from xentlab.train.trial import COMPONENTS, Trial

_DATA_COMPONENTS = ("regularizer", "optimizer", "schedule")

ReadDataset = Callable[[Trial], Dataset]


def structure(trial: Trial) -> str:
    """Equal for two trials exactly when they can train in one stack."""
    key: dict[str, Any] = {"test": trial.test, "trainer": dict(trial.config["trainer"])}
    if trial.trainer.clip_norm is not None:
        key["trainer"]["clip_norm"] = "data"
    for name in COMPONENTS:
        node: Any = dict(trial.config[name])
        if name == "loss":
            node = trial.loss.structure
        elif name in _DATA_COMPONENTS:
            schema = knobs(getattr(trial, name).func)
            node = {k: v for k, v in node.items() if k not in schema or not schema[k].is_data}
        key[name] = node
    return json.dumps(key, sort_keys=True, default=str)


def stacks(
    trials: Sequence[Trial],
    *,
    fits: Callable[[Sequence[Trial]], int] = lambda group: len(group),
) -> list[list[Trial]]:
    """Group trials into stacks by structure, in order of first appearance, none larger than `trainer.max_stack`.

    Args:
        trials: what is to be trained.
        fits: how many trials of a group of one structure memory has room for; asked for groups of more than one.
    """
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(structure(trial), []).append(trial)
    planned = []
    for group in groups.values():
        size = group[0].trainer.max_stack
        if len(group) > 1:
            size = min(size, fits(group))
        planned += [group[i : i + size] for i in range(0, len(group), size)]
    return planned


def lift_of(trials: Sequence[Trial], dataset: Dataset) -> Literal["looped", "vectorised"]:
    """Which lift trains these trials as one stack; builds one model to look at."""
    module = initial(trials[0].model, dataset.input_shape, trials[0].num_outputs(dataset), 0)
    return choose_lift(trials, module, trials[0].device.type)


def choose_lift(trials: Sequence[Trial], module: nn.Module, device: str) -> Literal["looped", "vectorised"]:
    """Which lift trains this stack: what `trainer.lift` says, else the measured rule.

    One trial is fastest through its module. Matrix models gain from one tensor program everywhere (32 digits-size MLPs
    five-fold on two cores); stacked convolutions become grouped convolutions, which a CPU does not run faster. Dropout
    draws random numbers inside the step, so such a model is looped.
    """
    asked = trials[0].trainer.lift
    if has_dropout(module):
        return "looped"
    if asked != "auto":
        return asked
    if len(trials) == 1:
        return "looped"
    return "looped" if device == "cpu" and has_convolution(module) else "vectorised"


def cut(planned: Sequence[Sequence[Trial]], dataset: ReadDataset) -> list[Sequence[Trial]]:
    """The stacks in their order as they are handed out to workers, with every looped one as its single trials.

    Trials of a looped stack train one after another and know nothing of each other, so each is a unit of its own: all
    workers have work to the end, and whoever takes a lost or interrupted one up finds its checkpoint whatever else is
    left to do. A stack that trains as one tensor program stays whole; `trainer.max_stack` makes it smaller.
    """
    pieces: list[Sequence[Trial]] = []
    for stack in planned:
        if len(stack) > 1 and lift_of(stack, dataset(stack[0])) == "looped":
            pieces += [[trial] for trial in stack]
        else:
            pieces.append(stack)
    return pieces

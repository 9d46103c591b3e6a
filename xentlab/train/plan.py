"""The planner: by which lift a trial trains, and which trials train together as one stack.

Floats of the loss, the optimizer, the regularizer and the schedule are data, and so is the seed: trials that differ
only in them form a stack. Everything else is structure.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from xentlab.data import Dataset
from xentlab.models import has_bag, has_convolution, has_dropout
from xentlab.models.foreign import check_foreign, runs_stacked
from xentlab.schema import knobs
from xentlab.train.modules import first_module
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
        fits: how many trials of a group of one structure memory has room for; asked for groups of more than one.
    """
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(structure(trial), []).append(trial)
    planned = []
    for group in groups.values():
        size = 1 if group[0].loss.alone else group[0].trainer.max_stack
        if len(group) > 1:
            size = min(size, fits(group))
        planned += [group[i : i + size] for i in range(0, len(group), size)]
    return planned


def lift_of(trial: Trial, dataset: Dataset) -> Literal["looped", "vectorised"]:
    """Which lift trains this trial, whoever trains beside it; builds its model once to look at, with others like it."""
    dropout, convolution, bag, stacks, _ = _layers(trial, dataset)
    # Dropout draws random numbers inside the step. Stacked convolutions become grouped ones, which a CPU does not run
    # faster; matrix models gain everywhere (32 digits-size MLPs five-fold on two cores).
    if dropout or not stacks or hasattr(trial.optimizer.func, "make") or not trial.loss.stacks:
        return "looped"
    if trial.trainer.lift != "auto":
        return trial.trainer.lift
    return "looped" if bag or (trial.device.type == "cpu" and convolution) else "vectorised"


def model_stacks(trial: Trial, dataset: Dataset) -> bool:
    """Whether several trials of this one's model can be one tensor program; any model of this lab can but for dropout.

    Raises:
        UserError: a model from outside fails on such inputs, or gives another shape than the task needs.
    """
    return _layers(trial, dataset)[3]


def model_found(trial: Trial, dataset: Dataset) -> str:
    """What the model's file of weights gave, in words; empty without one.

    Raises:
        UserError: it is of another net.
    """
    return _layers(trial, dataset)[-1]


def _layers(trial: Trial, dataset: Dataset) -> tuple[bool, bool, bool, bool, str]:
    blank, num_outputs = trial.blank(dataset), trial.num_outputs(dataset)
    shape = tuple(blank.shape[1:])
    examples = min(2, trial.batch_size)
    head = dataset.encoded and dataset.encoded.head
    key = json.dumps([trial.config["model"], shape, num_outputs, examples, head], sort_keys=True, default=str)
    if key not in _LAYERS:
        module, found = first_module(trial, dataclasses.replace(dataset, encoded=None), 0)
        stacks = check_foreign(trial.model, module, blank, num_outputs, trial.task.output, examples)
        if dataset.encoded is not None:
            module = module.get_submodule(dataset.encoded.head)
            stacks = runs_stacked(module, torch.zeros(2, *dataset.encoded.shape))
        stacks = stacks or has_bag(module)  # of which the lift's own rule speaks
        _LAYERS[key] = (has_dropout(module), has_convolution(module), has_bag(module), stacks, found)
    return _LAYERS[key]


# By model and sizes: whether it has dropout, convolutions and bags of embeddings, whether it stacks, what was read.
_LAYERS: dict[str, tuple[bool, bool, bool, bool, str]] = {}


def cut(planned: Sequence[Sequence[Trial]], dataset: ReadDataset) -> list[Sequence[Trial]]:
    """The stacks in their order as they are handed out to workers, with every looped one as its single trials.

    Trials of a looped stack train one after another and know nothing of each other, so each is a unit of its own: all
    workers have work to the end, and whoever takes a lost or interrupted one up finds its checkpoint whatever else is
    left to do. A stack that trains as one tensor program stays whole; `trainer.max_stack` makes it smaller. So does a
    group of trials that share a stream, see `together`.
    """
    pieces: list[Sequence[Trial]] = []
    for stack in planned:
        data = dataset(stack[0])
        if len(stack) > 1 and not data.streams and lift_of(stack[0], data) == "looped":
            pieces += [[trial] for trial in stack]
        else:
            pieces.append(stack)
    return pieces

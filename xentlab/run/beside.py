"""Two stacks at a time in one process: side by side, each on half of torch's threads.

A small tensor program leaves a second core idle between its operations. On two cores, four stacks of 50 small MLPs
took 4.4 s side by side with one thread each, 5.2 s one after another with two. A second beside another stack counts for
half of one, so that the seconds of all trials are those that passed, and what a loss costs hangs on no neighbour.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from xentlab.data import Dataset
from xentlab.run.training import EpochCallback
from xentlab.threads import in_threads, take_share
from xentlab.train import Epoch, Trial, lift_of
from xentlab.train.memory import has_room
from xentlab.train.trial import COMPONENTS

PLACES = 2


def places(planned: Sequence[Sequence[Trial]], dataset: Callable[[Trial], Dataset]) -> int:
    """How many of these stacks may train at a time in this process.

    Two, where memory holds both and all are tensor programs of the lab's own parts on the CPU over resident data: they
    draw nothing from the generators that a process has but once, as a stranger's part might, and set nothing there.
    """
    if len(planned) < PLACES or torch.get_num_threads() < PLACES:
        return 1
    return PLACES if all(_keeps_to_itself(stack, dataset(stack[0])) for stack in planned) else 1


def _keeps_to_itself(stack: Sequence[Trial], dataset: Dataset) -> bool:
    first, trainer = stack[0], stack[0].trainer
    if first.device.type != "cpu" or dataset.streams or trainer.compile or trainer.deterministic:
        return False
    if not all(_of_the_lab(first.config[name]) for name in COMPONENTS):
        return False
    return lift_of(first, dataset) == "vectorised" and has_room(stack, dataset, PLACES)


def _of_the_lab(node: Any) -> bool:
    """Whether no part of a component is a stranger's, by what its config names."""
    if isinstance(node, Mapping):
        target = str(node.get("_target_", "xentlab."))
        return (
            target.startswith("xentlab.") and not target.startswith("xentlab.held.") and _of_the_lab([*node.values()])
        )
    return all(map(_of_the_lab, node)) if isinstance(node, list) else True


def side_by_side(work: Sequence[Callable[[EpochCallback], None]], on_epoch: EpochCallback) -> list[Exception | None]:
    """Do all work, several in a thread each; returns what each raised. An interruption is raised in all, at a batch.

    Args:
        work: takes what it is to call after each of its epochs.
        on_epoch: what is called then, by one thread at a time.
    """
    whole, left = torch.get_num_threads(), len(work)
    ends: list[BaseException | None] = [None] * left
    speaking = threading.Lock()

    def take_part() -> None:
        torch.set_num_threads(max(whole // left, 1))  # whoever trains last has all of them
        take_share(1 / left)

    def after_epoch(trials: Sequence[Trial], epoch: Epoch) -> None:
        take_part()
        with speaking:
            on_epoch(trials, epoch)

    def do(place: int) -> None:
        nonlocal left
        take_part()
        try:
            work[place](after_epoch)
        except BaseException as error:  # told to whoever asked for the work
            ends[place] = error
        with speaking:
            left -= 1

    interrupted = None
    try:
        if left == 1:
            do(0)
        else:
            interrupted = in_threads([functools.partial(do, place) for place in range(left)])
    finally:
        torch.set_num_threads(whole)
    for end in (*ends, interrupted):
        if end is not None and not isinstance(end, Exception):
            raise end
    return [end for end in ends if end is None or isinstance(end, Exception)]

"""Two stacks at a time in one process: side by side, each on half of torch's threads.

A small tensor program leaves a second core idle between its operations. On two cores, four stacks of 50 small MLPs
took 4.4 s side by side with one thread each, 5.2 s one after another with two. A second beside another stack counts for
half of one, so that the seconds of all trials are those that passed, and what a loss costs hangs on no neighbour.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from xentlab.data import Dataset
from xentlab.run.training import EpochCallback, heed_ends
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


def side_by_side(work: Iterable[Callable[[EpochCallback], None] | None], at_once: int, on_epoch: EpochCallback) -> None:
    """Do all work, several in a thread each; an interruption is raised in all of it, at its next batch.

    What one raises is raised here once those beside it have ended; no other begins.

    Args:
        work: taken one after another as there is a place, None where there is none yet; takes what it is to call after
            each of its epochs.
        on_epoch: what is called then, by one thread at a time.
    """
    whole, running, waiting = torch.get_num_threads(), 0, True
    ends: list[BaseException] = []
    speaking = threading.Lock()

    def take_part() -> None:
        parts = at_once if waiting else running  # whoever trains last has all
        torch.set_num_threads(max(whole // parts, 1))
        take_share(1 / parts)

    def after_epoch(trials: Sequence[Trial], epoch: Epoch) -> None:
        take_part()
        with speaking:
            on_epoch(trials, epoch)

    def do(one: Callable[[EpochCallback], None]) -> None:
        nonlocal running
        take_part()
        try:
            one(after_epoch)
        except BaseException as error:  # told to whoever asked for the work
            ends.append(error)
        with speaking:
            running -= 1

    def begun() -> Iterator[Callable[[], None] | None]:
        nonlocal running, waiting
        for one in work:
            if ends:
                break
            waiting = one is not None
            with speaking:
                running += waiting
            yield functools.partial(do, one) if one is not None else None
        waiting = False

    interruption = None
    try:
        if at_once == 1:
            for one in filter(None, begun()):
                one()
        else:
            interruption = in_threads(begun(), at_once)
    finally:
        torch.set_num_threads(whole)
    heed_ends(ends)
    for end in (*ends, interruption):
        if end is not None:
            raise end

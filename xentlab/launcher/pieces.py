"""How stacks are cut before they are handed out.

Trials of a looped stack train one after another and know nothing of each other, so each is a unit of its own: all
workers have work to the end, and whoever takes a lost or interrupted one up finds its checkpoint whatever else is left
to do. A stack that trains as one tensor program stays whole; `trainer.max_stack` makes it smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xentlab.data import Dataset
from xentlab.train import Trial, lift_of

ReadDataset = Callable[[Trial], Dataset]


def cut(planned: Sequence[Sequence[Trial]], dataset: ReadDataset) -> list[Sequence[Trial]]:
    """The stacks in their order, with every looped one as its single trials."""
    pieces: list[Sequence[Trial]] = []
    for stack in planned:
        if len(stack) > 1 and lift_of(stack, dataset(stack[0])) == "looped":
            pieces += [[trial] for trial in stack]
        else:
            pieces.append(stack)
    return pieces

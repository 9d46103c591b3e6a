"""Two stacks at a time in one process: side by side, each on half of torch's threads.

A small tensor program leaves a second core idle between its operations. On two cores, four stacks of 50 small MLPs
took 4.4 s side by side with one thread each, 5.2 s one after another with two.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence

import torch

from xentlab.data import Dataset
from xentlab.run.training import EpochCallback
from xentlab.train import Epoch, Trial, lift_of
from xentlab.train.trial import COMPONENTS

PLACES = 2


def places(planned: Sequence[Sequence[Trial]], dataset: Callable[[Trial], Dataset]) -> int:
    """How many of these stacks may train at a time in this process.

    Those of the lab's own parts, as tensor programs on the CPU over resident data, draw nothing from the generators
    and set nothing of what the process has but once. A stranger's part might.
    """
    if len(planned) < PLACES or torch.get_num_threads() < PLACES:
        return 1
    return PLACES if all(_alone_in_itself(stack[0], dataset(stack[0])) for stack in planned) else 1


def _alone_in_itself(trial: Trial, dataset: Dataset) -> bool:
    own = all(str(trial.config[name].get("_target_", "")).startswith("xentlab.") for name in COMPONENTS)
    plain = not (trial.trainer.compile or trial.trainer.deterministic or trial.loss.alone or dataset.streams)
    return own and plain and trial.device.type == "cpu" and lift_of(trial, dataset) == "vectorised"


def side_by_side(
    work: Sequence[Callable[[EpochCallback], None]], on_epoch: EpochCallback
) -> list[BaseException | None]:
    """Do all work, each in a thread; returns what each of it raised. An interruption is raised in all of it.

    Args:
        work: takes what it is to call after each of its epochs.
        on_epoch: what is called then, by one thread at a time.
    """
    if len(work) == 1:
        try:
            work[0](on_epoch)
        except Exception as error:
            return [error]
        return [None]
    threads_of_torch = torch.get_num_threads()
    ends: list[BaseException | None] = [None] * len(work)
    speaking = threading.Lock()
    left = len(work)

    def told(trials: Sequence[Trial], epoch: Epoch) -> None:
        torch.set_num_threads(max(1, threads_of_torch // left))
        with speaking:
            on_epoch(trials, epoch)

    def do(place: int) -> None:
        nonlocal left
        try:
            torch.set_num_threads(max(1, threads_of_torch // len(work)))
            work[place](told)
        except BaseException as error:  # told to whoever asked for the work
            ends[place] = error
        left -= 1

    threads = [threading.Thread(target=do, args=(place,), name="stack") for place in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            try:
                thread.join()
            except KeyboardInterrupt:
                _interrupt([t for t in threads if t.is_alive()])
    torch.set_num_threads(threads_of_torch)
    return ends


def _interrupt(threads: Sequence[threading.Thread]) -> None:
    """Raise KeyboardInterrupt in threads, at their next instruction."""
    for thread in threads:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt)
        )

"""Threads that take turns: exactly one runs at a time, always the one that is furthest behind.

So readers of one stream ask for the same batch one after another before any asks for the next, whatever else they do
in between, and one that goes on from a checkpoint waits until the others are there. `stage`, `wait` and `waited` speak
of the thread that calls them; one that takes no turns waits for nobody.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xentlab.threads import heed_interruption, in_threads

Clock = tuple[int, ...]


class Turns:
    """Work that is done side by side, in turns; what torch draws is each one's own, as if it ran alone.

    Args:
        work: each one in a thread of its own.
    """

    def __init__(self, work: Sequence[Callable[[], None]]) -> None:
        self._work = work
        self._change = threading.Condition()
        self._clocks: dict[int, Clock] = dict.fromkeys(range(len(work)), (0, 0))
        self._running: int | None = 0
        self._draws = [_draws()] * len(work)
        self.ends: list[BaseException | None] = [None] * len(work)

    def run(self) -> list[BaseException | None]:
        """Do all work; returns what each of it raised. An interruption is raised in all of it, at its next turn."""
        before = _draws()
        in_threads([functools.partial(self._do, number) for number in range(len(self._work))])
        _restore(before)
        return self.ends

    def wait(self, number: int, clock: Clock) -> None:
        """Go on once nobody is behind `clock`."""
        with self._change:
            self._clocks[number] = clock
            self._hand_on()
            if self._running != number:
                self._draws[number] = _draws()
                self._until_on(number)
        heed_interruption()

    def _do(self, number: int) -> None:
        _here.turns, _here.number, _here.stage, _here.waited = self, number, (0, 0), 0.0
        try:
            with self._change:
                self._until_on(number)
            self._work[number]()
        except BaseException as error:  # told to whoever asked for the work
            self.ends[number] = error
        with self._change:
            del self._clocks[number]
            self._hand_on()

    def _hand_on(self) -> None:
        self._running = min(self._clocks, key=lambda number: (self._clocks[number], number), default=None)
        self._change.notify_all()

    def _until_on(self, number: int) -> None:
        self._change.wait_for(lambda: self._running == number)
        _restore(self._draws[number])


_here = threading.local()


def stage(epoch: int | None) -> Clock:
    """Where this thread is now: in the training of an epoch, or (None) so many readings after it."""
    last, passes = getattr(_here, "stage", (0, 0))
    _here.stage = (last, passes + 1) if epoch is None else (epoch, 0)
    return _here.stage


def wait(clock: Clock) -> None:
    """Let all go first who are behind `clock`, those with lower numbers where they are level.

    Raises:
        KeyboardInterrupt: the user has interrupted all of them.
    """
    turns: Turns | None = getattr(_here, "turns", None)
    if turns is not None:
        began = time.perf_counter()
        turns.wait(_here.number, clock)
        _here.waited += time.perf_counter() - began


def waited() -> float:
    """Seconds that this thread has waited for its turns so far."""
    return float(getattr(_here, "waited", 0.0))


def _draws() -> list[Tensor]:
    """The states of torch's global generators, of the CPU and of every GPU that is in use."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *gpus]


def _restore(draws: Sequence[Tensor]) -> None:
    torch.set_rng_state(draws[0])
    if len(draws) > 1:
        torch.cuda.set_rng_state_all(list(draws[1:]))

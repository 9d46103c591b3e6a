"""Local processes: one for each GPU, or for each CPU core.

On a CPU, convolutions are faster in several processes of one thread than in one process of several threads. Workers
stay for the next run of the same command, so that torch is imported once in each. `pool` is one worker, `worker` its
other side.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Annotated, Any

from xentlab.data import Dataset
from xentlab.errors import UserError
from xentlab.run.executors.pool import Worker, end
from xentlab.run.order import Executor, Failure, Order
from xentlab.schema import Range
from xentlab.train import Trial
from xentlab.train.plan import cut

WATCH_S = 0.5  # between two looks at the workers' journals
SILENCE_S = 30.0  # a worker that says nothing for so long is lost; it beats every second
PATIENCE_S = 3.0  # what a worker gets to end in order


@dataclass(kw_only=True)
class Processes(Executor):
    """Trains orders in processes of this machine. Each field is a knob of `executor=processes`.

    An order whose worker dies, falls silent or passes `timeout` is run again from its last checkpoint by another
    worker, `retries` times. An order that raises has failed. A worker whose driver dies ends itself within about a
    second.

    Attributes:
        workers: how many, >= 1; None: one for each GPU where there are GPUs, else one for each CPU core.
        threads: of each worker, >= 1. Sums are split among threads: float32 results differ in their last bits between 1
            and 2 threads, float64 agree to 1e-9.
        timeout: seconds > 0 in which an order must end its next epoch, its start and its end included; None: no limit.
        retries: >= 0, how often an order whose worker was lost is run again.
    """

    workers: Annotated[int, Range(1, None)] | None = None
    threads: Annotated[int, Range(1, None)] = 1
    timeout: Annotated[float, Range(0, None, open_low=True)] | None = None
    retries: Annotated[int, Range(0, None)] = 2
    _crew: list[Worker] = field(default_factory=list, init=False, repr=False)

    def place(
        self,
        planned: Sequence[Sequence[Trial]],
        wanted: Sequence[Trial],  # noqa: ARG002
        dataset: Callable[[Trial], Dataset],
    ) -> Sequence[Sequence[Trial]] | None:
        """Every stack, the looped ones as single trials.

        Raises:
            UserError: a trial wants one GPU in particular, where each worker has one of its own.
        """
        for stack in planned:
            if stack[0].trainer.device.startswith("cuda:"):
                raise UserError(
                    f"trainer.device must be auto, cpu or cuda where each worker has a GPU of its own "
                    f"(executor=processes), got {stack[0].trainer.device}."
                )
        return cut(planned, dataset)

    def run(
        self, orders: Sequence[Order], watch: Callable[[], None]
    ) -> Generator[tuple[int, Failure | None], None, None]:
        """Train every order; see `xentlab.run.order.Executor`."""
        gpus = visible_gpus() if any(order.gpu for order in orders) else []
        self._dismiss([w for w in self._crew if (w.gpu is not None) != bool(gpus)])
        size = self.workers or len(gpus) or cores()
        waiting = deque((index, 0) for index in range(len(orders)))
        left, looked = len(orders), time.monotonic()
        try:
            while left:
                self._assign(waiting, orders, size, gpus)
                unsent = [w for w in self._crew if w.write()]
                wait([w.fileno() for w in self._crew], timeout=0.02 if unsent else WATCH_S / 2)
                ends = [e for w in list(self._crew) if (e := self._hear(w, orders, waiting)) is not None]
                if time.monotonic() - looked > WATCH_S:
                    watch()
                    looked = time.monotonic()
                for index, failure in ends:
                    left -= 1
                    yield index, failure
        finally:
            self._dismiss([w for w in self._crew if w.index is not None])

    def close(self) -> None:
        """End all workers."""
        self._dismiss(list(self._crew))

    def _assign(self, waiting: deque[tuple[int, int]], orders: Sequence[Order], size: int, gpus: Sequence[str]) -> None:
        """Give waiting orders to idle workers, and start workers while there are fewer than orders and places."""
        idle = [w for w in self._crew if w.index is None]
        while waiting and (idle or len(self._crew) < size):
            if idle:
                worker = idle.pop()
            else:
                gpu = min(gpus, key=[w.gpu for w in self._crew].count) if gpus else None
                worker = Worker(self.threads, gpu)
                self._crew.append(worker)
            index, attempt = waiting.popleft()
            worker.give(index, orders[index].to_json(), attempt)

    def _hear(
        self, worker: Worker, orders: Sequence[Order], waiting: deque[tuple[int, int]]
    ) -> tuple[int, Failure | None] | None:
        """Take in what a worker says; returns how its order ended, if it did."""
        messages = worker.read()
        answer = next((m for m in messages or () if "done" in m), None)
        index = worker.index
        if answer is not None and index is not None:
            worker.index = None
            return index, None if answer["done"] is None else Failure(**answer["done"])
        reason = self._lost(worker, gone=messages is None)
        if reason is None:
            return None
        self._crew.remove(worker)
        if index is None:
            return None
        if worker.attempt < self.retries:
            waiting.appendleft((index, worker.attempt + 1))
            return None
        return index, given_up(orders[index], worker.attempt + 1, reason)

    def _lost(self, worker: Worker, *, gone: bool) -> str | None:
        """Why a worker is no good any more, or None; it is ended then."""
        now = time.monotonic()
        reason: str | None = None
        if gone:
            reason = worker.ended()
        elif now - worker.heard > SILENCE_S:
            reason = f"silent for {SILENCE_S:g} s"
        elif self.timeout is not None and worker.index is not None and now - worker.moved > self.timeout:
            reason = f"without a new epoch for {self.timeout:g} s (executor.timeout)"
        if reason is not None:
            worker.kill()
        return reason

    def _dismiss(self, workers: Sequence[Worker]) -> None:
        self._crew = [w for w in self._crew if w not in workers]
        end(workers, PATIENCE_S)


def given_up(order: Order, attempts: int, reason: str) -> Failure:
    """An order whose workers were lost once too often."""
    times = "once" if attempts == 1 else f"{attempts} times"
    return Failure(f"The worker that trained {order.label} was lost {times}, at last {reason}.")


def cores() -> int:
    """How many CPU cores this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return count or 1


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    given: Any = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [g.strip() for g in given.split(",")][:count] if given else [str(i) for i in range(count)]

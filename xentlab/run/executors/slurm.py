"""Slurm: orders as jobs of job arrays through submitit, or the same by its local executor.

The command waits for its jobs; one that is lost (preempted, out of time, its node died) is submitted again and goes on
from its checkpoint. Jobs outlive a command that is killed by little: each watches a file that the command touches.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from xentlab.errors import UserError
from xentlab.run.executors import need
from xentlab.run.executors.processes import WATCH_S, given_up
from xentlab.run.executors.worker import importable, interrupt, task, work
from xentlab.run.order import Executor, Failure, Order
from xentlab.schema import Range

PATIENCE_S = {"slurm": 60.0, "local": 10.0}  # what cancelled jobs get to end in order
DRIVER_SILENCE_S = {"slurm": 60.0, "local": 5.0}  # after so long without a touch the command counts as gone
TOUCH_S = 1.0
ARRAY = 1000  # jobs of one array at most: Slurm's own default limit is 1001


@dataclass(kw_only=True)
class Slurm(Executor):
    """Trains orders as Slurm jobs. Each field is a knob of `executor=slurm`.

    An order whose job is lost is submitted again and goes on from its last checkpoint, `retries` times. The output
    directory must be on a file system that all nodes share; jobs and their logs lie in its folder `jobs`.

    Attributes:
        cluster: `slurm`, or `local` for processes of this machine.
        partition: where jobs are queued; None: the cluster's default.
        array_parallelism: >= 1, jobs that run at the same time.
        timeout_min: minutes >= 1 of one job.
        cpus: CPU cores of a job, >= 1, and its threads.
        gpus: GPUs of a job, >= 0; None: 1 where its device is a GPU, else 0.
        mem_gb: gigabytes of memory of a job, > 0.
        retries: >= 0, how often an order whose job was lost is submitted again.

    Raises:
        UserError: submitit is not installed, or this machine has no Slurm.
    """

    cluster: Literal["slurm", "local"] = "slurm"
    partition: str | None = None
    array_parallelism: Annotated[int, Range(1, None)] = 32
    timeout_min: Annotated[int, Range(1, None)] = 240
    cpus: Annotated[int, Range(1, None)] = 1
    gpus: Annotated[int, Range(0, None)] | None = None
    mem_gb: Annotated[float, Range(0, None, open_low=True)] = 4.0
    retries: Annotated[int, Range(0, None)] = 2

    def __post_init__(self) -> None:
        need("submitit", "slurm")
        if self.cluster == "slurm" and shutil.which("sbatch") is None:
            raise UserError(
                "executor.cluster=slurm needs Slurm's sbatch, which is not on the path here; "
                "executor.cluster=local runs the same on this machine."
            )

    def run(
        self, orders: Sequence[Order], watch: Callable[[], None]
    ) -> Generator[tuple[int, Failure | None], None, None]:
        """Train every order; see `xentlab.run.order.Executor`."""
        folder = Path(orders[0].root) / "jobs" / orders[0].driver
        folder.mkdir(parents=True, exist_ok=True)
        waiting = deque((index, 0) for index in range(len(orders)))
        running: dict[Any, tuple[int, int]] = {}
        # submitit's local executor starts everything at once; Slurm itself holds an array back.
        room = ARRAY if self.cluster == "slurm" else self.array_parallelism
        with _touched(folder / "driver") as touched:
            try:
                while waiting or running:
                    first = [waiting.popleft() for _ in range(min(len(waiting), room - len(running)))]
                    running |= zip(self._submit(folder, touched, orders, first), first, strict=True)
                    time.sleep(WATCH_S)
                    watch()
                    for job in [j for j in running if j.done()]:
                        index, attempt = running.pop(job)
                        failure, lost = _outcome(job, patient=self.cluster == "slurm")
                        if lost is not None and attempt < self.retries:
                            waiting.append((index, attempt + 1))
                        elif lost is not None:
                            yield index, given_up(orders[index], attempt + 1, lost)
                        else:
                            yield index, failure
            finally:
                self._cancel(list(running))

    def close(self) -> None:
        """Nothing is kept between runs."""

    def _submit(
        self, folder: Path, touched: Path, orders: Sequence[Order], first: Sequence[tuple[int, int]]
    ) -> list[Any]:
        """One array of jobs."""
        import submitit

        if not first:
            return []
        executor = submitit.AutoExecutor(folder=folder, cluster=self.cluster)
        gpus = self.gpus if self.gpus is not None else int(orders[first[0][0]].gpu)
        executor.update_parameters(
            name="xentlab", timeout_min=self.timeout_min, cpus_per_task=self.cpus, gpus_per_node=gpus,
            mem_gb=self.mem_gb, slurm_array_parallelism=self.array_parallelism,
        )  # fmt: skip
        if self.partition is not None:
            executor.update_parameters(slurm_partition=self.partition)
        silence = DRIVER_SILENCE_S[self.cluster]
        with importable(), executor.batch():
            return [
                executor.submit(job, task(orders[i].to_json(), again=n, threads=self.cpus), str(touched), silence)
                for i, n in first
            ]

    def _cancel(self, jobs: Sequence[Any]) -> None:
        """End jobs: by a signal that marks their trials, then by force."""
        for cancelled in jobs:
            cancelled.cancel(check=False)
        until = time.monotonic() + PATIENCE_S[self.cluster]
        while any(not j.done(force_check=False) for j in jobs) and time.monotonic() < until:
            time.sleep(WATCH_S / 2)


def job(message: Mapping[str, Any], touched: str, silence: float) -> dict[str, Any] | None:
    """What a job does: one order, interrupted in order when Slurm ends it or the command is gone; see `worker.work`."""
    # submitit ignores SIGTERM, which is how Slurm announces its end
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_guard, args=(Path(touched), silence), name="guard", daemon=True).start()
    return work(message)


def _guard(touched: Path, silence: float) -> None:
    """Interrupt this job once nobody touches the file any more; by this machine's own clock."""
    known, since = 0.0, time.monotonic()
    while time.monotonic() - since < silence:
        with contextlib.suppress(FileNotFoundError):
            stamp = os.stat(touched).st_mtime
            if stamp != known:
                known, since = stamp, time.monotonic()
        time.sleep(TOUCH_S)
    interrupt()
    time.sleep(TOUCH_S)
    os._exit(1)


@contextlib.contextmanager
def _touched(path: Path) -> Iterator[Path]:
    """A file that is touched as long as this lasts and this process lives."""
    over = threading.Event()

    def touch() -> None:
        while not over.is_set():
            path.touch()
            over.wait(TOUCH_S)

    path.touch()
    toucher = threading.Thread(target=touch, name="alive", daemon=True)
    toucher.start()
    try:
        yield path
    finally:
        over.set()
        toucher.join()


def _outcome(done: Any, *, patient: bool) -> tuple[Failure | None, str | None]:
    """How a job that is done ended: its failure if it has one, or in words how it was lost.

    `patient`: its result may take a while to be seen, on a file system that is shared.
    """
    from submitit.core.utils import FailedJobError, UncompletedJobError

    missing = f"in the state {done.state} (job {done.job_id})"
    if not patient and not done.paths.result_pickle.exists():
        return None, missing
    try:
        answer = done.result()
    except UncompletedJobError:
        return None, missing
    except FailedJobError as error:
        trace = str(error).strip().splitlines()
        if any("UncompletedJobError" in line for line in trace):
            return None, f"out of time or preempted (job {done.job_id})"
        said = next((line for line in reversed(trace) if ": " in line and not line.startswith((" ", "-", "You"))), "")
        return Failure(said or f"job {done.job_id} failed, see {done.paths.stderr}"), None
    return None if answer is None else Failure(**answer), None

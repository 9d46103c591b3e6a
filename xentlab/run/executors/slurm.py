"""Slurm: orders as jobs of job arrays through submitit, or the same by its local executor.

The command waits for its jobs; one that is lost (preempted, out of time, its node died) is submitted again and goes on
from its checkpoint. Jobs outlive a command that is killed by little: each watches a file that the command touches, and
touches one of its own.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from xentlab.errors import UserError
from xentlab.run.executors import need
from xentlab.run.executors.processes import WATCH_S, given_up
from xentlab.run.executors.worker import importable, interrupt, task, work
from xentlab.run.order import Executor, Failure, Order
from xentlab.run.training import say_aloud
from xentlab.schema import Range

PATIENCE_S = {"slurm": 60.0, "local": 10.0}  # what cancelled jobs get to end in order
DRIVER_SILENCE_S = {"slurm": 60.0, "local": 5.0}  # after so long without a touch the command counts as gone
TOUCH_S = 1.0
ASK_S = 10.0  # how often Slurm's queue is asked
SILENCE_S = 30.0  # a job that is in no queue, left no result and has given no sign of life for so long is lost
OVER = {  # the states of a job that is in no queue any more
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
}  # fmt: skip
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
        queue = Queue(folder)
        with _touched(folder / "driver") as touched:
            try:
                while waiting or running:
                    first = [waiting.popleft() for _ in range(min(len(waiting), room - len(running)))]
                    running |= zip(self._submit(folder, touched, orders, first), first, strict=True)
                    time.sleep(WATCH_S)
                    watch()
                    slurm = self.cluster == "slurm"
                    over = queue.over(running) if slurm else {j: None for j in running if j.done()}
                    for job, why in over.items():
                        index, attempt = running.pop(job)
                        failure, lost = _outcome(job) if why is None else (None, why)
                        if lost is None:
                            yield index, failure
                        elif attempt < self.retries:
                            waiting.append((index, attempt + 1))
                        else:
                            yield index, given_up(orders[index], attempt + 1, lost)
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
        where = {} if self.partition is None else {"slurm_partition": self.partition}
        executor.update_parameters(
            name="xentlab", timeout_min=self.timeout_min, cpus_per_task=self.cpus, gpus_per_node=gpus,
            mem_gb=self.mem_gb, slurm_array_parallelism=self.array_parallelism, **where,
        )  # fmt: skip
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
        while time.monotonic() < until and not all(map(self._ended, jobs)):
            time.sleep(WATCH_S if self.cluster == "slurm" else WATCH_S / 2)

    def _ended(self, job: Any) -> bool:
        if self.cluster == "local":
            return bool(job.done(force_check=False))
        return _has_result(job) or (states([job]) or {}).get(job.job_id) in (*OVER, None)


class Queue:
    """Which jobs are over, by their results, by Slurm's queue and by their own signs of life.

    Slurm's accounting (`sacct`, which submitit asks) is off on many small clusters, and then nobody hears of a job that
    was cancelled or lost its node.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._asked = folder, -ASK_S
        self._states: dict[str, str] | None = {}
        self._silent: dict[Any, tuple[float, float]] = {}  # job -> its last sign of life, and since when it is known

    def over(self, jobs: Collection[Any]) -> dict[Any, str | None]:
        """Those that are over: None where there is a result, else in words how the job was lost."""
        with contextlib.suppress(OSError):  # makes a shared file system look again
            self._folder.chmod(self._folder.stat().st_mode)
        found: dict[Any, str | None] = {job: None for job in jobs if _has_result(job)}
        now = time.monotonic()
        if now - self._asked >= ASK_S:
            self._asked, before = now, self._states
            self._states = states([job for job in jobs if job not in found])
            if self._states is None and before is not None:
                say_aloud("Slurm's squeue does not answer: the jobs' results are waited for, and it is asked again.")
        for job in [job for job in jobs if job not in found]:
            state = None if self._states is None else self._states.get(job.job_id, "in no queue")
            if state is None or (state not in OVER and state != "in no queue"):
                self._silent.pop(job, None)
                continue
            sign = 0.0
            with contextlib.suppress(FileNotFoundError):
                sign = _sign(self._folder, job.job_id).stat().st_mtime
            if self._silent.setdefault(job, (sign, now))[0] != sign:
                self._silent[job] = (sign, now)
            if now - self._silent[job][1] >= SILENCE_S:
                where = state if state == "in no queue" else f"in the state {state}"
                found[job] = f"{where} and without a result (job {job.job_id})"
        return found


def states(jobs: Sequence[Any]) -> dict[str, str] | None:
    """The state of each job that Slurm's queue still knows; None where it does not answer."""
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T", f"--user={getpass.getuser()}"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    known = {job.job_id for job in jobs}
    return {name: state for name, state in (line.split() for line in said.splitlines()) if name in known}


def _has_result(job: Any) -> bool:
    return bool(job.paths.result_pickle.exists())


def _sign(folder: Path, job_id: str) -> Path:
    return folder / f"alive-{job_id}"


def job(message: Mapping[str, Any], touched: str, silence: float) -> dict[str, Any] | None:
    """What a job does: one order, interrupted in order when Slurm ends it or the command is gone; see `worker.work`."""
    # submitit ignores SIGTERM, which is how Slurm announces its end
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # So submitit is told that the time is nearly over, and would end the process: training goes on until Slurm ends it.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    own = os.environ.get("SLURM_JOB_ID", "local")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        own = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    threading.Thread(target=_guard, args=(Path(touched), own, silence), name="guard", daemon=True).start()
    return work(message)


def _guard(touched: Path, own: str, silence: float) -> None:
    """Give signs of life, and interrupt this job once nobody touches the file any more; by this machine's own clock."""
    known, since = 0.0, time.monotonic()
    while time.monotonic() - since < silence:
        with contextlib.suppress(FileNotFoundError):
            stamp = os.stat(touched).st_mtime
            if stamp != known:
                known, since = stamp, time.monotonic()
        with contextlib.suppress(OSError):
            _sign(touched.parent, own).touch()
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


def _outcome(done: Any) -> tuple[Failure | None, str | None]:
    """How a job that is done ended: its failure if it has one, or in words how it was lost."""
    from submitit.core.utils import FailedJobError

    if not _has_result(done):
        return None, f"in the state {done.state} (job {done.job_id})"
    try:
        answer = done.result()
    except FailedJobError as error:
        trace = str(error).strip().splitlines()
        if any("UncompletedJobError" in line for line in trace):
            return None, f"out of time or preempted (job {done.job_id})"
        said = next((line for line in reversed(trace) if ": " in line and not line.startswith((" ", "-", "You"))), "")
        return Failure(said or f"job {done.job_id} failed, see {done.paths.stderr}"), None
    return None if answer is None else Failure(**answer), None

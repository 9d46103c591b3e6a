"""Ray: orders as tasks of an existing cluster, or of a local one.

A task is run once; what is lost with its worker or node is ordered again here, so that the next worker knows that it
takes up somebody's work. When the command dies, Ray ends its tasks.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from xentlab.errors import UserError
from xentlab.journal import new_id
from xentlab.run.executors import need
from xentlab.run.executors.processes import WATCH_S, given_up
from xentlab.run.executors.worker import sees, task, work
from xentlab.run.order import Executor, Failure, Order
from xentlab.schema import Range

PATIENCE_S = 5.0  # what a task gets to end in order
PROBE_S = 60.0  # what a node gets to say whether it sees the output directory


@dataclass(kw_only=True)
class RayCluster(Executor):
    """Trains orders as tasks of a Ray cluster. Each field is a knob of `executor=ray`.

    An order whose worker or node is lost is run again elsewhere from its last checkpoint, `retries` times. The output
    directory must be on a file system that all nodes share.

    Attributes:
        address: of the cluster's head as `ray.init` takes it (host:port, auto); None: a local cluster for this command.
        num_cpus: CPU cores of an order, >= 1, and its threads.
        num_gpus: GPUs of an order, >= 0; None: 1 where its device is a GPU, else 0.
        retries: >= 0, how often an order whose worker was lost is run again.

    Raises:
        UserError: Ray is not installed.
    """

    address: str | None = None
    num_cpus: Annotated[int, Range(1, None)] = 1
    num_gpus: Annotated[float, Range(0, None)] | None = None
    retries: Annotated[int, Range(0, None)] = 2
    _started_here: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        need("ray", "ray")

    def run(
        self, orders: Sequence[Order], watch: Callable[[], None]
    ) -> Generator[tuple[int, Failure | None], None, None]:
        """Train every order; see `xentlab.run.order.Executor`."""
        ray = self._connect()
        check_shared(ray, Path(orders[0].root))
        remote = ray.remote(work)
        running: dict[Any, tuple[int, int]] = {}

        def send(index: int, attempt: int) -> None:
            order = orders[index]
            gpus = self.num_gpus if self.num_gpus is not None else float(order.gpu)
            options = remote.options(num_cpus=self.num_cpus, num_gpus=gpus, max_retries=0)
            message = task(order.to_json(), again=attempt, threads=self.num_cpus)
            running[options.remote(message)] = (index, attempt)

        try:
            for index in range(len(orders)):
                send(index, 0)
            while running:
                done, _ = ray.wait(list(running), num_returns=len(running), timeout=WATCH_S)
                watch()
                for ref in done:
                    index, attempt = running.pop(ref)
                    failure, lost = _outcome(ray, ref)
                    if lost is None:
                        yield index, failure
                    elif attempt < self.retries:
                        send(index, attempt + 1)
                    else:
                        yield index, given_up(orders[index], attempt + 1, lost)
        finally:
            _cancel(ray, list(running))

    def close(self) -> None:
        """Leave the cluster; a local one ends."""
        if self._started_here:
            import ray

            ray.shutdown()
            self._started_here = False

    def _connect(self) -> Any:
        """Ray's module, connected; a connection that is already there is used and left."""
        if self.address is None and "ray" not in sys.modules:
            # A cluster without a token obeys whoever reaches its port; Ray makes one in ~/.ray where there is none.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        import ray

        if not ray.is_initialized():
            here = {"include_dashboard": False} if self.address is None else {}
            try:
                ray.init(address=self.address or "local", log_to_driver=False, configure_logging=False, **here)
            except (ConnectionError, RuntimeError, ValueError) as error:
                said = str(error).strip().splitlines()[0].rstrip(".")
                raise UserError(
                    f"executor.address must be that of a Ray cluster that answers, got {self.address}: {said}."
                ) from error
            self._started_here = True
        return ray


def check_shared(ray: Any, root: Path) -> None:
    """Ask every node that can run an order whether it sees the output directory.

    Raises:
        UserError: one does not.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = {n["NodeID"]: n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU")}
    if len(nodes) < 2 and any(n["Resources"].get("node:__internal_head__") for n in nodes.values()):
        return
    mark = root / f".seen-{new_id()}"
    mark.touch()
    try:
        probe = ray.remote(num_cpus=0, max_retries=1)(sees)
        asked = {
            name: probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(name, soft=False)).remote(str(mark))
            for name in nodes
        }
        for name, answer in asked.items():
            # a node that is lost meanwhile is no reason to stop
            with contextlib.suppress(ray.exceptions.RayError):
                if not ray.get(answer, timeout=PROBE_S):
                    raise UserError(
                        f"output.root must be on a file system that every node of the Ray cluster shares, but "
                        f"{nodes[name]['NodeManagerHostname']} does not see {root}."
                    )
    finally:
        mark.unlink()


def _outcome(ray: Any, ref: Any) -> tuple[Failure | None, str | None]:
    """How a task that is done ended: its failure if it has one, or in words how it was lost."""
    try:
        answer = ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        return Failure(f"{type(error.cause).__name__}: {error.cause}"), None
    except ray.exceptions.RayError as error:
        return None, type(error).__name__
    return None if answer is None else Failure(**answer), None


def _cancel(ray: Any, running: Sequence[Any]) -> None:
    """End tasks: interrupt them first, so that their trials are marked, then by force."""
    if not running:
        return
    for ref in running:
        ray.cancel(ref, force=False)
    _, left = ray.wait(list(running), num_returns=len(running), timeout=PATIENCE_S)
    for ref in left:
        ray.cancel(ref, force=True)

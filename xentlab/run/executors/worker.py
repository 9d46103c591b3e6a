"""What runs on the other side: a process that trains orders.

`python -m xentlab.run.executors.worker` is a worker of `processes`. It reads one order a line on stdin, `{"order",
"again"}` as JSON, and answers on stdout: `{"done": failure or null}` once per order, `{"epoch": n}` after each epoch,
`{"beat": n}` every second. Nothing else reaches that channel: what libraries print goes to stderr. When its stdin ends
or its parent is gone it interrupts itself, so that its trials are marked, and ends within about a second. `work` does
one order for Ray and Slurm; nothing slow is imported before it is called.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

BEAT_S = 1.0  # between two signs of life
LEAVE_S = 1.0  # from the interruption to the end by force
_leaving = threading.Lock()


class Channel:
    """The two ends of the conversation, out of the way of everything that prints or reads."""

    def __init__(self) -> None:
        self._out = os.dup(1)
        self.orders: IO[bytes] = os.fdopen(os.dup(0), "rb")
        os.dup2(2, 1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self._lock = threading.Lock()

    def say(self, **message: Any) -> None:
        """Send one line, whole.

        Raises:
            BrokenPipeError: nobody listens any more.
        """
        line = memoryview(json.dumps(message).encode() + b"\n")
        with self._lock:
            while line:
                line = line[os.write(self._out, line) :]


def main() -> int:
    """Train what is ordered until the orders end; returns an exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parent = os.getppid()
    channel = Channel()
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a user's own modules, after all others
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    try:
        # Both run while torch is imported: an import can take longer than a driver waits, or outlive it.
        threading.Thread(target=_listen, args=(channel, waiting), name="orders", daemon=True).start()
        threading.Thread(target=_beat, args=(channel, parent), name="heart", daemon=True).start()
        gc.disable()  # what is imported is no garbage: a tenth of the start
        _threads(int(os.environ["OMP_NUM_THREADS"]))
        importlib.import_module("xentlab.run.performing")
        gc.freeze()
        gc.enable()
        while True:
            message = json.loads(waiting.get())
            done = _train(message["order"], message["again"], lambda number: channel.say(epoch=number))
            channel.say(done=done)
    except (KeyboardInterrupt, BrokenPipeError):
        return 130


def _listen(channel: Channel, waiting: queue.SimpleQueue[bytes]) -> None:
    for line in channel.orders:
        waiting.put(line)
    _leave()


def _beat(channel: Channel, parent: int) -> None:
    number = 0
    # A forked child of the driver can hold the pipe open after the driver's death; the parent's id tells as well.
    while os.getppid() == parent:
        number += 1
        try:
            channel.say(beat=number)
        except BrokenPipeError:
            break
        time.sleep(BEAT_S)
    _leave()


def _leave() -> None:
    """Interrupt the main thread, once, and end the process if that does not."""
    if not _leaving.acquire(blocking=False):
        return
    interrupt()
    time.sleep(LEAVE_S)
    os._exit(1)


def interrupt() -> None:
    """Raise KeyboardInterrupt in the main thread, also where it waits."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _train(order: Mapping[str, Any], again: int, progress: Callable[[int], None]) -> dict[str, Any] | None:
    from xentlab.run.order import Order
    from xentlab.run.performing import perform

    failure = perform(Order.from_json(order), again=again, on_epoch=lambda trials, epoch: progress(epoch.number))  # noqa: ARG005
    return None if failure is None else asdict(failure)


def task(order: Mapping[str, Any], *, again: int, threads: int) -> dict[str, Any]:
    """An order as `work` takes it, with what a worker elsewhere must know of the command: where it runs and imports."""
    path = [os.path.abspath(p) for p in sys.path]
    return {"order": order, "again": again, "threads": threads, "folder": os.getcwd(), "path": path}


def path_of_child() -> str:
    """PYTHONPATH of a process that imports from where this one does; not from its directory, which comes last there.

    What PYTHONPATH names comes before the standard library: a user's `random.py` would take its place.
    """
    here, home = os.getcwd(), str(Path(__file__).parents[3])
    return os.pathsep.join(p for p in map(os.path.abspath, sys.path) if p != here or p == home)


@contextlib.contextmanager
def importable() -> Iterator[None]:
    """Processes that are started within it import from where this one does."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = path_of_child()
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def work(message: Mapping[str, Any], progress: Callable[[int], None] = lambda number: None) -> dict[str, Any] | None:  # noqa: ARG005
    """Train one order here; returns its failure as plain data, or None."""
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ["OMP_NUM_THREADS"] = str(message["threads"])
    if os.path.isdir(message["folder"]):  # relative paths of data mean the command's own directory
        os.chdir(message["folder"])
    sys.path += [p for p in message["path"] if p not in sys.path]
    _threads(message["threads"])
    return _train(message["order"], message["again"], progress)


def sees(path: str) -> bool:
    """Whether this machine sees a file."""
    return os.path.exists(path)


if __name__ == "__main__":
    sys.exit(main())

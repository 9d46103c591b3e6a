"""One worker process as its driver sees it: what it is given, what it says, how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from xentlab.run.executors.worker import path_of_child

COMMAND = (sys.executable, "-P", "-m", "xentlab.run.executors.worker")


class Worker:
    """A process that trains one order at a time.

    It has a session of its own, so that Ctrl-C reaches the driver alone, which then ends its workers in order.

    Attributes:
        index: of the order that it has, None where it is idle.
        attempt: how often that order was lost before.
        heard: when it last said anything; `moved`: when it last ended an epoch or got an order (`time.monotonic`).
    """

    def __init__(self, threads: int, gpu: str | None) -> None:
        """Start it.

        Args:
            threads: of its operations, >= 1.
            gpu: the one that it sees, as in CUDA_VISIBLE_DEVICES; None leaves that as it is.
        """
        env = {
            **os.environ,
            "PYTHONPATH": path_of_child(),
            "OMP_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        if gpu is not None:
            env["CUDA_VISIBLE_DEVICES"] = gpu
        self.gpu = gpu
        self._process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env=env, bufsize=0
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        os.set_blocking(self._in.fileno(), False)
        os.set_blocking(self._out.fileno(), False)
        self._outgoing, self._incoming = b"", b""
        self.index: int | None = None
        self.attempt = 0
        self.heard = self.moved = time.monotonic()

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        """What becomes readable when it has said something or is gone."""
        return self._out.fileno()

    def give(self, index: int, order: dict[str, Any], attempt: int) -> None:
        """Order one stack."""
        self.index, self.attempt = index, attempt
        self._outgoing += json.dumps({"order": order, "again": attempt}).encode() + b"\n"
        self.heard = self.moved = time.monotonic()
        self.write()

    def write(self) -> bool:
        """Send what the pipe takes of the order; returns whether some of it still waits."""
        # A worker that is gone is noticed where it is read.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while self._outgoing:
                self._outgoing = self._outgoing[os.write(self._in.fileno(), self._outgoing) :]
        return bool(self._outgoing)

    def read(self) -> list[dict[str, Any]] | None:
        """What it has said since, or None where it is gone."""
        gone = False
        with contextlib.suppress(BlockingIOError):
            while not gone:
                some = os.read(self._out.fileno(), 1 << 16)
                self._incoming += some
                gone = not some
        *lines, self._incoming = self._incoming.split(b"\n")
        if lines:
            self.heard = time.monotonic()
        messages: list[dict[str, Any]] = [json.loads(line) for line in lines]
        if any("epoch" in message for message in messages):
            self.moved = self.heard
        return None if gone and not messages else messages

    def ended(self) -> str:
        """How it ended, in words; the process is gone or is going."""
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "killed by SIGKILL, which is what happens where memory runs out"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    def kill(self) -> None:
        """End it by force, if it has not ended, with whatever it has started."""
        if self._process.poll() is None:  # once it is reaped its id may be another's
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        self._in.close()
        self._out.close()

    def hang_up(self) -> None:
        """Tell it that no order will come: it interrupts what it does and ends."""
        self._in.close()

    def wait(self, seconds: float) -> None:
        """Wait for its end at most so long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)


def end(workers: Sequence[Worker], patience: float) -> None:
    """End workers: in order first, so that their trials are marked, then by force; returns when all are gone."""
    try:
        for worker in workers:
            worker.hang_up()
        until = time.monotonic() + patience
        for worker in workers:
            worker.wait(max(0.0, until - time.monotonic()))
    finally:
        for worker in workers:
            worker.kill()

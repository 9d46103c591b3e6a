"""Commands in children of a process that has imported everything, to be killed and misled; servers that are none."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xentlab.cli import main as xentlab

LATE_S = 120.0
SERVERS = ("refuses", "hangs up", "a page", "an error", "garbage", "another's JSON")


@dataclass(frozen=True)
class Done:
    """How a command ended; its code is None where it was killed."""

    code: int | None
    out: str
    err: str


def call(folder: Path, *words: str, kill_after: float | None = None, clock: float = 0.0) -> Done:
    """Run a command in a child; kill it after so many seconds; let its wall clock be wrong by so many."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        arguments = (folder, words, clock, out.fileno(), err.fileno())
        child = multiprocessing.get_context("fork").Process(target=_be_the_command, args=arguments)
        child.start()
        child.join(LATE_S if kill_after is None else kill_after)
        ended = child.exitcode is not None
        if not ended:
            assert child.pid is not None
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has not come to be a group's head yet
                child.kill()
            child.join()
        for stream in (out, err):
            stream.seek(0)
        return Done(child.exitcode if ended else None, out.read(), err.read())


def _be_the_command(folder: Path, words: Sequence[str], clock: float, out: int, err: int) -> None:
    os.setsid()
    os.chdir(folder)
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    if clock:
        real, real_ns = time.time, time.time_ns
        time.time, time.time_ns = lambda: real() + clock, lambda: real_ns() + int(clock * 1e9)
    sys.exit(xentlab(list(words)))


@contextlib.contextmanager
def odd_server(how: str) -> Iterator[str]:
    """The address of a server on loopback that is none of MLflow's."""
    reply = {
        "a page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nhello"[:-1],
        "an error": b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        "garbage": bytes(range(256)),
        "another's JSON": b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{"a":1}',
    }.get(how, b"")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if how != "refuses":
            listener.listen(16)
            threading.Thread(target=_answer, args=(listener, reply), daemon=True).start()
        yield address


def _answer(listener: socket.socket, reply: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                if reply:
                    connection.recv(65536)
                    connection.sendall(reply)

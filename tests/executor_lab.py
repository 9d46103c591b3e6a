"""What the executors' tests share: small trials, sessions over a directory, numbers that no executor may change."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support import compose_train

from xentlab.journal import Records, TrialRecord
from xentlab.run.order import Executor
from xentlab.run.session import Session
from xentlab.train import Trial, prepare

EXACT = ("trainer.precision=float64", "dataset.train_fraction=0.2")
ENVIRONMENT: dict[str, Any] = {"host": "here", "git": {}}


def trial(*overrides: str, seed: int = 0) -> Trial:
    """A training of an MLP or whatever else is asked for, in float64, on a fifth of the digits."""
    return prepare(compose_train(*EXACT, *overrides) | {"seed": seed})


def batch(epochs: int = 3) -> list[Trial]:
    """A stack of MLPs of two losses, and convolutional models that are looped on a CPU."""
    common = (f"trainer.epochs={epochs}", "trainer.checkpoint_every=1")
    mlps = [trial(f"loss={loss}", "model.hidden=[8]", *common, seed=s) for loss in ("ce", "mse") for s in (0, 1)]
    return mlps + [trial("model=convnet", "model.widths=[4]", "model.hidden=0", *common, seed=s) for s in (0, 1)]


_OPENED: list[Session] = []


def opened(root: Path, executor: Executor | None = None) -> Session:
    """A session over a directory, open until `close_all`."""
    session = Session.open(root, ENVIRONMENT, "test", fresh=False, weights=True)
    session.executor = executor
    _OPENED.append(session)
    return session


def close_all() -> None:
    while _OPENED:
        _OPENED.pop().journal.close()


def numbers(record: TrialRecord) -> dict[str, Any]:
    """Everything that must not depend on where a trial was trained, by name."""
    found = {f"{k}@{e}": v for k, p in record.curves.items() if not k.startswith("speed/") for e, _, v in p}
    how = ("seconds", "stack", "lift", "reliability")
    return found | {k: v for k, v in record.outcome.to_json().items() if k not in how}


def assert_same(found: Sequence[TrialRecord], wanted: Sequence[TrialRecord]) -> None:
    """Equal numbers: float64 at 1e-9, everything else exactly."""
    assert len(found) == len(wanted) > 0
    for one, other in zip(found, wanted, strict=True):
        assert one.status == other.status == "finished"
        left, right = numbers(one), numbers(other)
        assert left.keys() == right.keys()
        assert len(left) > 20
        for key, value in left.items():
            same = value == right[key] or math.isclose(value, right[key], rel_tol=1e-9, abs_tol=1e-12)
            assert same, (one.label, key, value, right[key])


def records(root: Path) -> Records:
    found = Records(root)
    found.update()
    found.mark_killed()
    return found


_STARTED: list[subprocess.Popen[str]] = []


def start(here: Path, *arguments: str, threads: int = 1) -> subprocess.Popen[str]:
    """The command line in a session of its own, and as from a terminal: a shell's background jobs ignore Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "xentlab", *arguments],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "OMP_NUM_THREADS": f"{threads}", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    _STARTED.append(process)
    return process


def end_started() -> None:
    """End what a failed test left running: the next tests would be told of it."""
    while _STARTED:
        with _STARTED.pop() as process:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    return out


def until(what: Callable[[], bool], process: subprocess.Popen[str] | None = None, seconds: float = 120) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + seconds
    while not what():
        assert process is None or process.poll() is None, "it ended before"
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def worker_pids(root: Path) -> list[int]:
    """The processes that have written a worker's segment."""
    sessions = records(root).sessions.values()
    return [s.pid for s in sessions if s.command == "worker"]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="tells living processes by /proc")

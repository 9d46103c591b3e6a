"""Slurm through submitit, by its local executor: jobs that end, are killed, and raise."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from executor_lab import alive, assert_same, close_all, kill, needs_proc, opened, records, trial, until, worker_pids

from xentlab.errors import UserError
from xentlab.run.executors.slurm import Slurm
from xentlab.train import Trial

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'xentlab[slurm]'")
pytestmark = [
    needs_proc,
    pytest.mark.slow,
    # submitit leaves it to Popen to notice that a controller has ended
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_all()


def trials() -> list[Trial]:
    common = ("trainer.epochs=60", "trainer.checkpoint_every=4", "dataset.train_fraction=0.5", "model.hidden=[16]")
    return [trial(*common, seed=seed) for seed in (0, 1)]


def test_a_job_that_is_killed_is_submitted_again_and_nothing_differs(tmp_path: Path) -> None:
    wanted = opened(tmp_path / "here").run(trials())
    root = tmp_path / "there"
    session = opened(root, Slurm(cluster="local", array_parallelism=2))
    killed: list[int] = []

    def kill_once(_: Any, epoch: Any) -> None:
        running = [pid for pid in worker_pids(root) if alive(pid)]
        if epoch.number >= 5 and running and not killed:
            killed.append(running[0])
            kill(running[0])

    found = session.run(trials(), on_epoch=kill_once)
    assert killed
    assert_same(found, wanted)
    assert len(records(root).trials) == 2
    assert not any(alive(pid) for pid in worker_pids(root))


DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from executor_lab import opened, trial
from xentlab.run.executors.slurm import Slurm
opened(Path(sys.argv[1]), Slurm(cluster="local")).run([trial("trainer.epochs=100000")])
"""


def test_jobs_of_a_command_that_was_killed_end_and_mark_their_trials(tmp_path: Path) -> None:
    path = os.pathsep.join(p for p in sys.path if p)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path), str(Path(__file__).parent)],
        env={**os.environ, "PYTHONPATH": path},
        text=True,
    )
    until(lambda: any(t.epochs > 3 for t in records(tmp_path).trials.values()), driver)
    kill(driver.pid)
    driver.wait()
    began = time.monotonic()
    until(lambda: not any(alive(pid) for pid in worker_pids(tmp_path)), seconds=20)
    assert time.monotonic() - began > 1
    (found,) = records(tmp_path).trials.values()
    assert (found.status, found.reason) == ("interrupted", "interrupted by the user")


def test_a_machine_without_slurm_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"executor\.cluster=local runs the same on this machine\.$"):
        Slurm()

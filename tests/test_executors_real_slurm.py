"""A real Slurm of one node, without accounting: jobs that end, are cancelled, requeued, held up, and left alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from executor_lab import alive, assert_same, close_all, kill, opened, records, start, trial, until, worker_pids
from one_node_slurm import lacking, one_node_slurm

from xentlab.run.executors import slurm
from xentlab.run.executors.slurm import Slurm
from xentlab.train import Trial

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'xentlab[slurm]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
]


@pytest.fixture(scope="module")
def node() -> Iterator[Path]:
    with one_node_slurm() as folder:
        yield folder


@pytest.fixture(autouse=True)
def soon(node: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # noqa: ARG001
    monkeypatch.setattr(slurm, "ASK_S", 1.0)
    monkeypatch.setattr(slurm, "SILENCE_S", 4.0)
    yield
    close_all()


def trials(epochs: int = 600) -> list[Trial]:
    return [
        trial(f"trainer.epochs={epochs}", "trainer.checkpoint_every=4", "model.hidden=[16]", seed=s) for s in (0, 1)
    ]


def scontrol(*words: str) -> None:
    subprocess.run(["scontrol", *words], check=True, capture_output=True)


def queue() -> list[str]:
    said = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T"], check=True, capture_output=True, text=True).stdout
    return [line.split()[0] for line in said.splitlines() if line.split()[1] == "RUNNING"]


def disturbed(tmp_path: Path, disturb: Callable[[str], None]) -> list[Any]:
    """Two trainings as jobs of which one is disturbed once, after a few epochs."""
    done: list[str] = []

    def once(_: Any, epoch: Any) -> None:
        if epoch.number >= 5 and not done and queue():
            done.append(queue()[0])
            disturb(done[0])

    session = opened(tmp_path / "there", Slurm(array_parallelism=2))
    found = session.run(trials(), on_epoch=once)
    assert done
    return found


DISTURBED: dict[str, Callable[[str], None]] = {
    "left alone": lambda job: None,  # noqa: ARG005
    "cancelled": lambda job: subprocess.run(["scancel", job], check=True) and None,
    "killed": lambda job: subprocess.run(["scancel", "--signal=KILL", "--full", job], check=True) and None,
    "requeued": lambda job: scontrol("requeue", job),
}


@pytest.mark.parametrize("how", list(DISTURBED))
def test_a_disturbed_job_goes_on_and_nothing_differs(
    tmp_path: Path, how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = opened(tmp_path / "here").run(trials())
    assert_same(disturbed(tmp_path, DISTURBED[how]), wanted)
    assert len(records(tmp_path / "there").trials) == 2
    assert "sacct" not in capfd.readouterr().err


def test_jobs_that_hang_until_slurm_ends_them_at_their_time_limit_go_on(tmp_path: Path) -> None:
    wanted = opened(tmp_path / "here").run(trials())

    def stopped(pids: list[int]) -> None:
        with contextlib.suppress(ProcessLookupError):
            while any(map(alive, pids)):  # Slurm lets a job go on for submitit's signal, 90 s before the limit
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
                time.sleep(0.05)

    def hang(_: str) -> None:
        threading.Thread(target=stopped, args=(worker_pids(tmp_path / "there"),), daemon=True).start()
        for job in queue():
            scontrol("update", f"jobid={job}", "timelimit=1")

    began = time.monotonic()
    assert_same(disturbed(tmp_path, hang), wanted)
    assert time.monotonic() - began > 45
    assert len(records(tmp_path / "there").trials) == 2


def test_a_node_that_is_drained_and_comes_back_holds_jobs_up(tmp_path: Path, node: Path) -> None:
    name = next(line for line in (node / "slurm.conf").read_text().splitlines() if line.startswith("NodeName="))
    host = name.partition("=")[2].split()[0]
    scontrol("update", f"nodename={host}", "state=drain", "reason=test")
    polls = 0

    def back() -> None:
        nonlocal polls
        polls += 1
        if polls == 40:
            scontrol("update", f"nodename={host}", "state=resume")

    executor = Slurm(array_parallelism=2)
    run = executor.run
    executor.run = lambda orders, watch: run(orders, lambda: (watch(), back())[0])  # type: ignore[method-assign]
    found = opened(tmp_path, executor).run(trials(5))
    assert [one.status for one in found] == ["finished"] * 2
    assert polls >= 40


def test_jobs_of_a_driver_that_was_killed_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(slurm.DRIVER_SILENCE_S, "slurm", 5.0)
    small = ("trainer.epochs=100000", "tracking=off", "dataset.train_fraction=0.2", "executor=slurm")
    driver = start(tmp_path, "train", *small)
    root = tmp_path / "xentlab-runs"
    until(lambda: any(t.epochs > 3 for t in records(root).trials.values()), driver)
    kill(driver.pid)
    driver.communicate()
    until(lambda: not queue() and not any(alive(pid) for pid in worker_pids(root)), seconds=100)
    (found,) = records(root).trials.values()
    assert (found.status, found.reason) == ("interrupted", "interrupted by the user")

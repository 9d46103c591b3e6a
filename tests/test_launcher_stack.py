"""The launcher `stack`: promises are kept together, after the last job was called, and where each was called."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus
from launcher_lab import Work, ends, launch
from omegaconf import DictConfig

from xentlab.config.promise import Promise, settled, waiting

pytestmark = pytest.mark.usefixtures("registered")


def test_a_promise_needs_no_hydra() -> None:
    code = (
        "import sys, xentlab.config.promise\nprint(*[m for m in ('hydra', 'omegaconf', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_jobs_that_wait_are_run_together_after_the_last_was_called(tmp_path: Path) -> None:
    work, called = Work(), []

    def task(config: DictConfig) -> Promise:
        called.append(config.a)
        assert not work.runs
        return work.promise(config.a)

    returns = launch(task, tmp_path)
    assert called == [0, 1, 2, 3]
    assert work.runs == [[0, 1, 2, 3]]
    assert ends(returns) == [0, 1, 4, 9]
    assert [r.overrides for r in returns] == [[f"+a={a}"] for a in range(4)]


def test_plain_results_and_promises_keep_the_order_of_the_jobs(tmp_path: Path) -> None:
    work = Work()
    returns = launch(lambda c: work.promise(c.a) if c.a % 2 else -c.a, tmp_path)
    assert ends(returns) == [0, 1, -2, 9]


def test_a_job_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    work = Work(refused=(1,))

    def task(config: DictConfig) -> Promise:
        if config.a == 2:
            raise ValueError("2 cannot begin")
        return work.promise(config.a)

    returns = launch(task, tmp_path)
    assert ends(returns) == [0, "FAILED: 1 is refused", "FAILED: 2 cannot begin", 9]
    assert [r.overrides for r in returns if r.status is JobStatus.FAILED] == [["+a=1"], ["+a=2"]]


def test_a_batch_that_fails_fails_its_own_jobs_only(tmp_path: Path) -> None:
    odd, even = Work(broken=True), Work()
    returns = launch(lambda c: (odd if c.a % 2 else even).promise(c.a), tmp_path)
    assert ends(returns) == [0, "FAILED: out of order", 4, "FAILED: out of order"]
    assert (odd.runs, even.runs) == ([[1, 3]], [[0, 2]])


def test_an_interrupt_ends_the_launch(tmp_path: Path) -> None:
    class StoppedError:
        def run(self) -> None:
            raise KeyboardInterrupt

    here, outside = Path.cwd(), HydraConfig.instance().cfg
    with pytest.raises(KeyboardInterrupt):
        launch(lambda _: Promise(lambda: 0, StoppedError()), tmp_path)
    assert settled(Promise(lambda: 7, Work())) == 7, "no launcher collects promises any more"
    assert Path.cwd() == here
    assert HydraConfig.instance().cfg is outside


def test_a_promise_is_resolved_where_its_job_was_called(tmp_path: Path) -> None:
    here, outside, work = Path.cwd(), HydraConfig.instance().cfg, Work()

    def place() -> tuple[Any, ...]:
        job = HydraConfig.get()
        return Path.cwd().name, job.job.num, job.runtime.output_dir, list(job.overrides.task), os.environ["XENTLAB_A"]

    def task(_: DictConfig) -> Promise:
        before = place()
        return Promise(lambda: (before, place()), work)

    returns = launch(task, tmp_path, "+hydra.job.env_set.XENTLAB_A=${hydra.job.num}")
    wanted = [(str(a), a, str(tmp_path / str(a)), [f"+a={a}"], str(a)) for a in range(4)]
    assert ends(returns) == [(w, w) for w in wanted]
    assert "XENTLAB_A" not in os.environ
    assert Path.cwd() == here
    assert HydraConfig.instance().cfg is outside


def test_callbacks_and_logs_hear_of_the_end_with_the_result(tmp_path: Path) -> None:
    work = Work(refused=(1,))
    launch(
        lambda c: work.promise(c.a),
        tmp_path,
        "+hydra.callbacks.kept._target_=hydra.experimental.callbacks.PickleJobInfoCallback",
        "+hydra.callbacks.said._target_=hydra.experimental.callbacks.LogJobReturnCallback",
    )
    kept = [pickle.loads((tmp_path / str(a) / ".hydra" / "job_return.pickle").read_bytes()) for a in range(4)]
    assert ends(kept) == [0, "FAILED: 1 is refused", 4, 9]
    logs = [(tmp_path / str(a) / "a_module.log").read_text() for a in range(4)]
    assert "ValueError: 1 is refused" in logs[1]
    assert all(f"Succeeded with return value: {a**2}\n" in logs[a] for a in (0, 2, 3))
    assert all(log.count("LogJobReturnCallback") == 1 for log in logs)


def test_without_a_launcher_that_waits_a_promise_is_kept_at_once() -> None:
    work = Work(refused=(3,))
    assert settled("a plain result") == "a plain result"
    assert settled(work.promise(2)) == 4
    with pytest.raises(ValueError, match="3 is refused"):
        settled(work.promise(3))
    with waiting():
        promise = work.promise(4)
        assert settled(promise) is promise
    assert work.runs == [[2], [3]]

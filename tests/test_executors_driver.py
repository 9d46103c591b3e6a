"""A comparison on worker processes whose driver is killed, then interrupted: nothing stays, is lost, or is doubled."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from executor_lab import alive, assert_same, kill, needs_proc, records, start, until, worker_pids

pytestmark = [needs_proc, pytest.mark.slow]

COMPARISON = (
    "compare", "trainer.epochs=25", "trainer.precision=float64", "trainer.lift=looped", "trainer.checkpoint_every=3",
    "model.hidden=[16]",
    "comparison.losses=[ce,mse]",
    "comparison.replicate=point", "comparison.tuning_seeds=2", "comparison.tune.optimizer.lr=[0.1,0.3]",
    "comparison.final_seeds=4", "comparison.extensions=1", "tracking=off",
)  # fmt: skip


def verdicts(root: Path) -> list[list[str]]:
    """What the newest comparison found, in words."""
    folder = max((root / "comparisons").iterdir())
    record = json.loads((folder / "verdicts.json").read_text())
    return [[metric["key"], row["loss"], row["verdict"]] for metric in record["metrics"] for row in metric["rows"]]


def assert_same_comparison(root: Path, whole: Path) -> None:
    """A comparison that was disturbed has the trials and verdicts of the undisturbed one: none lost, none twice."""
    assert verdicts(root) == verdicts(whole)
    wanted = {t.signature: t for t in records(whole).trials.values()}
    found = records(root).trials.values()
    assert sorted(t.signature for t in found) == sorted(wanted)
    assert_same(list(found), [wanted[t.signature] for t in found])


def test_a_driver_killed_and_interrupted_ends_with_the_same_table(
    run: Callable[..., tuple[int, str, str]], here: Path
) -> None:
    code, _, err = run(*COMPARISON, "executor=inline", "output.root=whole")
    assert (code, err) == (0, "")
    broken = here / "xentlab-runs"
    processes = (*COMPARISON, "executor=processes", "executor.workers=1")

    def trained() -> int:
        return sum(t.epochs for t in records(broken).trials.values())

    driver = start(here, *processes)
    until(lambda: trained() > 20, driver)
    kill(driver.pid)
    driver.communicate()
    pids = worker_pids(broken)
    assert pids
    until(lambda: not any(alive(pid) for pid in pids), seconds=5)
    assert not [t for t in records(broken).trials.values() if t.status == "running"]

    before = trained()
    driver = start(here, *processes)
    until(lambda: trained() > before, driver)
    os.kill(driver.pid, signal.SIGINT)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert err.strip().splitlines()[-1] == "xentlab: interrupted; the same command goes on from the last checkpoint."
    assert not any(alive(pid) for pid in worker_pids(broken))
    stopped = records(broken).trials.values()  # between two trials none is interrupted
    assert not [t for t in stopped if t.status == "running"]
    assert sum(t.epochs for t in stopped) < sum(t.epochs for t in records(here / "whole").trials.values())

    code, _, err = run(*processes)
    assert (code, err) == (0, "")
    assert_same_comparison(broken, here / "whole")
    assert not any(alive(pid) for pid in worker_pids(broken))

"""The same trials wanted by two commands at once: each is trained by one of them, and the other one says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from executor_lab import alive, finish, kill, needs_proc, records, start, until

from xentlab.journal import Records
from xentlab.run import sharing
from xentlab.run.sharing import Claims

TRAINING = ("train", "trainer.epochs=400", "trainer.checkpoint_every=50", "model.hidden=[16]", "tracking=off")
COMPARISON = (
    "compare", "trainer.epochs=40", "model.hidden=[8]", "trainer.max_stack=2", "comparison.losses=[ce,mse]",
    "comparison.replicate=point", "comparison.tuning_seeds=2", "comparison.tune.optimizer.lr=[0.1,0.3]",
    "comparison.final_seeds=6", "comparison.extensions=0", "tracking=off", "executor=inline",
)  # fmt: skip


def begun(here: Path) -> bool:
    return any(t.epochs for t in records(here / "xentlab-runs").trials.values())


def wait_for(first: subprocess.Popen[str], here: Path, *command: str) -> subprocess.Popen[str]:
    """The command a second time, once it has said that it waits for the first, which stands still until then."""
    until(lambda: begun(here), first)
    os.kill(first.pid, signal.SIGSTOP)
    second = start(here, *command)
    assert second.stderr is not None
    said = second.stderr.readline()
    assert f"in training by another command (pid {first.pid} on {os.uname().nodename}): this one waits" in said
    return second


def times_trained(root: Path) -> dict[str, int]:
    """How often an end was written for each signature."""
    found = records(root)
    lines = [json.loads(line) for path in (root / "journal").glob("*.jsonl") for line in path.read_text().splitlines()]
    ends = [found.trials[line["trial"]].signature for line in lines if line["event"] == "end"]
    return {key: ends.count(key) for key in ends}


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("command", [TRAINING, COMPARISON], ids=["training", "comparison"])
def test_the_same_command_twice_at_once_trains_everything_once(tmp_path: Path, command: tuple[str, ...]) -> None:
    first = start(tmp_path, *command)
    second = wait_for(first, tmp_path, *command)
    os.kill(first.pid, signal.SIGCONT)
    finish(first)
    finish(second)
    root = tmp_path / "xentlab-runs"
    times = times_trained(root)
    assert set(times.values()) == {1}
    assert len(times) == len(records(root).trials) == (1 if command is TRAINING else 20)
    assert not (root / "claims").exists()


@needs_proc
@pytest.mark.slow
def test_a_claim_ends_with_the_command_that_is_killed(tmp_path: Path) -> None:
    first = start(tmp_path, *TRAINING)
    second = wait_for(first, tmp_path, *TRAINING)
    kill(first.pid)
    first.communicate()
    finish(second)
    (trial,) = records(tmp_path / "xentlab-runs").trials.values()
    assert trial.status == "finished"
    assert [e for e, _, _ in trial.curves["val/error"]] == list(range(1, 401))


@pytest.mark.slow
@needs_proc
def test_a_command_that_hangs_loses_its_claim_by_the_watchers_own_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "SILENCE_S", 5.0)
    first = start(tmp_path, *TRAINING)
    root = tmp_path / "xentlab-runs"
    until(lambda: begun(tmp_path), first)
    (key,) = {t.signature for t in records(root).trials.values()}
    said: list[str] = []
    ours = Claims(root, "ab" * 6, Records(root), said.append)
    holder = ours.take([[key]])[1][key]
    assert holder.pid == first.pid
    try:
        os.kill(first.pid, signal.SIGSTOP)
        os.utime(next((root / "claims").glob("*.json")), (2**33, 2**33))  # its clock is a century ahead
        until(lambda: ours.take([[key]])[0] == [0], seconds=20)
        assert said == [f"The command that trains the same ({holder}) is silent for 5 s: its trials are free."]
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert alive(first.pid)
    finish(first)  # it goes on, and what it says counts
    ours.release([key])
    assert not (root / "claims").exists()


def test_a_claim_of_another_host_stands_until_it_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Claims(tmp_path, "ab" * 6, Records(tmp_path), print)
    (tmp_path / "claims").mkdir()
    theirs = tmp_path / "claims" / f"{'cd' * 6}.json"
    theirs.write_text(json.dumps({"host": "elsewhere", "pid": 1, "signatures": ["a", "b"]}))
    free, held = ours.take([["a", "x"], ["y"], ["z"]], most=1)
    assert free == [1]
    assert list(held) == ["a"]
    assert str(held["a"]) == "pid 1 on elsewhere"
    with monkeypatch.context() as patch:
        patch.setattr(sharing, "SILENCE_S", 0.0)
        assert ours.take([["a", "x"], ["z"]])[0] == [0, 1]
    assert not theirs.exists()
    theirs.write_text('{"host": "elsew')  # torn by a kill
    assert Claims(tmp_path, "ef" * 6, Records(tmp_path), print).take([["q"], ["a"]])[0] == [0]
    ours.release(["a", "x", "y", "z"])


def test_a_refused_command_leaves_no_folder(tmp_path: Path) -> None:
    ours = Claims(tmp_path / "new", "ab" * 6, Records(tmp_path / "new"), print)
    assert ours.take([["a"]])[0] == [0]
    ours.release(["a"])
    assert not (tmp_path / "new").exists()

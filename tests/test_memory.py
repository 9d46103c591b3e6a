"""Stacks and memory: what a stack takes is known before, what does not fit is cut, and running out is no crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import compose_train

from xentlab.journal import Records
from xentlab.train import Fit, Trial, prepare
from xentlab.train.memory import Footprint, footprint, free_bytes, is_out_of_memory

SMALL = ("dataset.train_fraction=0.2", "trainer.epochs=2", "trainer.batch_size=16")


def trials(count: int, *overrides: str) -> list[Trial]:
    return [prepare(compose_train(*SMALL, *overrides, f"seed={seed}")) for seed in range(count)]


def test_a_footprint_counts_state_and_the_tensors_of_a_step() -> None:
    (trial,) = trials(1, "model.hidden=[512]")
    dataset = trial.dataset()
    found = footprint(trial, dataset, looped=False)
    numbers = 64 * 512 + 512 + 512 * 10 + 10
    assert found.fixed == dataset.inputs.nbytes + dataset.targets.nbytes
    assert 6 * 4 * numbers < found.per_trial < 12 * 4 * numbers
    wide = footprint(trials(1, "model.hidden=[512]", "trainer.batch_size=128")[0], dataset, looped=False)
    assert found.per_trial < wide.per_trial
    (_, alike) = trials(2, "model.hidden=[512]", "optimizer.lr=0.01")
    assert footprint(alike, dataset, looped=False) is found  # a structure is measured once
    looped = footprint(trial, dataset, looped=True)
    assert looped.stack(1) == found.stack(1)
    assert looped.stack(8) < found.stack(8)


def test_what_fits_is_as_many_trials_as_the_limit_holds_but_at_least_one() -> None:
    print_ = Footprint(fixed=100, per_trial=10)
    assert [print_.fits(limit) for limit in (90, 110, 129, 130)] == [1, 1, 2, 3]
    assert print_.stack(3) == 130


def test_free_memory_is_known_here() -> None:
    assert free_bytes(torch.device("cpu")) > 2**20


def test_out_of_memory_is_told_from_other_errors() -> None:
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes differ"))


COMMAND = """
import re, resource, sys
from xentlab.cli import main
room = int(sys.argv[1])
if room:
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
code = main(sys.argv[2:])
print(re.search(r"VmPeak:\\s*(\\d+)", open("/proc/self/status").read())[1] if sys.platform == "linux" else 0)
sys.exit(code)
"""


def run(tmp_path: Path, *arguments: str, room: int = 0) -> subprocess.CompletedProcess[str]:
    """A command that prints last how much address space it took in KiB; with `room`, it may take so many bytes."""
    command = [sys.executable, "-c", COMMAND, str(room), *arguments, f"output.root={tmp_path / 'out'}", "tracking=off"]
    arenas = {**os.environ, "MALLOC_ARENA_MAX": "2"}  # else each thread reserves its own
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, env=arenas)


SWEEP = ("train", "-m", "seed=range(6)", *SMALL)


@pytest.mark.slow
def test_a_stack_beyond_the_limit_is_split_finished_and_said(tmp_path: Path) -> None:
    done = run(tmp_path, *SWEEP, "trainer.memory=1")
    assert done.returncode == 0, done.stderr
    assert "train in stacks of" in done.stderr
    assert "1.0 MB are allowed" in done.stderr
    records = Records(tmp_path / "out")
    records.update()
    assert [t.status for t in records.trials.values()] == ["finished"] * 6
    assert {t.outcome.stack for t in records.trials.values()} < {1, 2, 3, 4, 5}
    whole = Fit(trials(6), trials(1)[0].dataset())
    list(whole.epochs())
    errors = sorted(end.test["nll"] for end in whole.finish())
    found = sorted(t.outcome.test["nll"] for t in records.trials.values())
    assert found == pytest.approx(errors, rel=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address space is limited on Linux only")
def test_running_out_of_memory_halves_the_stack_and_goes_on(tmp_path: Path) -> None:
    wide = ("model.hidden=[3000,3000]", "trainer.memory=100000", "dataset.train_fraction=0.03", "output.weights=false")
    peaks = {}
    for count in (3, 6):
        root = tmp_path / f"{count} alone"
        root.mkdir()
        done = run(root, "train", "-m", f"seed=range({count})", *SMALL, *wide)
        assert done.returncode == 0, done.stderr
        peaks[count] = int(done.stdout.split()[-1]) * 1024
    done = run(tmp_path, *SWEEP, *wide, room=(peaks[3] + peaks[6]) // 2)
    assert "A stack of 6 trials needs more memory than there is: going on with stacks of 3." in done.stderr
    assert done.returncode == 0, done.stderr
    records = Records(tmp_path / "out")
    records.update()
    finished = [t for t in records.trials.values() if t.status == "finished"]
    assert len({t.tags["seed"] for t in finished}) == 6

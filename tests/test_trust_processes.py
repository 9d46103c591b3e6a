"""What a command meets on a real machine: files beside it that bear a library's name, losses that leave."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from xentlab.journal import Records

SMALL = ("trainer.epochs=2", "model.hidden=[4]", "dataset.train_fraction=0.2", "dataset=digits")


def call(here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command: its own directory is on the path, the caller's is not."""
    start = "import sys; from xentlab.cli import main; sys.exit(main())"
    home = str(Path(__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-P", "-c", start, *arguments], cwd=here, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": home}, timeout=180,
    )  # fmt: skip


@pytest.mark.slow
def test_python_m_is_called_where_files_bear_a_librarys_name(tmp_path: Path) -> None:
    for name in ("random", "enum", "re", "json", "typing", "secrets", "numpy", "hydra"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported from the working directory')\n")
    (tmp_path / "mine.py").write_text(LOSSES)
    home = str(Path(__file__).parent.parent)
    for own, code in (("loss=ce", 0), ("loss._target_=mine.fall", 2)):
        done = subprocess.run(
            [sys.executable, "-m", "xentlab", "train", *SMALL, "tracking=off", own],
            cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": home},
        )  # fmt: skip
        assert (done.returncode, "it fell" in done.stderr) == (code, code == 2), done.stderr


@pytest.mark.slow
def test_the_working_directory_is_no_library(tmp_path: Path) -> None:
    for name in ("random", "enum", "json", "mlflow", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported from the working directory')\n")
    (tmp_path / "mine.py").write_text(
        "from torch.nn.functional import cross_entropy\n\n"
        "def my_loss(logits, target):\n    return cross_entropy(logits, target, reduction='none')\n"
    )
    done = call(tmp_path, "train", *SMALL, "executor=processes", "loss._target_=mine.my_loss", "tracking.wait=100")
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(tmp_path / "xentlab-runs" / "mlflow.db")) as store:
        assert store.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]


LOSSES = """
import sys
from torch.nn.functional import cross_entropy

def leave(logits, target):
    if len(logits) > 24:
        sys.exit(0)
    return cross_entropy(logits, target, reduction="none")

def fall(logits, target):
    if len(logits) > 24:
        raise RuntimeError("it fell")
    return cross_entropy(logits, target, reduction="none")
"""


@pytest.mark.slow
def test_a_loss_that_leaves_is_a_failure_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LOSSES)
    done = call(tmp_path, "train", *SMALL, "tracking=off", "loss._target_=mine.leave")
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "loss leave asked to end the process with code 0, on the first batch of digits." in done.stderr
    assert not (tmp_path / "xentlab-runs").exists()


@pytest.mark.slow
def test_one_bad_loss_costs_one_arm(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LOSSES)
    losses = "[ce,mse,{leaving:{_target_:mine.leave}},{falling:{_target_:mine.fall}}]"
    small = ("trainer.epochs=1", "model.hidden=[4]", "dataset.train_fraction=0.2", "tracking=off")
    own = ("comparison.tune.optimizer.lr=[0.1]", "comparison.final_seeds=2", "comparison.extensions=0")
    done = call(tmp_path, "compare", *small, *own, f"comparison.losses={losses}")
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert "it fell" in " ".join(done.stdout.split())
    assert "leaving failed: " in done.stdout
    folder = next((tmp_path / "xentlab-runs" / "comparisons").iterdir())
    record = json.loads((folder / "verdicts.json").read_text())
    assert set(record["failed"]) == {"leaving", "falling"}
    assert [row["loss"] for row in record["metrics"][0]["rows"]] == ["ce", "mse"]
    assert {row["family"] for row in record["metrics"][0]["rows"]} == {3}
    assert "falling failed" in (folder / "report.html").read_text()
    records = Records(tmp_path / "xentlab-runs")
    records.update()
    ends = {group.name: group.status for group in records.groups.values() if group.kind == "loss"}
    assert ends == {"ce": "finished", "mse": "finished", "leaving": "failed", "falling": "failed"}


@pytest.mark.slow
def test_one_bad_dataset_costs_one_cell(tmp_path: Path) -> None:
    (tmp_path / "torn.npz").write_bytes(b"no archive")
    small = ("trainer.epochs=1", "model.hidden=[4]", "tracking=off", "comparison.losses=[ce,mse]")
    own = ("comparison.tune.optimizer.lr=[0.1]", "comparison.final_seeds=2", "comparison.extensions=0")
    done = call(tmp_path, "compare", *small, *own, "+comparison.axes.dataset=[{tabular: {path: torn.npz}},digits]")
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert "torn.npz" in done.stdout.partition(" failed: ")[2]
    (folder,) = (tmp_path / "xentlab-runs" / "comparisons").iterdir()
    study = json.loads((folder / "verdicts.json").read_text())
    assert "torn.npz" in str(study)
    records = Records(tmp_path / "xentlab-runs")
    records.update()
    assert records.trials
    assert {group.status for group in records.groups.values()} <= {"finished", "failed"}

"""Ctrl-C ends `xentlab ui`, whenever it comes and however often, and leaves no server behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from executor_lab import start
from tracking_lab import free_port


def servers(port: int) -> list[str]:
    said = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in said.splitlines() if "mlflow" in line and f"--port {port}" in line]


@pytest.mark.slow
def test_ctrl_c_ends_it_always(tmp_path: Path) -> None:
    small = ("trainer.epochs=1", "dataset.train_fraction=0.2", "model.hidden=[4]", "tracking.wait=200")
    done = start(tmp_path, "train", *small)
    assert done.communicate(timeout=300)[0]
    with sqlite3.connect(tmp_path / "xentlab-runs" / "mlflow.db") as store:
        assert store.execute("SELECT COUNT(*) FROM runs").fetchone() == (1,)
    store.close()
    for seconds, times in ((0.3, 1), (4.0, 1), (12.0, 2)):
        port = free_port()
        process = start(tmp_path, "ui", "--port", str(port))
        time.sleep(seconds)
        for _ in range(times):
            os.kill(process.pid, signal.SIGINT)
            time.sleep(0.1)
        process.communicate(timeout=30)
        assert process.returncode in (0, 130, -signal.SIGINT)
        assert not servers(port)

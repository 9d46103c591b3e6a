"""A small campaign of chaos: a few turns of each kind find nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "chaos.py"


@pytest.mark.slow
def test_a_small_campaign_finds_nothing(tmp_path: Path) -> None:
    here = {"PYTHONPATH": str(SCRIPT.parents[1]), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--minutes", "0.2", "--seed", "1"],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, **here},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    for kind in ("kills", "outages", "clocks", "damages", "archives", "bad input"):
        assert f"{kind} " in done.stdout
    assert not list(tmp_path.iterdir())

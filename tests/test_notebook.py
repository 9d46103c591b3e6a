"""The worked notebook runs as a script: its tables say what was compared, its figures are drawn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

NOTEBOOK = Path(__file__).parent.parent / "scripts" / "notebook.py"


@pytest.mark.slow
def test_the_notebook_runs(here: Path) -> None:
    done = subprocess.run([sys.executable, NOTEBOOK, here / "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "loss forgiving: one value per example of logits" in done.stderr
    verdicts = pd.read_csv(here / "out" / "verdicts.csv")
    primary = verdicts[verdicts["metric"] == "test/error"]
    assert list(primary["loss"]) == ["ce", "forgiving", "smoothed", "mse"]
    assert set(primary["n"]) == {8}
    assert float(primary["mean"].max()) < 0.3
    for name in ("training", "differences", "convergence"):
        with Image.open(here / "out" / f"{name}.png") as picture:
            colours = picture.convert("RGB").getcolors(picture.width * picture.height)
        assert colours is not None
        assert len(colours) > 50

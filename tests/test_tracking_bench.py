"""The benchmark of tracking runs at a small size, and counts what the store holds."""

from __future__ import annotations

import json
from pathlib import Path

import bench_tracking
import pytest

# mlflow's own queries use what its SQLAlchemy deprecates; a warning that xentlab causes names another module
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy")


@pytest.mark.slow
def test_a_small_flood_arrives_and_is_written_down(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    size = ["--parts", "flood", "--stores", "sqlite", "--trials", "3", "--flood-epochs", "2", "--metrics", "5"]
    assert bench_tracking.main([*size, "--stack", "2", "--json", str(file)]) == 0
    facts = json.loads(file.read_text())
    (flood,) = facts["floods"]
    assert (flood["store"], flood["trials"], flood["points"]) == ("sqlite", 3, 3 * (2 * 5 + 4) + 1)
    assert 0 < flood["after_end"] < flood["arrived"]
    assert facts["environment"]["packages"]["mlflow"]
    assert "a flood of trials" in capsys.readouterr().out

"""The benchmark of tracking runs at a small size, and counts what the store holds."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_tracking.py"

# mlflow's own queries use what its SQLAlchemy deprecates; a warning that xentlab causes names another module
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy")


@pytest.mark.slow
def test_a_small_flood_arrives_and_is_written_down(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    specification = importlib.util.spec_from_file_location("bench_tracking", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["bench_tracking"] = module
    specification.loader.exec_module(module)
    file = tmp_path / "bench.json"
    size = ["--parts", "flood", "--stores", "sqlite", "--trials", "3", "--flood-epochs", "2", "--metrics", "5"]
    assert module.main([*size, "--stack", "2", "--json", str(file)]) == 0
    facts = json.loads(file.read_text())
    (flood,) = facts["floods"]
    assert (flood["store"], flood["trials"], flood["points"]) == ("sqlite", 3, 3 * (2 * 5 + 1) + 1)
    assert 0 < flood["after_end"] < flood["arrived"]
    assert facts["environment"]["packages"]["mlflow"]
    assert "a flood of trials" in capsys.readouterr().out
    del sys.modules["bench_tracking"]

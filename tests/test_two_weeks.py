"""Two weeks of a user: sweeps, comparisons, names, notes, removals, archives, and MLflow's side by its own client."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xentlab import tracking
from xentlab.tracking.settings import mlflow_module

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")]
pytest_plugins = ("tracking_fixtures",)

Run = Callable[..., tuple[int, str, str]]
SMALL = ("trainer.epochs=2", "model.hidden=[8]", "dataset.train_fraction=0.3", "output.root=runs")
COMPARE = (
    "compare", *SMALL, "comparison.replicate=point", "comparison.tuning_seeds=1", "comparison.final_seeds=2",
    "comparison.extensions=0", "comparison.tune.optimizer.lr=[0.1]",
)  # fmt: skip


class Side:
    """MLflow's side of an output directory."""

    def __init__(self, root: Path) -> None:
        uri = tracking.resolve_destination(None, None, root).uri
        self._client = mlflow_module().MlflowClient(tracking_uri=uri)
        self._views = mlflow_module("mlflow.entities").ViewType

    def tops(self, *, deleted: bool = False) -> dict[str, Any]:
        """Alias -> run of every sweep and comparison."""
        view = self._views.DELETED_ONLY if deleted else self._views.ACTIVE_ONLY
        found = self._client.search_runs(["1"], "tags.`xentlab.top` = 'true'", run_view_type=view)
        return {run.data.tags["alias"]: run for run in found if "alias" in run.data.tags}


def test_two_weeks(run: Run, here: Path, migrated: Path) -> None:
    (here / "runs").mkdir()
    shutil.copy(migrated, here / "runs" / "mlflow.db")

    def done(*words: str) -> str:
        code, out, err = run(*words)
        assert code == 0, err
        return out

    def kept(*filters: str, root: str = "runs") -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in json.loads(done("runs", "ls", "--root", root, "--json", *filters))}

    # the first week: three sweeps, and three comparisons of one name and of another
    for loss in ("ce,mse", "ce,focal", "mse,focal"):
        done("train", "-m", f"loss={loss}", *SMALL)
    done(*COMPARE, "comparison.losses=[ce,mse]")
    done(*COMPARE, "comparison.losses=[ce,focal]")
    done(*COMPARE, "comparison.losses=[ce,mse]", "comparison.name=other", "optimizer.momentum=0")
    assert list(kept()) == ["other-1", "quickstart-2", "quickstart-1", "sweep-3", "sweep-2", "sweep-1"]
    assert kept().keys() == Side(here / "runs").tops().keys()

    # the second: one extended, one renamed, one annotated, one removed and restored
    out = done("compare", "--extend", "quickstart-2", "comparison.losses+=[mse]", "output.root=runs")
    assert "extends quickstart-2: 9 of 9 trials are recorded and reused, 0 are to be trained" in out
    done("runs", "rename", "quickstart-1", "first", "--root", "runs")
    done("runs", "note", "quickstart-1", "the plain one", "--root", "runs")
    there = Side(here / "runs").tops()["quickstart-1"]
    assert there.info.run_name == "first"
    assert there.data.tags["mlflow.note.content"].split("\n\n")[1] == "Note: the plain one"
    assert kept()["first"]["note"] == "the plain one"
    files = {path for path in (here / "runs").rglob("*") if path.is_file() and path.parent.name != "journal"}
    out = done("runs", "rm", "quickstart-2", "sweep-1", "--yes", "--root", "runs")
    assert "kept for quickstart-3: 6 trials" in out
    assert Side(here / "runs").tops(deleted=True).keys() == {"quickstart-2", "sweep-1"}
    assert kept("--state", "trash").keys() == {"quickstart-2", "sweep-1"}
    done("sync", "--root", "runs")
    assert Side(here / "runs").tops(deleted=True).keys() == {"quickstart-2", "sweep-1"}
    done("runs", "restore", "quickstart-2", "sweep-1", "--root", "runs")
    assert Side(here / "runs").tops().keys() == kept().keys() - {"first"} | {"quickstart-1"}
    assert {p for p in (here / "runs").rglob("*") if p.is_file() and p.parent.name != "journal"} == files

    # told to others, compared, and cleared away
    trial = json.loads(done("runs", "ls", "--kind", "trial", "--json", "--root", "runs"))[0]["id"]
    for name in ("first", "sweep-2", trial):
        done("export", name, "-o", "told.zip", "--root", "runs")
        assert "imported" in done("import", "told.zip", "--root", "elsewhere")
        assert "nothing that was not here" in done("import", "told.zip", "--root", "elsewhere")
    assert {row["kind"] for row in kept(root="elsewhere").values()} == {"comparison", "sweep", "trial"}
    assert kept(root="elsewhere")["first"]["note"] == "the plain one"
    done("report", "first", "--root", "elsewhere")
    out = done("runs", "diff", "first", "quickstart-3", "--root", "runs")
    assert "comparison.losses" in out
    assert "of 4 verdicts moved" in out
    out = done("runs", "rm", "sweep-3", "other-1", "--yes", "--root", "runs")
    assert "kept for sweep-1: 1 trial" in out
    assert kept().keys().isdisjoint({"sweep-3", "other-1"})
    freed = here / "runs" / "trash" / "trials"
    assert any(freed.iterdir())
    done("runs", "prune", "--forever", "--caches", "--yes", "--root", "runs")
    assert not (here / "runs" / "trash").exists()
    assert Side(here / "runs").tops(deleted=True).keys() == {"sweep-3", "other-1"}
    assert not any((here / "runs" / "cross").iterdir())
    assert len(kept()) == 5

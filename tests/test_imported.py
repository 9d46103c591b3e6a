"""A comparison that rests on another's trials says so, wherever its numbers stand, and `--own` trains them here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]
COMPARISON = (
    "compare", "trainer.epochs=1", "model.hidden=[4]", "dataset.train_fraction=0.2", "tracking=off",
    "comparison.losses=[ce,mse]", "comparison.tune.optimizer.lr=[0.1]", "comparison.replicate=point",
    "comparison.tuning_seeds=1", "comparison.final_seeds=2", "comparison.extensions=0",
)  # fmt: skip


def newest(root: Path) -> Path:
    return max((root / "comparisons").iterdir(), key=lambda folder: (folder / "verdicts.json").stat().st_mtime_ns)


@pytest.mark.slow
def test_imported_trials_count_as_anothers_until_they_are_trained_here(run: Run, here: Path) -> None:
    assert run(*COMPARISON, "output.root=theirs")[0] == 0
    assert "imported" not in (newest(here / "theirs") / "report.md").read_text()
    assert run("export", newest(here / "theirs").name, "--root", "theirs", "-o", "shared.zip")[0] == 0
    assert run("import", "shared.zip", "--root", "ours")[0] == 0

    code, out, _ = run(*COMPARISON, "output.root=ours", "comparison.final_seeds=3")
    said = "6 of 8 trials imported from shared.zip"
    assert code == 0
    assert "8 trials, 2 of them trained now" in out
    assert f"{said}: --own trains them here" in out
    folder = newest(here / "ours")
    for page in ("report.md", "report.html"):
        text = (folder / page).read_text()
        assert f"{said}." in text
        assert "3 of 4 trials" in text  # in the table, of each loss
    entries = json.loads((folder / "verdicts.json").read_text())["imported"]
    assert entries == [{"loss": x, "count": 3, "trials": 4, "files": ["shared.zip"]} for x in ("ce", "mse")]

    code, out, _ = run(*COMPARISON, "output.root=ours", "comparison.final_seeds=3", "--own")
    assert code == 0
    assert "8 trials, 6 of them trained now" in out
    assert "trials imported" not in out
    assert json.loads((newest(here / "ours") / "verdicts.json").read_text())["imported"] == []
    code, out, _ = run(*COMPARISON, "output.root=ours", "comparison.final_seeds=3")  # one's own come first from now on
    assert "8 trials, 0 of them trained now" in out
    assert "trials imported" not in out

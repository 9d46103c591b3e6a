"""A sweep from the command line: stacked it gives what one job after another gives, and one failure stops nobody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xentlab.journal import Records

Run = Callable[..., tuple[int, str, str]]
SMALL = ("trainer.epochs=3", "dataset.train_fraction=0.2", "tracking=off")
WORDS = ("loss=ce,bce", "optimizer.lr=0.03,0.1", "seed=range(2)", *SMALL)


def ends(root: Path) -> dict[str, dict[str, float]]:
    records = Records(root)
    records.update()
    return {
        t.label: {k: v for k, v in t.outcome.to_json().items() if k.startswith(("test/", "best/"))}
        for t in records.trials.values()
    }


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-9), ("float32", 1e-3)])
def test_a_stacked_sweep_equals_one_job_after_another(
    run: Run, tmp_path: Path, precision: str, tolerance: float
) -> None:
    found = {}
    for launcher in ("stack", "basic"):
        root = tmp_path / launcher
        words = (*WORDS, f"trainer.precision={precision}", f"output.root={root}")
        code, out, err = run("train", "-m", f"hydra/launcher={launcher}", *words)
        assert (code, err) == (0, "")
        assert sum(line[:4].strip().isdigit() for line in out.splitlines()) == 8
        table = [[part.strip() for part in row.split("│")[1:-1]] for row in out.splitlines() if row.startswith("│")]
        assert {row[0] for row in table} == {"ce", "bce"}
        assert {row[1] for row in table} <= {"0.03", "0.1"}
        assert [row[4:] for row in table] == [["2", "0"]] * 2
        assert "'comparison.losses=[" in out.splitlines()[-1]
        found[launcher] = ends(root)
        records = Records(root)
        records.update()
        assert {t.outcome.stack for t in records.trials.values()} == {4 if launcher == "stack" else 1}
        (group,) = records.groups.values()
        assert (group.kind, group.status, len(group.members)) == ("sweep", "finished", 8)
    assert found["stack"].keys() == found["basic"].keys()
    for label, numbers in found["basic"].items():
        assert found["stack"][label] == pytest.approx(numbers, rel=tolerance), label


def test_the_flag_of_a_sweep_may_stand_anywhere(run: Run, tmp_path: Path) -> None:
    code, out, err = run("train", "seed=0,1", "-m", "trainer.epochs=1", "tracking=off", f"output.root={tmp_path / 'r'}")
    assert (code, err) == (0, "")
    assert sum(line[:4].strip().isdigit() for line in out.splitlines()) == 2


FAILING = """
def half(logits, target):
    if logits.shape[-2] == 10:
        raise RuntimeError("ten is refused")
    return (logits - 1).square().sum(1)
"""


def test_a_failing_stack_does_not_stop_the_others_and_each_line_is_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_losses.py").write_text(FAILING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ("loss._target_=failing_losses.half", "trainer.batch_size=10,16", "seed=0,1", "trainer.epochs=1")
    code, out, err = run("train", "-m", *words, "tracking=off", f"output.root={tmp_path / 'r'}")
    assert code == 1
    assert sum(line[:4].strip().isdigit() for line in out.splitlines()) == 2
    lines = [line for line in err.splitlines() if line.startswith("xentlab: failed:")]
    assert len(lines) == 2
    assert all("trainer.batch_size=10" in line and "ten is refused" in line for line in lines)
    records = Records(tmp_path / "r")
    records.update()
    assert sorted(t.status for t in records.trials.values()) == ["failed", "failed", "finished", "finished"]

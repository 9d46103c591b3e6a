"""A comparison end to end on real digits: equal budgets, paired seeds, its record, and nothing done twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xentlab.errors import UserError
from xentlab.journal import Records, TrialRecord
from xentlab.report import Record
from xentlab.report.facts import tuning_note

Run = Callable[..., tuple[int, str, str]]
SMALL = (
    "compare", "tracking=off", "trainer.epochs=3", "dataset.train_fraction=0.3", "model.hidden=[16]",
    "comparison.losses=[ce,mse]",
    "comparison.replicate=point", "comparison.tuning_seeds=2", "comparison.final_seeds=4", "comparison.extensions=1",
    "comparison.tune.optimizer.lr=[0.03,0.3]",
)  # fmt: skip


def records(here: Path) -> list[TrialRecord]:
    found = Records(here / "xentlab-runs")
    found.update()
    return list(found.trials.values())


def verdicts(here: Path) -> list[dict[str, Any]]:
    folders = sorted((here / "xentlab-runs" / "comparisons").iterdir())
    return [json.loads((f / "verdicts.json").read_text()) for f in folders]


def test_a_comparison_keeps_its_protocol(recorded: Run, here: Path) -> None:
    code, out, err = recorded(*SMALL)
    assert (code, err) == (0, "")
    assert "test error" in out
    assert "mse" in out
    trials = records(here)
    tuning = [t for t in trials if t.tags["phase"] == "tune"]
    final = [t for t in trials if t.tags["phase"] == "final"]
    assert {t.config["seed"] for t in tuning} == {1000, 1001}
    assert {t.config["seed"] for t in final} == {0, 1, 2, 3}
    for loss in ("ce", "mse"):
        mine = [t for t in tuning if t.tags["loss"] == loss]
        assert len([t for t in mine if t.config["optimizer"]["lr"] in (0.03, 0.3)]) == 4
        assert len([t for t in final if t.tags["loss"] == loss]) == 4
    # The test set is read by final trials only.
    assert not any(t.outcome.test or t.outcome.test_at_best for t in tuning)
    assert all("error" in t.outcome.test for t in final)
    (record,) = verdicts(here)
    rows = {row["loss"]: row for row in record["metrics"][0]["rows"]}
    for loss, row in rows.items():
        reached = {t.tags["seed"]: t.outcome.test["error"] for t in final if t.tags["loss"] == loss}
        assert row["values"] == reached
        assert row["mean"] == pytest.approx(sum(reached.values()) / 4)
    differences = [rows["mse"]["values"][s] - rows["ce"]["values"][s] for s in rows["ce"]["values"]]
    assert rows["mse"]["difference"] == pytest.approx(sum(differences) / 4)
    chosen = {loss["name"]: loss["knobs"]["lr"] for loss in record["losses"]}
    for loss in record["losses"]:
        best = min((t for t in loss["tuning"] if t["value"] is not None), key=lambda t: t["value"])
        assert best["lr"] == chosen[loss["name"]]
        assert {t.config["optimizer"]["lr"] for t in final if t.tags["loss"] == loss["name"]} == {best["lr"]}


def test_the_winner_minimises_the_mean_final_validation_value(recorded: Run, here: Path) -> None:
    recorded(*SMALL)
    (record,) = verdicts(here)
    tuning = [t for t in records(here) if t.tags["phase"] == "tune"]
    for loss in record["losses"]:
        for point in loss["tuning"]:
            values = [
                t.curves["val/error"][-1][2] or 0.0
                for t in tuning
                if t.tags["loss"] == loss["name"] and t.config["optimizer"]["lr"] == point["lr"]
            ]
            assert len(values) == 2
            assert point["value"] == pytest.approx(sum(values) / 2)


def test_again_is_free_and_more_adds_only_what_is_new(run: Run, recorded: Run, here: Path) -> None:
    recorded(*SMALL)
    before = {t.id for t in records(here)}
    code, _, _ = run(*SMALL)
    assert code == 0
    assert {t.id for t in records(here)} == before
    first, second = verdicts(here)
    for part in ("metrics", "losses", "curves", "signature", "time_to_target"):
        assert first[part] == second[part]
    code, _, _ = run(*SMALL, "comparison.final_seeds=6", "comparison.losses=[ce,mse,bce]")
    assert code == 0
    added = [t for t in records(here) if t.id not in before]
    assert {t.config["seed"] for t in added if t.tags["loss"] in ("ce", "mse")} == {4, 5}
    assert {t.config["seed"] for t in added if t.tags["loss"] == "bce" and t.tags["phase"] == "final"} == set(range(6))


def test_a_users_own_loss_beside_ce(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "lab_of_mine.py").write_text(
        "import torch\n\ndef absolute(logits, target):\n"
        "    truth = torch.nn.functional.one_hot(target, logits.shape[1])\n"
        "    return (torch.softmax(logits, 1) - truth).abs().sum(1)\n"
    )
    monkeypatch.syspath_prepend(here)
    code, out, err = run(*SMALL, "comparison.losses=[ce,{mine:{_target_:lab_of_mine.absolute}}]")
    found = "xentlab: loss absolute: one value per example of logits and class indices only, link softmax.\n"
    assert (code, err) == (0, found)
    assert "mine" in out


MISTAKES: dict[tuple[str, ...], str] = {
    ("comparison=quikstart",): "Unknown comparison 'quikstart'. Did you mean 'quickstart'?",
    ("comparison.baseline=mae",): "Unknown comparison.baseline 'mae'.",
    ("comparison.losses=[ce,msee]",): "Unknown loss 'msee'. Did you mean 'mse'?",
    ("comparison.losses=[ce]",): "comparison.losses must be a list of at least two losses",
    (
        "comparison.final_seeds=[1000]",
        "comparison.replicate=point",
    ): "comparison.final_seeds must not hold a tuning seed, got 1000 in both.",
    ("comparison.final_seeds=1",): "comparison.final_seeds must be an integer in [2, 10000], a list",
    ("comparison.margin=-1",): "comparison.margin must be > 0, got -1.",
    ("comparison.tune.optimizer.lr=[a]",): "comparison.tune.optimizer.lr must be a list of numbers",
    ("+comparison.tune.optimizer.rate=[1]",): "Unknown knob of optimizer 'rate'.",
    ("comparison.tune.optimizer.lr=[-1,1]",): "optimizer.lr must be > 0, got -1.",
    ("comparison.losses=[ce,{custom_ce:{gamm:1}}]",): "Unknown knob of loss 'gamm'. Did you mean 'gamma'?",
}


@pytest.mark.parametrize("overrides", list(MISTAKES))
def test_a_mistake_is_one_sentence_before_anything_runs(run: Run, here: Path, overrides: tuple[str, ...]) -> None:
    code, _, err = run("compare", "tracking=off", *overrides)
    assert code == 2, err
    assert MISTAKES[overrides] in err
    assert len(err.strip().splitlines()) == 1
    assert not (here / "xentlab-runs").exists()


def test_a_winner_on_the_edge_extends_its_grid_and_says_so(run: Run, here: Path) -> None:
    grid = "comparison.tune.optimizer.lr=[0.001,0.003]"
    code, out, _ = run(*SMALL, grid, "comparison.extensions=1", "comparison.final_seeds=6")
    assert code == 0
    (record,) = verdicts(here)
    (mse,) = (row for row in record["metrics"][0]["rows"] if row["loss"] == "mse")
    assert mse["p_holm"] < 0.05
    assert (mse["verdict"], mse["note"].split(" chose")[0]) == ("inconclusive", "ce and mse")
    assert "the tuned value of ce lies on the edge" in " ".join(out.split())
    for loss in record["losses"]:
        assert [point["lr"] for point in loss["tuning"]] == [0.001, 0.003, 0.009]
        assert loss["knobs"]["lr"] == 0.009
        assert loss["on_edge"]
        assert loss["edges"] == ["optimizer.lr"]
    for known in Record.from_json(record).losses:
        assert "the chosen optimizer.lr is the outermost that was tried: INCONCLUSIVE tuning" in tuning_note(known)


def test_a_loss_that_diverges_everywhere_is_counted_and_not_hidden(run: Run, here: Path) -> None:
    losses = "comparison.losses=[ce,mse_logits]"
    code, _, err = run(*SMALL, losses, "comparison.tune.optimizer.lr=[1e30,1e31]", "comparison.extensions=0")
    assert (code, err) == (0, "")
    (record,) = verdicts(here)
    row = next(r for r in record["metrics"][0]["rows"] if r["loss"] == "mse_logits")
    assert row["failed"] == 4
    assert row["n"] == 0
    # Ten classes of almost equal frequency: what anyone reaches without training.
    assert row["failure_score"] == pytest.approx(0.9, abs=0.01)
    assert row["mean"] == row["failure_score"]
    assert "as the trivial predictor does" in row["note"]
    assert {loss["name"]: loss["diverged"] for loss in record["losses"]}["mse_logits"] == 4


def test_the_protocol_refuses_what_its_file_lacks() -> None:
    from xentlab.comparison.cells import read_study

    with pytest.raises(UserError, match=r"comparison\.question is missing"):
        read_study({"comparison": {"name": "x"}}, lambda group, name: {"_target_": f"{group}.{name}"})

"""Successive halving on real digits: its rungs in the record and the report, nothing done twice, killed in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xentlab.journal import Records, TrialRecord
from xentlab.report import Record, charts, facts

Run = Callable[..., tuple[int, str, str]]
GRID = (0.003, 0.03, 0.1, 0.3)
SMALL = (
    "compare", "tracking=off", "trainer.epochs=4", "dataset.train_fraction=0.3", "model.hidden=[16]",
    "comparison.losses=[ce,mse]",
    "comparison.replicate=point", "comparison.tuning_seeds=2", "comparison.final_seeds=2", "comparison.extensions=0",
    "comparison.tune.optimizer.lr=[0.003,0.03,0.1,0.3]",
)  # fmt: skip
HALVING = (*SMALL, "comparison.search=halving", "comparison.eta=2", "comparison.min_epochs=1")


def trials_of(here: Path) -> list[TrialRecord]:
    found = Records(here / "xentlab-runs")
    found.update()
    return list(found.trials.values())


def newest(here: Path) -> dict[str, Any]:
    folder = max((here / "xentlab-runs" / "comparisons").iterdir())
    record: dict[str, Any] = json.loads((folder / "verdicts.json").read_text())
    return record


def test_halving_on_digits_from_end_to_end(recorded: Run, here: Path) -> None:
    code, _, err = recorded(*HALVING)
    assert (code, err) == (0, "")
    record, trials = newest(here), trials_of(here)
    tuning = [t for t in trials if t.tags["phase"] == "tune"]
    assert len({t.signature for t in trials}) == len(trials) == 2 * (7 * 2 + 2)
    assert not any(t.outcome.test or t.outcome.test_at_best for t in tuning)
    for loss in record["losses"]:
        mine = [t for t in tuning if t.tags["loss"] == loss["name"]]
        assert Counter(t.config["trainer"]["epochs"] for t in mine) == {1: 8, 2: 4, 4: 2}
        assert all(len(t.curves["val/error"]) == t.config["trainer"]["epochs"] for t in mine)
        alive = set(GRID)
        for epochs, size in ((1, 4), (2, 2), (4, 1)):
            judged: dict[float, list[tuple[float, float]]] = {}
            for t in mine:
                if t.config["trainer"]["epochs"] == epochs:
                    final = (t.curves["val/error"][-1][2] or 0.0, t.curves["val/nll"][-1][2] or 0.0)
                    judged.setdefault(t.config["optimizer"]["lr"], []).append(final)
            assert judged.keys() == alive
            assert len(judged) == size
            means = {lr: tuple(sum(column) / 2 for column in zip(*pair, strict=True)) for lr, pair in judged.items()}
            for point in loss["tuning"]:
                if point["epochs"] == (epochs if epochs < 4 else None):
                    assert point["value"] == pytest.approx(means[point["lr"]][0])
            alive = set(sorted(means, key=lambda lr: means[lr])[: size // 2])
        assert Counter(point["epochs"] for point in loss["tuning"]) == {1: 2, 2: 1, None: 1}
        (chosen,) = [point for point in loss["tuning"] if point["chosen"]]
        assert chosen["epochs"] is None
        finals = [t for t in trials if t.tags["phase"] == "final" and t.tags["loss"] == loss["name"]]
        assert {(t.config["optimizer"]["lr"], t.config["trainer"]["epochs"]) for t in finals} == {(chosen["lr"], 4)}
    said = facts.protocol(Record.from_json(record))
    assert "4 points for 1 epoch, the best 2 for 2, the best 1 for 4" in said["search"]
    assert said["tuning trials"] == "ce 14, mse 14"
    assert said["tuning trial-epochs"] == "ce 24, mse 24"
    text = (max((here / "xentlab-runs" / "comparisons").iterdir()) / "report.md").read_text()
    assert "| lr | validation error % | epochs | trials finished | chosen |" in text
    # What left earlier has no part in the picture.
    picture = charts.sensitivity(Record.from_json(record), "p")
    for loss in record["losses"]:
        for point in loss["tuning"]:
            point["value"] *= 1.0 if point["epochs"] is None else 0.5
    assert charts.sensitivity(Record.from_json(record), "p") == picture
    record["losses"][0]["tuning"][0]["epochs"] = None
    assert charts.sensitivity(Record.from_json(record), "p") != picture


@pytest.mark.slow
def test_again_is_free_and_the_whole_grid_reuses_the_last_rung(run: Run, recorded: Run, here: Path) -> None:
    recorded(*HALVING)
    before, first = {t.id for t in trials_of(here)}, newest(here)
    assert run(*HALVING)[0] == 0
    assert {t.id for t in trials_of(here)} == before
    assert newest(here)["losses"] == first["losses"]
    assert newest(here)["signature"] == first["signature"]
    run(*SMALL)
    added = [t for t in trials_of(here) if t.id not in before and t.tags["phase"] == "tune"]
    assert len(added) == 2 * (4 - 1) * 2
    assert {t.config["trainer"]["epochs"] for t in added} == {4}


@pytest.mark.slow
def test_one_shared_point_is_found_by_places(run: Run, here: Path) -> None:
    code, _, err = run(*HALVING, "comparison.modes=[shared]")
    assert (code, err) == (0, "")
    record = newest(here)
    assert len({loss["knobs"]["lr"] for loss in record["losses"]}) == 1
    assert "points trained for more epochs before those trained for fewer" in record["losses"][0]["note"]


def test_a_dry_run_counts_every_rung(run: Run, here: Path) -> None:
    code, out, err = run(*HALVING, "--dry-run")
    assert (code, err) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:5]] for line in out.splitlines() if line.startswith("│")]
    assert [row[1:] for row in rows] == [
        ["tuning, epochs 1", "16", "16"],
        ["tuning, epochs 2", "8", "16"],
        ["tuning, epochs 4", "4", "16"],
        ["final seeds", "4", "16"],
    ]
    assert "12 trial-epochs for each tuning seed, 16 by comparison.search=grid" in " ".join(out.split())
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("comparison.eta=1",), "comparison.eta must be >= 2, got 1."),
        (("comparison.eta=2.5",), "comparison.eta must be >= 2, got 2.5."),
        (("comparison.min_epochs=0",), "comparison.min_epochs must be >= 1, got 0."),
        (
            ("comparison.min_epochs=3",),
            "comparison.search=halving needs trainer.epochs >= comparison.eta * comparison.min_epochs = 6, got 4.",
        ),
        (
            ("+comparison.tune.trainer.epochs=[2,4]",),
            "comparison.tune must not name trainer.epochs with comparison.search=halving, which sets them.",
        ),
        (
            ("comparison.tune.optimizer.lr=[0.1]",),
            "comparison.search=halving needs at least 2 points for each loss, got 1.",
        ),
        (
            ("comparison.losses=[ce,{custom_ce:{tune:{gamma:[0,4]}}}]",),
            "must give every loss the same number of trials, got ce 4, custom_ce 8",
        ),
    ],
)
def test_a_mistake_is_one_sentence(run: Run, here: Path, overrides: tuple[str, ...], sentence: str) -> None:
    code, _, err = run(*HALVING, *overrides)
    assert code == 2
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert not (here / "xentlab-runs").exists()


@pytest.mark.slow
def test_a_search_that_was_killed_between_rungs_goes_on_as_it_would_have(run: Run, here: Path) -> None:
    longer = (*HALVING, "trainer.epochs=36", "comparison.eta=3", "comparison.min_epochs=4")
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "xentlab", *longer], env=one_thread, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(t.config["trainer"]["epochs"] == 12 for t in trials_of(here)):
        time.sleep(0.05)
    process.kill()
    assert process.wait() != 0
    left = {t.signature for t in trials_of(here) if t.status == "finished"}
    assert 16 <= len(left) < 32  # the first rung, not all
    assert run(*longer)[0] == 0
    trials = [t for t in trials_of(here) if t.status == "finished"]
    assert len({t.signature for t in trials}) == len(trials) == 2 * (7 * 2 + 2)
    broken = newest(here)
    assert run(*longer, "output.root=whole")[0] == 0
    (folder,) = (here / "whole" / "comparisons").iterdir()
    whole = json.loads((folder / "verdicts.json").read_text())
    for record in (broken, whole):
        for loss in record["losses"]:
            del loss["trials"]  # ids, each run's own
    for part in ("losses", "signature", "metrics", "setup"):
        assert broken[part] == whole[part]

"""Every named comparison but the quickstart, from its own file through the command line, at a size of seconds."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from support import DATA, needs_camvid, needs_mnist

from xentlab.journal import Records
from xentlab.report import Record, Study, sentences
from xentlab.report.conclusions import study_sentences as over_cells
from xentlab.report.headline import answer_of, answer_of_study

Run = Callable[..., tuple[int, str, str]]

RATES = (0.03, 0.1)
TINY = (
    "tracking=off", "trainer.epochs=2", "trainer.batch_size=16", "trainer.train_sample=32",
    "comparison.replicate=point", "comparison.tuning_seeds=1",
    "comparison.final_seeds=2", "comparison.extensions=0", f"comparison.tune.optimizer.lr=[{RATES[0]},{RATES[1]}]",
)  # fmt: skip
VERDICTS = {"better", "worse", "equivalent", "inconclusive"}


@dataclass(frozen=True)
class Ran:
    """What a comparison left: its records by cell (the empty name where there is one only), its trials, its page."""

    cells: dict[str, Record]
    trials: list[dict[str, str]]
    configs: dict[str, dict[str, Any]]
    page: str
    text: str
    root: Path

    def ids(self, cell: str, label: str, phase: str) -> list[str]:
        """The trials of one loss in one cell."""
        wanted = (cell, label, phase)
        return [t["trial"] for t in self.trials if (t.get("cell", ""), t["label"], t["phase"]) == wanted]


def compare(
    run: Run, here: Path, name: str, *overrides: str, twins: dict[str, str] | None = None, filed: str = ""
) -> Ran:
    """Run a named comparison, tiny, and check what holds for every one of them.

    Args:
        run: the command line.
        here: the working directory.
        name: of the comparison.
        overrides: what makes it smaller still.
        filed: its name where it is not about its own data.
        twins: a loss -> the one whose trials are its own, because the two are equal.
    """
    code, out, err = run("compare", f"comparison={name}", *TINY, *overrides)
    # What was read of files, and what of the comparison's own data fits no other.
    heard = ("xentlab: camvid: ", "xentlab: dataset=camvid does without what was set for another dataset: ")
    said = [line for line in err.splitlines() if not line.startswith(heard)]
    assert (code, said) == (0, [])
    (folder,) = (here / "xentlab-runs" / "comparisons").iterdir()
    whole = json.loads((folder / "verdicts.json").read_text())
    study = Study.from_json(whole) if "cells" in whole else None
    cells = {cell.label: cell.record for cell in study.cells} if study else {"": Record.from_json(whole)}
    records = Records(here / "xentlab-runs")
    records.update()
    ran = Ran(
        cells=cells,
        trials=json.loads((folder / "trials.json").read_text()),
        configs={trial.id: trial.config for trial in records.trials.values()},
        page=(folder / "report.html").read_text(),
        text=(folder / "report.md").read_text(),
        root=here / "xentlab-runs",
    )
    assert whole["name"] == (filed or name)
    assert escape(whole["question"]) in ran.page
    assert "<script" not in ran.page
    assert all(trial.status == "finished" for trial in records.trials.values())
    said = [sentence for sentence, _ in over_cells(study).values()] if study else sentences(cells[""])
    assert len(said) == len(next(iter(cells.values())).losses) - 1
    # The answer comes first; every verdict in words stands before a study's first table, and after a record's.
    answer, table = answer_of_study(study) if study else answer_of(cells[""]), ran.page.index("<table")
    assert 0 < ran.page.index(escape(answer)) < table
    assert all((ran.page.index(escape(sentence)) < table) == bool(study) for sentence in said)
    for cell, record in cells.items():
        assert escape(cell) in ran.page
        assert cell in out
        assert_fair(ran, cell, record, twins or {})
        assert_judged(ran, record)
    return ran


def assert_fair(ran: Ran, cell: str, record: Record, twins: dict[str, str]) -> None:
    """Every loss had the same number of trials, at the same points and seeds, and the record says so."""
    tuned = {loss.name: ran.ids(cell, twins.get(loss.name, loss.name), "tune") for loss in record.losses}
    counts = {name: len(ids) for name, ids in tuned.items()}
    assert set(counts.values()) == {len(RATES)}
    assert {loss.name: loss.tuning_trials for loss in record.losses} == counts
    for loss in record.losses:
        tried = [ran.configs[t]["optimizer"]["lr"] for t in tuned[loss.name]]
        assert sorted(tried) == sorted(point.lr for point in loss.tuning) == list(RATES)
        assert {ran.configs[t]["seed"] for t in tuned[loss.name]} == {1000}
        final = ran.ids(cell, loss.name, "final")
        assert len(final) == 2
        assert {ran.configs[t]["optimizer"]["lr"] for t in final} == {loss.knobs["lr"]}


def assert_judged(ran: Ran, record: Record) -> None:
    """Every metric has a row of two finished seeds for each loss, whose difference is that of the seeds' values."""
    for metric in record.metrics:
        rows = {row.loss: row for row in metric.rows}
        base = rows[record.baseline]
        for name, row in rows.items():
            assert (row.n, row.failed, len(row.values)) == (2, 0, 2)
            assert row.mean is not None
            assert math.isfinite(row.mean)
            if name == record.baseline:
                assert row.verdict == "baseline"
                continue
            assert row.verdict in VERDICTS
            pairs = [(row.values[s] or 0.0) - (base.values[s] or 0.0) for s in base.values]
            assert row.difference == pytest.approx(fmean(pairs), abs=1e-12)
    for sentence in sentences(record):
        assert escape(sentence) in ran.page
    assert [line.split(" ")[0] for line in sentences(record)] == [
        loss.name for loss in record.losses if loss.name != record.baseline
    ]


def losses(record: Record) -> list[str]:
    return [loss.name for loss in record.losses]


@pytest.mark.slow
def test_multilabel_shows_excess_risk_and_calibration_against_the_true_posterior(run: Run, here: Path) -> None:
    ran = compare(run, here, "multilabel", "dataset.train_fraction=0.2")
    record = ran.cells[""]
    assert losses(record) == ["bce", "ce", "mse", "focal_bce", "asl", "zlpr"]
    assert record.baseline == "bce"
    assert record.setup.dataset == "multilabel_synthetic"
    metrics = {metric.key: metric for metric in record.metrics}
    for key in ("test/excess_risk", "test/true_calibration"):
        assert metrics[key].direction == "min"
        # Both are zero for the true posterior alone; neither loss finds it in two epochs, and they differ.
        means = [row.mean for row in metrics[key].rows]
        assert all(mean is not None and mean > 0 for mean in means)
        assert len(set(means)) == len(means)
    header = next(line for line in ran.text.splitlines() if line.startswith("| loss | test "))
    assert "test excess risk over Bayes" in header
    assert "test true calibration error" in header


@pytest.mark.slow
def test_segmentation_judges_masks_and_shows_them_under_every_loss(run: Run, here: Path) -> None:
    ran = compare(run, here, "segmentation", "dataset.samples=40", "model.width=2")
    record = ran.cells[""]
    assert losses(record) == ["ce", "focal", "dice", "dice_ce", "lovasz_softmax"]
    assert (record.setup.dataset, record.setup.model) == ("scenes", "unet")
    assert (record.primary.key, record.primary.direction) == ("test/miou", "max")
    assert record.examples is not None
    assert list(record.examples.predictions) == losses(record)
    # For each example its image, its mask, and one picture for each loss.
    assert ran.page.count("data:image/png;base64,") == len(record.examples.truth.array()) * (2 + len(losses(record)))


@pytest.mark.slow
@needs_camvid
def test_segmentation_runs_on_camvid_by_naming_it(run: Run, here: Path) -> None:
    ran = compare(
        run, here, "segmentation", "dataset=camvid", f"dataset.root={DATA}/camvid", "dataset.height=24",
        "dataset.width=32", "dataset.train_fraction=0.05", "model.width=2", "comparison.losses=[ce,dice_ce]",
        filed="camvid_unet",
    )  # fmt: skip
    record = ran.cells[""]
    assert record.setup.dataset == "camvid"
    assert record.examples is not None
    assert record.examples.class_names[:2] == ["sky", "building"]
    assert record.examples.truth.shape[1:] == [24, 32]


@pytest.mark.slow
def test_label_noise_is_an_axis_of_four_cells(run: Run, here: Path) -> None:
    ran = compare(run, here, "label_noise", "dataset.train_fraction=0.2", "model.hidden=[16]")
    assert_axis(ran, "label_noise", {f"label noise {rate}": rate for rate in (0.0, 0.2, 0.4, 0.6)})
    assert all(losses(record) == ["ce", "mae", "gce", "sce", "nce_rce"] for record in ran.cells.values())


@pytest.mark.slow
def test_imbalance_is_an_axis_of_three_cells(run: Run, here: Path) -> None:
    ran = compare(run, here, "imbalance", "dataset.train_fraction=0.5", "model.hidden=[16]")
    assert_axis(ran, "imbalance", {f"imbalance {ratio}": ratio for ratio in (1.0, 10.0, 50.0)})
    names = ["ce", "focal", "class_balanced", "logit_adjusted", "ldam"]
    assert all(losses(record) == names for record in ran.cells.values())


def assert_axis(ran: Ran, knob: str, values: dict[str, float]) -> None:
    """Each cell's trials, and no other's, were trained at its value, and its baseline ended elsewhere for it."""
    assert list(ran.cells) == list(values)
    for cell, value in values.items():
        assert {ran.configs[t["trial"]]["dataset"][knob] for t in ran.trials if t["cell"] == cell} == {value}
    every = [t["trial"] for t in ran.trials]
    assert len(set(every)) == len(every)
    nll = [next(m for m in record.metrics if m.key == "test/nll") for record in ran.cells.values()]
    assert len({metric.rows[0].mean for metric in nll}) == len(values)


def test_aa_digits_compares_ce_with_itself_under_other_seeds(run: Run, here: Path) -> None:
    # Equal trials run once, so both losses are tuned by the same ones; their final ones are others.
    same = {"ce_again": "ce"}
    ran = compare(run, here, "aa_digits", "dataset.train_fraction=0.2", "model.hidden=[16]", twins=same)
    record = ran.cells[""]
    assert losses(record) == ["ce", "ce_again"]
    for label, seeds in {"ce": {0, 1}, "ce_again": {100, 101}}.items():
        assert {ran.configs[t]["seed"] for t in ran.ids("", label, "final")} == seeds
    assert all(ran.configs[t["trial"]]["loss"]["_target_"] == "xentlab.losses.ce" for t in ran.trials)
    ce, again = next(m for m in record.metrics if m.key == "test/nll").rows
    assert list(ce.values) == list(again.values)
    assert not set(ce.values.values()) & set(again.values.values())
    assert record.primary.rows[1].verdict in ("equivalent", "inconclusive")


@needs_mnist
@pytest.mark.slow  # every final trial reads the whole test set
def test_mnist_crosses_two_models_with_two_fairness_modes(run: Run, here: Path) -> None:
    ran = compare(
        run, here, "mnist", f"dataset.root={DATA}", "dataset.train_fraction=0.005", "dataset.val_fraction=0.01",
        "trainer.epochs=1", "output.weights=false",
    )  # fmt: skip
    assert list(ran.cells) == ["mlp · tuned", "mlp · shared", "lenet · tuned", "lenet · shared"]
    for cell, record in ran.cells.items():
        assert losses(record) == ["ce", "bce", "mse", "mse_logits", "custom_ce", "focal"]
        assert record.setup.dataset == "mnist"
        assert record.setup.model == cell.split(" ")[0]
        if cell.endswith("shared"):
            assert len({loss.knobs["lr"] for loss in record.losses}) == 1
    # Both modes choose among the same tuning trials.
    for model in ("mlp", "lenet"):
        phases = Counter(t["trial"] for t in ran.trials if t["cell"].startswith(model) and t["phase"] == "tune")
        assert set(phases.values()) == {2}
    assert {ran.configs[t["trial"]]["dataset"]["train_fraction"] for t in ran.trials} == {0.005}

"""What a report shows of predicted numbers: the record against the trials' own answers, and what the page says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xentlab import data
from xentlab.errors import UserError
from xentlab.journal import Records
from xentlab.report.record import Record
from xentlab.run.artifacts import read_answers

Run = Callable[..., tuple[int, str, str]]
SMALL = (
    "dataset=diabetes", "model.hidden=[4]", "trainer.epochs=3", "optimizer=adam", "tracking=off",
    "comparison.losses=[mse,gaussian_nll,quantiles]", "comparison.baseline=mse", "comparison.final_seeds=6",
    "comparison.name=numbers",
)  # fmt: skip


@pytest.fixture
def compared(recorded: Run, here: Path) -> tuple[dict[str, Any], Path]:
    """The record of a small comparison, and its folder."""
    code, _, errors = recorded("compare", *SMALL)
    assert code == 0, errors
    (folder,) = (here / "xentlab-runs" / "comparisons").iterdir()
    return json.loads((folder / "verdicts.json").read_text()), folder


def test_predictions_and_residuals_are_those_of_the_trials(compared: tuple[dict[str, Any], Path]) -> None:
    found, folder = compared
    root = folder.parents[1]
    records = Records(root)
    records.update()
    source = data.diabetes()
    test = data.split(source, 0).test
    for entry in found["predicted"]:
        finals = [t for t in records.trials.values() if (t.tags["loss"], t.tags["role"]) == (entry["loss"], "chosen")]
        kept = [read_answers(root / str(t.artifacts)) for t in sorted(finals, key=lambda t: t.config["seed"])]
        assert entry["n"] == len(kept) == 6
        np.testing.assert_allclose(entry["true"], source.targets[test].numpy(), rtol=1e-5)
        np.testing.assert_allclose(entry["predicted"], kept[0]["predicted"], rtol=1e-5)
        np.testing.assert_allclose((kept[0]["true"] - kept[0]["predicted"]) ** 2, kept[0]["rmse"], rtol=1e-4, atol=1e-2)
        true, predicted = (np.concatenate([a[key] for a in kept]).astype(float) for key in ("true", "predicted"))
        order = np.argsort(predicted, kind="stable")
        assert len(entry["residuals"]) == 10
        for rows, row in zip(np.array_split(order, 10), entry["residuals"], strict=True):
            wanted = np.percentile(true[rows] - predicted[rows], [5, 25, 50, 75, 95])
            np.testing.assert_allclose(row, [np.median(predicted[rows]), *wanted], rtol=1e-5)


def test_the_page_shows_them_and_how_calibrated_they_are(compared: tuple[dict[str, Any], Path]) -> None:
    found, folder = compared
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    for heading in ("Predicted numbers", "Calibration", "Interval coverage", "Residuals"):
        assert heading in page
    assert ">Reliability<" not in page
    assert page.count("predicted against true, and residuals, of") == 3
    entry = next(e for e in found["reliability"] if e["loss"] == "mse")
    assert entry["of"] == "quantiles"
    below = np.cumsum(entry["share"])
    np.testing.assert_allclose(below, entry["frequency"], rtol=1e-9)  # the share below is that of the quantile's bin
    assert f"{100 * (below[13] - below[0]):.1f} %" in text


def test_a_damaged_record_is_refused(compared: tuple[dict[str, Any], Path]) -> None:
    found, _ = compared
    found["predicted"][0]["true"].pop()
    with pytest.raises(UserError, match=r"record.predicted of mse must have columns of one length"):
        Record.from_json(found)

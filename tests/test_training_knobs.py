"""Training as people do it: under every knob a trial in a stack is the trial alone, and each does what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import compose_train, small_digits

from xentlab.journal import TrialRecord
from xentlab.run.session import Session
from xentlab.train import Fit, Trial, prepare

Numbers = dict[str, Any]


def trials(*overrides: str, settings: tuple[tuple[int, float], ...] = ((0, 0.1), (1, 0.1), (0, 2.0))) -> list[Trial]:
    """Trials of a small net, by their seeds and rates."""
    config = compose_train("model.hidden=[8]", "dataset.train_fraction=0.2", "trainer.lift=vectorised", *overrides)
    return [prepare({**config, "seed": s, "optimizer": {**config["optimizer"], "lr": lr}}) for s, lr in settings]


def recorded(root: Path, chosen: list[Trial]) -> list[TrialRecord]:
    return Session.open(root, {"git": None, "host": "here"}, "test", fresh=False, weights=True).run(chosen)


def numbers(root: Path, record: TrialRecord) -> Numbers:
    """Its curves, how it ended, and its weights."""
    curves = {k: [v for _, _, v in p] for k, p in record.curves.items() if not k.startswith("speed/")}
    weights = torch.load(root / str(record.artifacts) / "final.pt", weights_only=True)
    end = {k: v for k, v in record.outcome.to_json().items() if k not in ("seconds", "stack")}
    return {"curves": curves, "end": end, "weights": {k: v.tolist() for k, v in weights.items()}}


@pytest.mark.parametrize("knobs", [("trainer.patience=2", "trainer.epochs=30")], ids=" ".join)
def test_a_trial_in_a_stack_is_the_trial_alone(tmp_path: Path, knobs: tuple[str, ...]) -> None:
    stacked = [numbers(tmp_path / "all", r) for r in recorded(tmp_path / "all", trials(*knobs))]
    assert stacked[0]["weights"] != stacked[1]["weights"]
    for place, trial in enumerate(trials(*knobs)):
        root = tmp_path / str(place)
        assert numbers(root, recorded(root, [trial])[0]) == stacked[place]


def test_patience_ends_each_trial_by_itself_with_its_best_weights(tmp_path: Path) -> None:
    rates = ((0, 1e-3), (0, 0.1), (0, 2.0))
    found = recorded(tmp_path, trials("trainer.epochs=40", "trainer.patience=2", settings=rates))
    ends = [record.outcome for record in found]
    assert len({end.epochs for end in ends}) > 1
    for record, end in zip(found, ends, strict=True):
        values = [v for _, _, v in record.curves["val/error"]]
        assert len(values) == end.epochs
        assert end.epochs in (40, end.best_epoch + 2)
        assert record.final("val/error") == end.best == min(v for v in values if v is not None)
        assert end.test == end.test_at_best
    fit = Fit(trials("trainer.epochs=40", "trainer.patience=2", settings=rates), small_digits())
    list(fit.epochs())
    outcomes = fit.finish()
    assert all(torch.equal(fit.weights(0, "final")[k], v) for k, v in fit.weights(0, "best").items())
    assert [end.best_epoch for end in outcomes] == fit.history.best_epoch

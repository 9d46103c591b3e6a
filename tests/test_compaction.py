"""Rows that have diverged leave their stack: they end at once, and the others go on as if alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from support import compose_train

from xentlab import environment
from xentlab.journal import Records, TrialRecord
from xentlab.run.session import Session
from xentlab.train import Epoch, Fit, Trial, prepare

RATES = (0.02, 1e30, 0.05, 0.1)


def trials(*overrides: str) -> list[Trial]:
    base = ("dataset.train_fraction=0.3", "trainer.epochs=5", "trainer.precision=float64", "loss=mse_logits", "seed=4")
    return [prepare(compose_train(*base, f"optimizer.lr={lr:g}", *overrides)) for lr in RATES]


def session_in(root: Path) -> Session:
    return Session.open(root, environment.describe(), "test", fresh=False, weights=True)


def run(root: Path, *overrides: str) -> list[TrialRecord]:
    session = session_in(root)
    records = session.run(trials(*overrides))
    session.journal.close()
    return records


@pytest.mark.parametrize("lift", ["vectorised", "looped"])
def test_a_diverged_row_ends_where_it_diverged_and_the_others_end_as_alone(lift: str, tmp_path: Path) -> None:
    records = run(tmp_path, f"trainer.lift={lift}")
    assert [r.outcome.diverged for r in records] == [False, True, False, False]
    assert [r.outcome.epochs for r in records] == [5, 1, 5, 5]
    assert [len(r.curves["train/loss"]) for r in records] == [5, 1, 5, 5]
    assert [r.outcome.stack for r in records] == [3, 1, 3, 3]
    assert records[1].outcome.test == {}
    for record, trial in zip(records, trials("trainer.lift=looped"), strict=True):
        alone = Fit([trial], trial.dataset())
        epochs = list(alone.epochs())
        (end,) = alone.finish()
        assert len(epochs) == record.outcome.epochs
        found = record.outcome
        assert (found.monitor, found.best_epoch) == (end.monitor, end.best_epoch)
        assert (found.best is None) == (end.best is None)
        assert (found.best or 0.0) == pytest.approx(end.best or 0.0, rel=1e-9)
        assert found.test == pytest.approx(end.test, rel=1e-9)
        assert found.test_at_best == pytest.approx(end.test_at_best, rel=1e-9)


def test_a_kill_after_a_row_has_left_changes_nothing(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")

    class Killed(BaseException):
        pass

    def stop(_: object, epoch: Epoch) -> None:
        if epoch.number == 3:
            raise Killed

    session = session_in(tmp_path / "cut")
    with pytest.raises(Killed):
        session.run(trials(), on_epoch=stop)
    session.journal.close()
    again = run(tmp_path / "cut")
    assert [r.outcome.epochs for r in again] == [5, 1, 5, 5]
    for before, after in zip(whole, again, strict=True):
        assert dataclasses.replace(before.outcome, seconds=0.0) == dataclasses.replace(after.outcome, seconds=0.0)
    records = Records(tmp_path / "cut")
    records.update()
    assert len(records.trials) == 4
    assert not list((tmp_path / "cut" / "checkpoints").glob("*.pt"))


def test_taking_rows_takes_all_that_they_have_come_to() -> None:
    fit = Fit(trials(), trials()[0].dataset())
    next(iter(fit.epochs()))
    part = fit.take([0, 3])
    assert [t.optimizer.keywords["lr"] for t in part.rig.trials] == [0.02, 0.1]
    assert torch.equal(part.rig.state.params, fit.rig.state.params[[0, 3]])
    assert part.history.best == [fit.history.best[0], fit.history.best[3]]
    assert part.history.done == 1


def test_a_trial_that_falls_back_to_a_constant_answer_is_stuck() -> None:
    fit = Fit([trials()[0]], trials()[0].dataset())
    list(fit.epochs())
    assert not fit.finish()[0].stuck
    fit.rig.state.params.zero_()
    fit.rig.trainer = fit.rig.trainer.__class__(epochs=6)
    fit.rig.lifts[0]._rates = [0.0] * 10_000
    list(fit.epochs())
    assert fit.finish()[0].stuck, "its best epoch was good, its last is not"

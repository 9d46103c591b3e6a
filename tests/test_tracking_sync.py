"""MLflow has what the journal says: no gap, no double, whatever was done twice. Real MLflow, by both of its ways."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tracking_lab import FINGERPRINT, Lab, artifacts, assert_mirrors, history, runs

from xentlab import tracking
from xentlab.errors import UserError
from xentlab.journal import MemberEvent, Records, TrialRecord
from xentlab.tracking import sqlite, store
from xentlab.tracking.following import refresh
from xentlab.tracking.keys import all_keys
from xentlab.tracking.sender import Sender
from xentlab.tracking.settings import mlflow_module

# mlflow's own queries use what its SQLAlchemy deprecates; a warning that xentlab causes names another module
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")
pytest_plugins = ("tracking_fixtures",)


@pytest.fixture(params=["tables", "client"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test goes both ways: table by table, and through MLflow's client as to any other store."""
    if request.param == "client":
        monkeypatch.setattr(store, "open_tables", lambda *_: None)
    return str(request.param)


def test_history_without_gaps_or_doubles_after_repeated_syncs(destination: tracking.Destination) -> None:
    lab = Lab(destination.root)
    group = lab.group()
    trials = [lab.trial(group), lab.trial(group)]
    lab.epochs(trials, 1, 4)
    first = tracking.sync(destination)
    assert (first.created, first.points, first.completed) == (3, 16, 0)
    assert_mirrors(destination)
    tracking.sync(destination)
    lab.epochs(trials, 5, 600)  # over the batch limit
    lab.end(trials[0])
    lab.end(trials[1], status="failed", reason="out of memory\n" + "x" * 9000)
    lab.group_end(group)
    last = tracking.sync(destination)
    assert (last.created, last.completed, last.warnings) == (0, 3, [])
    assert_mirrors(destination)
    again = tracking.sync(destination)
    assert (again.points, again.created, again.completed, again.skipped) == (0, 0, 0, 3)
    found = runs(destination)
    failed, parent = found[(trials[1], group)], found[(None, group)]
    assert failed.info.status == "FAILED"
    assert failed.data.tags["reason"].startswith("out of memory\n")
    assert parent.data.tags["mlflow.note.content"] == "## Verdict"
    assert parent.data.metrics == {"p": 0.01}
    lab.journal.close()


def test_a_run_carries_its_facts(destination: tracking.Destination) -> None:
    lab = Lab(destination.root)
    trial = lab.trial()
    folder = destination.root / "trials" / trial
    (folder / "masks").mkdir(parents=True)
    (folder / "masks" / "0.txt").write_text("mask")
    lab.epochs([trial], 1, 3)
    lab.end(trial, artifacts=f"trials/{trial}")
    lab.journal.close()
    drawn = []

    def render(record: TrialRecord, where: Path) -> None:
        drawn.append(record.id)
        (where / "curves.txt").write_text("picture")

    tracking.sync(destination, render=render)
    run = runs(destination)[(trial, None)]
    expected = {"task": "multiclass", "loss": "focal", "seed": "3", "signature": "f00", "git_commit": "c0ffee"}
    expected |= {"status": "finished", "diverged": "false", "mlflow.user": "ada", "host": os.uname().nodename}
    expected |= {"mlflow.source.name": "xentlab train -m seed=0,1", "mlflow.source.git.commit": "c0ffee"}
    assert expected.items() <= run.data.tags.items()
    assert run.info.run_name == "focal, seed 3"
    assert run.data.params["loss"] == "focal"
    assert history(destination, run, "test/error") == [(0, 0.125, run.info.end_time)]
    assert set(run.data.metrics) == {"val/error", "train/loss", "test/error", "best_epoch", "epochs", "seconds"}
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("digits", FINGERPRINT.removeprefix("sha256:")[:36])
    assert drawn == [trial]
    assert artifacts(destination, run) == {"config.yaml", "curves.txt", "masks"}
    assert artifacts(destination, run, "masks") == {"masks/0.txt"}
    assert (destination.root / "mlflow-artifacts").is_dir()
    records = Records(destination.root)
    records.update()
    assert run.info.end_time == records.trials[trial].end


def test_a_value_that_is_not_finite_is_never_sent(destination: tracking.Destination) -> None:
    lab = Lab(destination.root)
    trial = lab.trial()
    lab.epochs([trial], 1, 2)
    lab.epochs([trial], 3, 4, value=None)
    lab.end(trial)
    lab.journal.close()
    tracking.sync(destination)
    assert_mirrors(destination)
    assert [step for step, _, _ in history(destination, runs(destination)[(trial, None)], "val/error")] == [1, 2]


def test_groups_nest_and_a_reused_trial_is_filed_under_both(destination: tracking.Destination) -> None:
    lab = Lab(destination.root)
    comparison = lab.group(kind="comparison", name="quickstart")
    ce = lab.group(kind="loss", name="ce", parent=comparison)
    mse = lab.group(kind="loss", name="mse", parent=comparison)
    shared, alone = lab.trial(ce), lab.trial(mse)
    lab.journal.append(MemberEvent(mse, shared))
    lab.epochs([shared, alone], 1, 2)
    for trial in (shared, alone):
        lab.end(trial)
    for group in (ce, mse, comparison):
        lab.group_end(group)
    lab.journal.close()
    tracking.sync(destination)
    assert_mirrors(destination)
    found = runs(destination)
    parents = {key: run.data.tags.get("mlflow.parentRunId") for key, run in found.items()}
    assert parents == {
        (None, comparison): None,
        (None, ce): found[(None, comparison)].info.run_id,
        (None, mse): found[(None, comparison)].info.run_id,
        (shared, ce): found[(None, ce)].info.run_id,
        (shared, mse): found[(None, mse)].info.run_id,
        (alone, mse): found[(None, mse)].info.run_id,
    }


def test_a_trial_reused_later_gets_a_second_run_and_keeps_its_first(destination: tracking.Destination) -> None:
    lab = Lab(destination.root)
    trial = lab.trial()
    lab.epochs([trial], 1, 2)
    lab.end(trial)
    tracking.sync(destination)
    group = lab.group()
    lab.journal.append(MemberEvent(group, trial))
    lab.group_end(group)
    lab.journal.close()
    tracking.sync(destination)
    found = runs(destination)
    assert set(found) == {(trial, None), (None, group), (trial, group)}
    assert history(destination, found[(trial, group)], "val/error") == history(
        destination, found[(trial, None)], "val/error"
    )


def test_a_long_value_is_cut_in_the_params_and_whole_in_the_config(destination: tracking.Destination) -> None:
    lab = Lab(destination.root)
    trial = lab.trial(config={"text": "x" * 7000, **{f"knob{i}": i for i in range(250)}})
    lab.epochs([trial], 1, 1)
    lab.end(trial)
    lab.journal.close()
    assert tracking.sync(destination).warnings == []
    run = runs(destination)[(trial, None)]
    assert len(run.data.params) == 251
    assert len(run.data.params["text"]) == 6000
    client = mlflow_module().MlflowClient(tracking_uri=destination.uri)
    assert "x" * 7000 in Path(client.download_artifacts(run.info.run_id, "config.yaml")).read_text()


def test_a_run_taken_up_by_a_later_session_goes_on(destination: tracking.Destination) -> None:
    first = Lab(destination.root)
    trial = first.trial()
    first.epochs([trial], 1, 3)
    first.journal.close()
    tracking.sync(destination)
    assert runs(destination)[(trial, None)].info.status == "KILLED"
    second = Lab(destination.root)
    second.trial(trial=trial)
    second.epochs([trial], 3, 5, value=9.0)
    tracking.sync(destination)
    assert runs(destination)[(trial, None)].info.status == "RUNNING"
    second.end(trial)
    second.journal.close()
    tracking.sync(destination)
    assert_mirrors(destination)
    assert len(history(destination, runs(destination)[(trial, None)], "val/error")) == 5


def test_a_run_that_its_user_deleted_stays_deleted(destination: tracking.Destination) -> None:
    lab = Lab(destination.root)
    trials = [lab.trial(), lab.trial()]
    lab.epochs(trials, 1, 2)
    tracking.sync(destination)
    client = mlflow_module().MlflowClient(tracking_uri=destination.uri)
    client.delete_run(runs(destination)[(trials[0], None)].info.run_id)
    for trial in trials:
        lab.end(trial)
    lab.journal.close()
    assert tracking.sync(destination).warnings == []
    assert set(runs(destination)) == {(trials[1], None)}


def test_a_deleted_experiment_is_one_sentence(destination: tracking.Destination) -> None:
    lab = Lab(destination.root)
    lab.epochs([lab.trial()], 1, 1)
    lab.journal.close()
    tracking.sync(destination)
    client = mlflow_module().MlflowClient(tracking_uri=destination.uri)
    client.delete_experiment(client.get_experiment_by_name("lab").experiment_id)
    with pytest.raises(UserError, match=r"got 'lab': restore it with `mlflow experiments restore"):
        tracking.sync(destination)


def test_a_picture_that_fails_keeps_no_number_back(destination: tracking.Destination) -> None:
    lab = Lab(destination.root)
    trial = lab.trial()
    (destination.root / trial).mkdir()
    lab.epochs([trial], 1, 2)
    lab.end(trial, artifacts=trial)
    lab.journal.close()

    def render(record: TrialRecord, where: Path) -> None:
        raise ZeroDivisionError(f"{record.label} in {where.name}")

    (warning,) = tracking.sync(destination, render=render).warnings
    assert "could not be drawn: ZeroDivisionError" in warning
    assert_mirrors(destination)


def test_an_empty_journal_makes_no_database(tmp_path: Path) -> None:
    destination = tracking.resolve_destination(None, "lab", tmp_path)
    assert tracking.sync(destination) == tracking.SendReport()
    assert list(tmp_path.iterdir()) == []


def test_a_send_that_breaks_off_between_two_batches_is_made_up_for(
    destination: tracking.Destination, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(destination.root)
    trial = lab.trial()
    lab.epochs([trial], 1, 1300)
    lab.journal.close()
    records = Records(destination.root)
    refresh(records)
    sender = Sender(destination)
    calls = list[int]()

    def count(points: int) -> None:
        calls.append(points)
        if len(calls) == 2:
            raise sqlite3.OperationalError("database is locked")

    if way == "client":
        client = mlflow_module().MlflowClient
        log_batch = client.log_batch

        def breaks_off(self: Any, run: str, metrics: Sequence[Any] = (), **others: Any) -> None:
            if metrics:
                count(len(metrics))
            log_batch(self, run, metrics=metrics, **others)

        monkeypatch.setattr(client, "log_batch", breaks_off)
    else:
        write = sqlite.Tables._write

        def breaks_off_too(self: Any, connection: Any, change: Any) -> None:
            if change.points:
                count(len(change.points))
            write(self, connection, change)

        monkeypatch.setattr(sqlite, "ROWS", 1000)
        monkeypatch.setattr(sqlite.Tables, "_write", breaks_off_too)
    with pytest.raises(tracking.Unreachable, match="database is locked"):
        list(sender.send(records, all_keys(records)))
    assert sender.pending(records, all_keys(records)) == 2 * (1300 - 499)
    list(sender.send(records, all_keys(records)))
    assert calls == [1000, 1000, 1000, 602]
    assert_mirrors(destination)


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to have a header of its own" * 20)
    lab = Lab(tmp_path)
    lab.epochs([lab.trial()], 1, 1)
    lab.journal.close()
    with pytest.raises(UserError, match="must name a sqlite database"):
        tracking.sync(tracking.resolve_destination(None, "lab", tmp_path))

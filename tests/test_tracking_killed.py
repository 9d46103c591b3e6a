"""Killed, twice, at once: MLflow still has every point once."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tracking_lab import Lab, a_small_lab, assert_mirrors, history, run_script, runs

from xentlab import tracking

# mlflow's own queries use what its SQLAlchemy deprecates; a warning that xentlab causes names another module
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")
pytest_plugins = ("tracking_fixtures",)


MORTAL = """
import os, signal, sys
from pathlib import Path
from xentlab import tracking
from xentlab.tracking import sender, sqlite, store
from xentlab.tracking.settings import mlflow_module
if sys.argv[2] == "client":
    store.open_tables = lambda *_: None
    client = mlflow_module().MlflowClient
    mlflow_module("mlflow.store.tracking.sqlalchemy_store"), mlflow_module("mlflow.store.db.utils")
    names = ("create_experiment", "create_run", "log_batch", "log_inputs", "set_terminated")
    numbers = (1, 2.5, 3, 3.5, 4, 2.5, 3, 4, 5, 6, 2.5, 4)
else:
    client, sender.TOGETHER = sqlite.Tables, 1
    names = ("search", "create", "_write", "write")
    numbers = (2, 2.5, 3, 2.5, 4, 3, 3.5, 4, 5, 5.5, 6, 4)
destination = tracking.resolve_destination(None, "lab", Path(sys.argv[1]))
left = 0

def mortal(method):
    def call(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(*args, **kwargs)
        if left == 0.5:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

for name in names:
    setattr(client, name, mortal(getattr(client, name)))
kills = 0
for number in numbers:  # the half ones die right after their call
    child = os.fork()
    if child == 0:
        left = number
        tracking.sync(destination)
        os._exit(0)
    kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
print(kills)
"""

AT_ONCE = """
import os, sys
from pathlib import Path
from xentlab import tracking
from xentlab.tracking.settings import mlflow_module
mlflow_module("mlflow.store.tracking.sqlalchemy_store")
destination = tracking.resolve_destination(None, "lab", Path(sys.argv[1]))
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        report = tracking.sync(destination)
        os._exit(len(report.warnings))
    children.append(child)
print(sum(os.waitpid(child, 0)[1] for child in children))
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["tables", "client"])
def test_a_sender_killed_at_any_write_and_started_again_leaves_no_gap_and_no_double(
    destination: tracking.Destination, way: str
) -> None:
    if way == "tables":  # which has an experiment already
        tracking.sync(destination)
    a_small_lab(destination.root)
    assert int(run_script(MORTAL, destination.root, way)) >= 8
    tracking.sync(destination)
    assert_mirrors(destination)
    for run in runs(destination).values():
        assert len(run.inputs.dataset_inputs) == (1 if "xentlab.trial" in run.data.tags else 0)


@pytest.mark.slow
def test_senders_at_once_make_no_double_even_of_the_database(tmp_path: Path) -> None:
    destination = tracking.resolve_destination(None, "lab", tmp_path)
    a_small_lab(tmp_path)
    assert run_script(AT_ONCE, tmp_path) == "0"
    assert_mirrors(destination)
    for run in runs(destination).values():
        assert len(run.inputs.dataset_inputs) == (1 if "xentlab.trial" in run.data.tags else 0)
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


TRAINER = """
import sys, time
from pathlib import Path
from xentlab.journal import EpochEvent, Journal, TrialEvent
journal = Journal(Path(sys.argv[1]), {}, "xentlab train")
journal.append(TrialEvent("t", "s", "t", {"seed": 1}, {}, resumed=0))
for epoch in range(1, 10_000):
    journal.append(EpochEvent(["t"], epoch, {"val/error": [1 / epoch]}))
    print(journal.session, epoch, flush=True)
    time.sleep(0.02)
"""


def test_a_killed_training_is_followed_to_its_last_epoch(destination: tracking.Destination) -> None:
    said: list[dict[str, Any]] = []
    with subprocess.Popen([sys.executable, "-c", TRAINER, str(destination.root)], stdout=subprocess.PIPE) as trainer:
        assert trainer.stdout is not None
        session = trainer.stdout.readline().split()[0].decode()

        def say(message: dict[str, Any]) -> None:
            said.append(message)
            if message.get("sent", 0) >= 20:
                trainer.send_signal(signal.SIGKILL)

        assert tracking.follow(destination, session, say=say, interval_s=0.1)
    assert said[-1] == {"done": True}
    assert said[-2]["pending"] == 0
    assert_mirrors(destination)
    run = runs(destination)[("t", None)]
    assert run.info.status == "KILLED"
    assert len(history(destination, run, "val/error")) >= 20


def test_a_follower_leaves_the_runs_of_a_living_session_to_that_session(destination: tracking.Destination) -> None:
    mine, other, dead = Lab(destination.root), Lab(destination.root), Lab(destination.root)
    trials = [lab.trial() for lab in (mine, other, dead)]
    for lab, trial in zip((mine, other, dead), trials, strict=True):
        lab.epochs([trial], 1, 2)
    dead.journal.close()
    mine.end(trials[0])
    mine.journal.close()
    assert tracking.follow(destination, mine.journal.session, say=lambda _: None)
    found = runs(destination)
    assert {key[0]: run.info.status for key, run in found.items()} == {trials[0]: "FINISHED", trials[2]: "KILLED"}
    other.journal.close()

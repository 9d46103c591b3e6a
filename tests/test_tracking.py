"""MLflow has what the journal says: no gap, no double, whatever was killed, stopped or done twice. Real MLflow."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from xentlab import tracking
from xentlab.errors import UserError
from xentlab.journal import Journal, Records, TrialRecord, new_id
from xentlab.tracking import content
from xentlab.tracking.passes import refresh
from xentlab.tracking.sender import Sender
from xentlab.tracking.settings import environment, load
from xentlab.tracking.store import _prepare_sqlite

# mlflow's own queries use what its SQLAlchemy deprecates; a warning that xentlab causes names another module
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")

FINGERPRINT = "sha256:" + "0123456789abcdef" * 4
CHILD = """
import argparse, sys, time
from pathlib import Path
from xentlab import tracking
parser = argparse.ArgumentParser()
parser.add_argument("command")
for name in ("--follow", "--root", "--uri", "--experiment"):
    parser.add_argument(name)
args = parser.parse_args()
destination = tracking.resolve(args.uri, args.experiment, Path(args.root))
sys.exit(tracking.serve_follower(destination, args.follow, sys.stdout))
"""


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database, migrated once: each test works on a copy."""
    destination = tracking.resolve(None, "template", tmp_path_factory.mktemp("template"))
    load()
    assert destination.database is not None
    _prepare_sqlite(destination, destination.database)
    return destination.database


@pytest.fixture
def root(tmp_path: Path, migrated: Path) -> Path:
    """An output directory with a database of its own, in a path with spaces."""
    root = tmp_path / "my runs (1)"
    root.mkdir()
    shutil.copy(migrated, root / "mlflow.db")
    return root


@pytest.fixture
def destination(root: Path) -> tracking.Destination:
    return tracking.resolve(None, "lab", root)


class Lab:
    """Writes a journal as a training does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = Journal(
            root, {"git": {"commit": "c0ffee", "diff": None}, "user": "ada"}, "xentlab train -m seed=0,1"
        )

    def group(self, *, kind: str = "sweep", parent: str | None = None, name: str = "a sweep") -> str:
        group = new_id()
        self.journal.append("group", group=group, kind=kind, name=name, parent=parent, params={"budget": 3}, tags={})
        return group

    def trial(self, group: str | None = None, *, trial: str | None = None, config: dict[str, Any] | None = None) -> str:
        trial = trial or new_id()
        tags = {"task": "multiclass", "dataset": "digits", "fingerprint": FINGERPRINT, "loss": "focal", "seed": "3"}
        loss = {"_target_": "xentlab.losses.focal", "_partial_": True, "gamma": 2.0}
        config = config or {"loss": loss, "model": {"_target_": "torch.nn.Linear", "hidden": [100, 50]}, "seed": 3}
        self.journal.append(
            "trial", trial=trial, signature="f00", label="focal, seed 3", config=config, tags=tags, resumed=0
        )
        if group is not None:
            self.journal.append("member", group=group, trial=trial)
        return trial

    def epochs(self, trials: list[str], first: int, last: int, *, value: float | None = 0.5) -> None:
        for epoch in range(first, last + 1):
            rows = [None if value is None else value / epoch + row for row in range(len(trials))]
            self.journal.append("epoch", trials=trials, epoch=epoch, metrics={"val/error": rows, "train/loss": rows})

    def end(self, trial: str, *, status: str = "finished", reason: str = "", artifacts: str | None = None) -> None:
        summary = {"test/error": 0.125, "diverged": False, "best epoch": 2, "curve": [1, 2], "nothing": None}
        self.journal.append("end", trial=trial, status=status, reason=reason, summary=summary, artifacts=artifacts)

    def group_end(self, group: str, *, status: str = "finished") -> None:
        tags = {"mlflow.note.content": "## Verdict"}
        self.journal.append("group_end", group=group, status=status, tags=tags, metrics={"p": 0.01}, artifacts=None)


def runs(destination: tracking.Destination) -> dict[content.Key, Any]:
    """Every run by its identity; that there is one of each is part of it."""
    client = load().MlflowClient(tracking_uri=destination.uri)
    experiment = client.get_experiment_by_name(destination.experiment)
    assert experiment is not None
    found = list(client.search_runs([experiment.experiment_id], max_results=1000))
    by_key = {(run.data.tags.get("xentlab.trial"), run.data.tags.get("xentlab.group")): run for run in found}
    assert len(by_key) == len(found), "a run was made twice"
    return by_key


def history(destination: tracking.Destination, run: Any, metric: str) -> list[tuple[int, float, int]]:
    client = load().MlflowClient(tracking_uri=destination.uri)
    return sorted((p.step, p.value, p.timestamp) for p in client.get_metric_history(run.info.run_id, metric))


def assert_mirrors(destination: tracking.Destination) -> None:
    """MLflow holds every finite point of the journal once, with its time, and the status of every record."""
    records = Records(destination.root)
    records.update()
    records.mark_killed()
    found = runs(destination)
    wanted = set(content.keys(records))
    assert wanted
    assert set(found) == wanted
    for (trial, group), run in found.items():
        record = records.trials[trial] if trial is not None else records.groups[group or ""]
        assert run.info.status == content.STATUS[record.status]
        assert run.info.start_time == record.start
        if record.status != "running":
            assert run.data.tags["xentlab.complete"] == "true"
        if isinstance(record, TrialRecord):
            for name, curve in record.curves.items():
                finite = [(epoch, value, when) for epoch, when, value in curve if value is not None]
                assert history(destination, run, name) == finite
            assert run.data.params == content.params(record.config)


def artifacts(destination: tracking.Destination, run: Any, path: str | None = None) -> set[str]:
    client = load().MlflowClient(tracking_uri=destination.uri)
    return {found.path for found in client.list_artifacts(run.info.run_id, path)}


# ---- what a record looks like -----------------------------------------------------------------------------------


def test_params_have_dotted_keys_and_short_component_names() -> None:
    config = {
        "loss": {"_target_": "xentlab.losses.focal", "_partial_": True, "gamma": 2.0, "base": None},
        "model": {"_target_": "my_package.my_model", "hidden": [100, 50], "norm": True},
        "stages": [{"lr": 0.1}, {"lr": 0.01}],
        "a(b)": "x",
        "..": 1,
    }
    assert content.params(config) == {
        "loss": "focal",
        "loss.gamma": "2.0",
        "loss.base": "null",
        "model": "my_package.my_model",
        "model.hidden": "[100, 50]",
        "model.norm": "true",
        "stages.0.lr": "0.1",
        "stages.1.lr": "0.01",
        "a_b_": "x",
        "_": "1",
    }


def test_a_value_over_the_limit_is_cut_with_a_mark() -> None:
    assert content.cut("x" * 6000, 6000) == "x" * 6000
    short = content.cut("x" * 6001, 6000)
    assert len(short) == 6000
    assert short.endswith("xx ... [cut, 6001 characters in all]")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:////a b/c.db", "sqlite:////a b/c.db"),
        ("sqlite:///c.db", f"sqlite:///{Path.cwd()}/c.db"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("postgresql+psycopg2://u:p@h/db", "postgresql+psycopg2://u:p@h/db"),
        ("databricks", "databricks"),
    ],
)
def test_a_tracking_uri_is_taken_as_it_is_with_absolute_paths(uri: str, expected: str, tmp_path: Path) -> None:
    assert tracking.resolve(uri, "lab", tmp_path).uri == expected


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("ftp://host", "must start with one of sqlite, .*, got 'ftp://host'"),
        ("./mlruns", "must start with one of .* For a folder use sqlite:////"),
        ("file:///mlruns", "For a folder use sqlite:////mlruns/mlflow.db"),
        ("sqlite:///", "must be sqlite:///PATH"),
        ("sqlite:///:memory:", "must be sqlite:///PATH"),
        ("sqlite://relative.db", "must be sqlite:///PATH"),
        ("http://", "must name a host"),
        ("", "must start with one of"),
    ],
)
def test_a_tracking_uri_of_no_known_kind_is_one_sentence(uri: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        tracking.resolve(uri, "lab", tmp_path)


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    destination = tracking.resolve("postgresql://ada:secret@host/db", "lab", tmp_path)
    assert destination.shown == "postgresql://ada:***@host/db"
    assert "secret" not in destination.sync_command


def test_what_others_left_in_the_environment_is_taken_out() -> None:
    left = {"MLFLOW_RUN_ID": "1", "MLFLOW_EXPERIMENT_ID": "2", "_MLFLOW_ACTIVE_MODEL_ID": "3", "HOME": "/root"}
    kept = environment({**left, "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"})
    assert not {"MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "_MLFLOW_ACTIVE_MODEL_ID"} & kept.keys()
    assert (kept["HOME"], kept["MLFLOW_HTTP_REQUEST_TIMEOUT"], kept["MLFLOW_DISABLE_TELEMETRY"]) == (
        "/root",
        "5",
        "true",
    )


def test_the_training_side_imports_no_mlflow() -> None:
    code = "import sys, xentlab.tracking; assert not {'mlflow', 'sqlalchemy', 'requests'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- sync -------------------------------------------------------------------------------------------------------


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
    assert history(destination, run, "test/error") == [(3, 0.125, run.info.end_time)]
    assert set(run.data.metrics) == {"val/error", "train/loss", "test/error", "best epoch"}
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
    lab.journal.append("member", group=mse, trial=shared)
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
    lab.journal.append("member", group=group, trial=trial)
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
    client = load().MlflowClient(tracking_uri=destination.uri)
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
    client = load().MlflowClient(tracking_uri=destination.uri)
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
    client = load().MlflowClient(tracking_uri=destination.uri)
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
    destination = tracking.resolve(None, "lab", tmp_path)
    assert tracking.sync(destination) == tracking.Report()
    assert list(tmp_path.iterdir()) == []


def test_a_send_that_breaks_off_between_two_batches_is_made_up_for(destination: tracking.Destination) -> None:
    lab = Lab(destination.root)
    trial = lab.trial()
    lab.epochs([trial], 1, 1300)
    lab.journal.close()
    records = Records(destination.root)
    refresh(records)
    sender = Sender(destination)
    client = load().MlflowClient
    write, calls = client.log_batch, list[int]()

    def breaks_off(self: Any, run: str, metrics: Sequence[Any] = (), **others: Any) -> None:
        if metrics:
            calls.append(len(metrics))
            if len(calls) == 2:
                raise sqlite3.OperationalError("database is locked")
        write(self, run, metrics=metrics, **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "log_batch", breaks_off)
        with pytest.raises(tracking.Unreachable, match="database is locked"):
            list(sender.send(records, content.keys(records)))
        assert sender.pending(records, content.keys(records)) == 2 * (1300 - 499)
        list(sender.send(records, content.keys(records)))
    assert calls == [1000, 1000, 1000, 602]
    assert_mirrors(destination)


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to have a header of its own" * 20)
    lab = Lab(tmp_path)
    lab.epochs([lab.trial()], 1, 1)
    lab.journal.close()
    with pytest.raises(UserError, match="must name a sqlite database"):
        tracking.sync(tracking.resolve(None, "lab", tmp_path))


# ---- killed, twice, at once ---------------------------------------------------------------------------------------

MORTAL = """
import os, signal, sys
from pathlib import Path
from xentlab import tracking
from xentlab.tracking.settings import load
client = load().MlflowClient
load("mlflow.store.tracking.sqlalchemy_store"), load("mlflow.store.db.utils")
destination = tracking.resolve(None, "lab", Path(sys.argv[1]))
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

names = ("create_experiment", "create_run", "log_batch", "log_inputs", "set_terminated", "log_artifacts", "log_dict")
for name in names:
    setattr(client, name, mortal(getattr(client, name)))
kills = 0
for number in (1, 2.5, 3, 3.5, 4, 2.5, 3, 4, 5, 6, 2.5, 4):  # the half ones die right after their call
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
from xentlab.tracking.settings import load
load("mlflow.store.tracking.sqlalchemy_store")
destination = tracking.resolve(None, "lab", Path(sys.argv[1]))
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        report = tracking.sync(destination)
        os._exit(len(report.warnings))
    children.append(child)
print(sum(os.waitpid(child, 0)[1] for child in children))
"""


def run_script(script: str, *args: str | Path) -> str:
    done = subprocess.run([sys.executable, "-c", script, *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def a_small_lab(root: Path) -> None:
    lab = Lab(root)
    group = lab.group()
    trials = [lab.trial(group), lab.trial(group), lab.trial()]
    lab.epochs(trials, 1, 5)
    for trial in trials[:2]:
        (root / trial).mkdir()
        (root / trial / "model.txt").write_text("weights")
        lab.end(trial, artifacts=trial)
    lab.group_end(group)
    lab.journal.close()


@pytest.mark.slow
def test_a_sender_killed_at_any_write_and_started_again_leaves_no_gap_and_no_double(
    destination: tracking.Destination,
) -> None:
    a_small_lab(destination.root)
    assert int(run_script(MORTAL, destination.root)) >= 8
    tracking.sync(destination)
    assert_mirrors(destination)
    for run in runs(destination).values():
        assert len(run.inputs.dataset_inputs) == (1 if "xentlab.trial" in run.data.tags else 0)


@pytest.mark.slow
def test_senders_at_once_make_no_double_even_of_the_database(tmp_path: Path) -> None:
    destination = tracking.resolve(None, "lab", tmp_path)
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
from xentlab.journal import Journal
journal = Journal(Path(sys.argv[1]), {}, "xentlab train")
journal.append("trial", trial="t", signature="s", label="t", config={"seed": 1}, tags={}, resumed=0)
for epoch in range(1, 10_000):
    journal.append("epoch", trials=["t"], epoch=epoch, metrics={"val/error": [1 / epoch]})
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


# ---- a store that does not answer ---------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_unreachable_store_is_one_warning_and_soon_given_up(tmp_path: Path) -> None:
    destination = tracking.resolve(f"http://127.0.0.1:{free_port()}", "lab", tmp_path)
    lab = Lab(tmp_path)
    lab.epochs([lab.trial()], 1, 2)
    lab.journal.close()
    said: list[dict[str, Any]] = []
    began = time.monotonic()
    arrived = tracking.follow(destination, lab.journal.session, say=said.append, interval_s=0.1, grace_s=1.0)
    assert time.monotonic() - began < 10
    assert not arrived
    (warning,) = [message["warning"] for message in said if "warning" in message]
    assert "xentlab sync --root" in warning
    assert said[-1] == {"done": False}
    with pytest.raises(tracking.Unreachable, match="the journal keeps everything"):
        tracking.sync(destination)


@pytest.mark.slow
def test_a_tracker_feeds_mlflow_while_the_training_goes_on(destination: tracking.Destination) -> None:
    script = destination.root / "cli.py"
    script.write_text(CHILD)
    lab, warnings = Lab(destination.root), list[str]()
    trial = lab.trial()
    tracker = tracking.Tracker(lab.journal, destination, warn=warnings.append, command=(sys.executable, str(script)))
    lab.epochs([trial], 1, 3)
    until = time.monotonic() + 60
    while tracker.sent < 6 and time.monotonic() < until:
        time.sleep(0.05)
    assert runs(destination)[(trial, None)].info.status == "RUNNING"
    lab.epochs([trial], 4, 6)
    lab.end(trial)
    lab.journal.close()
    seen: list[tuple[int, int]] = []
    assert tracker.close(60, progress=lambda sent, pending: seen.append((sent, pending)))
    assert seen[-1] == (14, 0)
    assert warnings == []
    assert_mirrors(destination)


def test_a_tracker_whose_process_fails_says_so(destination: tracking.Destination) -> None:
    lab, warnings = Lab(destination.root), list[str]()
    lab.trial()
    command = (sys.executable, "-c", "raise SystemExit('no such thing')")
    tracker = tracking.Tracker(lab.journal, destination, warn=warnings.append, command=command)
    lab.journal.close()
    assert not tracker.close(30)
    (warning,) = warnings
    assert "ended with code 1 (no such thing)" in warning


# ---- the UI and its health ----------------------------------------------------------------------------------------


def test_the_status_of_a_store(destination: tracking.Destination, tmp_path: Path) -> None:
    nothing = tracking.status(tracking.resolve(None, "lab", tmp_path / "none"))
    assert (nothing["reachable"], nothing["schema"]) == (False, "none yet")
    assert not (tmp_path / "none").exists()
    a_small_lab(destination.root)
    tracking.sync(destination)
    good = tracking.status(destination)
    assert (good["reachable"], good["schema"], good["experiments"], good["runs"]) == (True, "current", 2, 4)
    assert destination.database is not None
    for revision, schema in (("451aebb31d03", "needs migration"), ("ffffffffffff", "newer")):
        with sqlite3.connect(destination.database) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.close()
        assert tracking.status(destination)["schema"] == schema
    dead = tracking.status(tracking.resolve(f"http://127.0.0.1:{free_port()}", "lab", tmp_path))
    assert not dead["reachable"]
    assert dead["problem"]


def test_links_lead_to_the_runs(destination: tracking.Destination) -> None:
    assert tracking.links(destination, address="http://127.0.0.1:5000") == []
    a_small_lab(destination.root)
    tracking.sync(destination)
    (table, _), (sweep, name) = tracking.links(destination, address=tracking.base("127.0.0.1", 5000))
    assert table == "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning"
    assert sweep.startswith("http://127.0.0.1:5000/#/experiments/1/runs/")
    assert name == "the sweep 'a sweep'"


def test_a_server_that_cannot_start_is_one_sentence(destination: tracking.Destination, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"^--port must be free, got \d+ on 127.0.0.1: Address already in use.$"):
            tracking.serve(destination, taken.getsockname()[1])
    with pytest.raises(UserError, match="no runs to show yet"):
        tracking.serve(tracking.resolve(None, "lab", tmp_path / "none"), 5000)
    with pytest.raises(UserError, match="is a server already"):
        tracking.serve(tracking.resolve("http://127.0.0.1:1", "lab", tmp_path), 5000)


@pytest.fixture
def server(tmp_path: Path, migrated: Path) -> tuple[tracking.Destination, int]:
    """What a server on loopback serves: a store of its own, elsewhere."""
    there = tmp_path / "server"
    there.mkdir()
    shutil.copy(migrated, there / "mlflow.db")
    return tracking.resolve(None, "elsewhere", there), free_port()


@pytest.mark.slow
def test_a_server_stopped_midway_and_started_again_gets_every_point(
    tmp_path: Path, server: tuple[tracking.Destination, int]
) -> None:
    store, port = server
    destination = tracking.resolve(tracking.base("127.0.0.1", port), "lab", tmp_path / "here")
    process = tracking.serve(store, port)
    lab = Lab(destination.root)
    trial = lab.trial()
    lab.epochs([trial], 1, 3)
    script = tmp_path / "cli.py"
    script.write_text(CHILD)
    warnings = list[str]()
    try:
        tracker = tracking.Tracker(
            lab.journal, destination, warn=warnings.append, command=(sys.executable, str(script))
        )
        until = time.monotonic() + 60
        while tracker.sent < 6 and time.monotonic() < until:
            time.sleep(0.05)
        assert tracker.sent == 6
        tracking.stop(process)
        lab.epochs([trial], 4, 6)
        while tracker.reachable and time.monotonic() < until:
            time.sleep(0.05)
        assert not tracker.reachable
        lab.epochs([trial], 7, 9)
        process = tracking.serve(store, port)
        lab.end(trial)
        lab.journal.close()
        assert tracking.status(destination)["reachable"]
        while not tracker.reachable and time.monotonic() < until:
            time.sleep(0.05)
        assert tracker.close(60)
        (warning,) = warnings
        assert "xentlab sync" in warning
        assert_mirrors(destination)
    finally:
        tracking.stop(process)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "a worker of the server is left"

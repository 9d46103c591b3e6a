"""A store that does not answer, the process beside the training, the UI and its health."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from tracking_lab import CHILD, Lab, a_small_lab, assert_mirrors, free_port, runs

from xentlab import tracking
from xentlab.config import opening
from xentlab.disk import cache
from xentlab.errors import UserError
from xentlab.tracking.backend import Change, New
from xentlab.tracking.store import _copied, open_store

# mlflow's own queries use what its SQLAlchemy deprecates; a warning that xentlab causes names another module
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")
pytest_plugins = ("tracking_fixtures",)


def test_an_unreachable_store_is_one_warning_and_soon_given_up(tmp_path: Path) -> None:
    destination = tracking.resolve_destination(f"http://127.0.0.1:{free_port()}", "lab", tmp_path)
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
    assert seen[-1] == (16, 0)  # two metrics of six epochs, and four numbers of the end
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
    assert f"send it with `{destination.sync_command}`" in warning


def test_what_is_no_message_of_the_process_is_passed_over(destination: tracking.Destination) -> None:
    lab, warnings = Lab(destination.root), list[str]()
    lab.trial()
    odd = 'import os; os.write(1, b\'{}\\n[1]\\n\\xff\\xfe\\nnull\\n{"sent": 3}\\n{"done": true}\\n\')'
    tracker = tracking.Tracker(lab.journal, destination, warn=warnings.append, command=(sys.executable, "-c", odd))
    lab.journal.close()
    assert tracker.close(30)
    assert warnings == []


def test_a_command_that_ends_before_everything_has_arrived_says_so(
    destination: tracking.Destination, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab(destination.root)
    lab.trial()
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    tracker = tracking.Tracker(lab.journal, destination, warn=opening.warn, command=command)
    lab.journal.close()
    opening._drain(tracker, 0.1)
    said = capsys.readouterr().err
    assert "in the background" in said
    assert destination.sync_command in said
    tracker._process.kill()
    assert not tracker.close(30)
    opening._drain(tracker, 0.1)
    assert "ended with code -9" in capsys.readouterr().err


def test_a_damaged_empty_database_in_the_cache_is_made_anew(
    tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept, whole = cache("mlflow") / f"{version('mlflow')}.db", migrated.read_bytes()
    kept.parent.mkdir(parents=True)
    lab = Lab(tmp_path / "runs")
    destination = tracking.resolve_destination(None, "lab", lab.root)
    page = len(whole) // 2 & ~4095
    for damaged in (b"", whole[:9000], whole[:page] + bytes(8192) + whole[page + 8192 :], b"no database" * 999):
        kept.write_bytes(damaged)
        assert not _copied(kept, tmp_path / "draft.db", destination)
    lab.epochs([lab.trial()], 1, 2)
    lab.journal.close()
    tracking.sync(destination)
    assert_mirrors(destination)
    assert _copied(kept, tmp_path / "draft.db", destination), "the next command finds a sound one"


# ---- the UI and its health ----------------------------------------------------------------------------------------


def test_the_status_of_a_store(destination: tracking.Destination, tmp_path: Path) -> None:
    nothing = tracking.status(tracking.resolve_destination(None, "lab", tmp_path / "none"))
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
        offered = "run `mlflow db upgrade" if schema == "needs migration" else "update mlflow"
        with pytest.raises(UserError, match=f"^.* was written by another version of MLflow: {offered}"):
            tracking.serve(destination, free_port())
    dead = tracking.status(tracking.resolve_destination(f"http://127.0.0.1:{free_port()}", "lab", tmp_path))
    assert not dead["reachable"]
    assert dead["problem"]


def test_a_server_that_cannot_start_is_one_sentence(destination: tracking.Destination, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        taken_by = r"^--port must be free, got \d+ on 127.0.0.1: Address already in use; try --port \d+.$"
        with pytest.raises(UserError, match=taken_by):
            tracking.serve(destination, taken.getsockname()[1])
    with pytest.raises(UserError, match="no runs to show yet"):
        tracking.serve(tracking.resolve_destination(None, "lab", tmp_path / "none"), 5000)
    with pytest.raises(UserError, match="is a server already"):
        tracking.serve(tracking.resolve_destination("http://127.0.0.1:1", "lab", tmp_path), 5000)


@pytest.fixture
def server(tmp_path: Path, migrated: Path) -> tuple[tracking.Destination, int]:
    """What a server on loopback serves: a store of its own, elsewhere."""
    there = tmp_path / "server"
    there.mkdir()
    shutil.copy(migrated, there / "mlflow.db")
    return tracking.resolve_destination(None, "elsewhere", there), free_port()


@pytest.mark.slow
def test_two_that_send_the_same_params_at_once_are_no_trouble(server: tuple[tracking.Destination, int]) -> None:
    """Followers of killed commands and a `sync` may meet: MLflow's server refuses params that came in between."""
    store, port = server
    process = tracking.serve(store, port)
    try:
        destination = tracking.resolve_destination(tracking.base(port), "lab", store.root)
        stores = [open_store(destination) for _ in range(4)]
        made = stores[0].create([New(f"run {k}", 1, {"xentlab.trial": str(k)}) for k in range(30)])
        changes = [Change(run.id, params={f"knob{k}": str(k) for k in range(90)}) for run in made]
        with ThreadPoolExecutor(len(stores)) as pool:
            refused = list(pool.map(lambda each: each.write(changes, lambda *_: None), stores))
        assert refused == [{}] * 4
        assert {len(run.params) for run in stores[0].search()} == {90}
    finally:
        tracking.stop(process)


@pytest.mark.slow
def test_a_server_stopped_midway_and_started_again_gets_every_point(
    tmp_path: Path, server: tuple[tracking.Destination, int]
) -> None:
    store, port = server
    destination = tracking.resolve_destination(tracking.base(port), "lab", tmp_path / "here")
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

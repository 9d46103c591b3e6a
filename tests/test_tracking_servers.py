"""Real servers: MLflow with PostgreSQL behind it, PostgreSQL itself, and MLflow that asks for a password."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_lab import (
    ESCAPED,
    PASSWORD,
    USER,
    WRONG,
    Postgres,
    assert_secret,
    command,
    login,
    mlflow_server,
    needs_postgres,
    needs_users,
    postgres,
    server_with_users,
)
from tracking_lab import Lab, a_small_lab, artifacts, assert_mirrors, free_port, runs

from xentlab import tracking
from xentlab.journal import Records, TrialRecord
from xentlab.tracking import content
from xentlab.tracking.keys import all_keys, record_of
from xentlab.tracking.settings import mlflow_module

# mlflow's own queries use what its SQLAlchemy deprecates; a warning that xentlab causes names another module
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")]
pytest_plugins = ("tracking_fixtures",)

SWEEP = ("train", "-m", "seed=0,1", "trainer.epochs=3", "model.hidden=[8]")
NOTHING = ": 0 points sent, 0 runs made, 0 runs completed\n"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    with postgres() as started:
        yield started


@pytest.fixture(scope="module")
def behind(cluster: Postgres) -> str:
    """The database behind the server; the server makes its tables."""
    return cluster.create()


@pytest.fixture(scope="module")
def server(cluster: Postgres, behind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server"), cluster.uri(behind, driver="+psycopg2")) as address:
        yield address


@pytest.fixture(scope="module")
def guarded(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("guarded")
    shutil.copy(migrated, folder / "mlflow.db")
    with server_with_users(folder, f"sqlite:///{folder / 'mlflow.db'}") as address:
        yield address


def points(destination: tracking.Destination) -> int:
    """How many points the journal asks for."""
    records = Records(destination.root)
    records.update()
    count = 0
    for key in all_keys(records):
        record = record_of(records, key)
        count += len(content.points(record, 0)) if isinstance(record, TrialRecord) else 0
        count += len(content.final_points(record, content.end_time(record, records)))
    return count


def assert_whole(destination: tracking.Destination) -> None:
    """A sweep of two seeds is there: every point, under its parent, with its params and its files."""
    assert_mirrors(destination)
    found = runs(destination)
    assert [run.info.status for run in found.values()] == ["FINISHED"] * 3
    (sweep,) = (run for (trial, _), run in found.items() if trial is None)
    assert sweep.data.tags["xentlab.kind"] == "sweep"
    client, seeds = mlflow_module().MlflowClient(tracking_uri=destination.uri), set[str]()
    for (trial, _), run in found.items():
        if trial is not None:
            assert run.data.tags["mlflow.parentRunId"] == sweep.info.run_id
            assert (run.data.params["loss"], run.data.params["trainer.epochs"]) == ("ce", "3")
            assert run.data.tags["seed"] == run.data.params["seed"]
            seeds.add(run.data.params["seed"])
            local = {file.name for file in (destination.root / "trials" / trial).iterdir()}
            assert artifacts(destination, run) == local >= {"config.yaml", "environment.json", "curves.png"}
            arrived = Path(client.download_artifacts(run.info.run_id, "environment.json"))
            assert arrived.read_bytes() == (destination.root / "trials" / trial / "environment.json").read_bytes()
    assert seeds == {"0", "1"}


def opened(uri: str, here: Path) -> tracking.Destination:
    return tracking.resolve_destination(uri, "xentlab", here / "xentlab-runs")


# ---- PostgreSQL, behind a server and by itself ----------------------------------------------------------------------


@needs_postgres
def test_a_sweep_arrives_over_http_and_once(cluster: Postgres, behind: str, server: str, here: Path) -> None:
    before = cluster.execute("SELECT count(*) FROM metrics", behind)[0][0]
    done = command(here, *SWEEP, f"tracking.uri={server}")
    assert (done.returncode, done.stderr) == (0, "")
    destination = opened(server, here)
    assert_whole(destination)
    wanted = points(destination)
    assert wanted > 2 * 3 * 5
    assert cluster.execute("SELECT count(*) FROM metrics", behind)[0][0] - before == wanted
    everything = "SELECT * FROM metrics ORDER BY run_uuid, key, step, timestamp, value"
    held = cluster.execute(everything, behind)
    again = command(here, "sync", "--uri", server)
    assert (again.returncode, again.stdout, again.stderr) == (0, server + NOTHING, "")
    tracking.sync(destination)
    assert cluster.execute(everything, behind) == held


@needs_postgres
def test_a_sweep_arrives_in_the_database_itself(cluster: Postgres, here: Path) -> None:
    name = cluster.create()
    uri = cluster.uri(name)  # its tables are made on the way
    done = command(here, *SWEEP, f"tracking.uri='{cluster.uri(name, password='')}'", PGPASSWORD=PASSWORD)
    assert (done.returncode, done.stderr) == (0, "")
    destination = opened(uri, here)
    assert_whole(destination)
    assert cluster.execute("SELECT count(*) FROM metrics", name) == [(points(destination),)]
    again = command(here, "sync", "--uri", uri)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == destination.open_uri.replace(":***", "") + NOTHING  # nothing is left of it to be masked
    assert_secret(here, done, again)


@needs_postgres
def test_two_that_begin_at_once_on_an_empty_database_both_arrive(cluster: Postgres, tmp_path: Path) -> None:
    uri, both = cluster.uri(cluster.create()), []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        a_small_lab(tmp_path / name)
        words = ["sync", "--root", name, "--experiment", name, "--uri", uri]
        paths = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        start = [sys.executable, "-m", "xentlab", *words]
        both.append(subprocess.Popen(start, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=paths))
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    for name in ("one", "two"):
        assert_mirrors(tracking.resolve_destination(uri, name, tmp_path / name))


@needs_postgres
@pytest.mark.parametrize("way", ["http", "database"])
def test_texts_that_sqlite_takes_and_postgresql_does_not(
    cluster: Postgres, behind: str, server: str, tmp_path: Path, way: str
) -> None:
    uri = server if way == "http" else cluster.uri(behind)
    destination = tracking.resolve_destination(uri, f"texts-{way}", tmp_path)
    lab = Lab(destination.root)
    name = "sweep " + "loss=ce,bce " * 40
    group = lab.group(name=name)
    trial = lab.trial(group, config={"text": "a\0b"})
    lab.epochs([trial], 1, 2, value=5e-324)
    lab.end(trial, status="failed", reason="an embedded \0 character")
    lab.group_end(group)
    lab.journal.close()
    assert tracking.sync(destination).warnings == []
    found = runs(destination)
    shown = found[(None, group)].info.run_name
    assert len(shown) == 250
    assert shown.endswith(f"[cut, {len(name)} characters in all]")
    assert found[(trial, group)].data.tags["reason"] == "an embedded \\0 character"
    assert found[(trial, group)].data.params["text"] == "a\\0b"
    again = tracking.sync(destination)
    assert (again.points, again.created, again.skipped) == (0, 0, 2)


@needs_postgres
@pytest.mark.parametrize("wrong", ["password", "port"])
def test_a_database_that_refuses_or_is_not_there_is_one_sentence_soon(
    cluster: Postgres, behind: str, here: Path, wrong: str
) -> None:
    a_small_lab(here)
    uri, words = cluster.uri(behind, password=WRONG), "(password authentication failed)"
    if wrong == "port":
        uri, words = cluster.uri(behind).replace(f":{cluster.port}", f":{free_port()}"), "(connection refused)"
    done = command(here, "sync", "--root", ".", "--uri", uri)
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert words in sentence
    assert "the journal keeps everything, send it later with `xentlab sync --root" in sentence
    assert_secret(here, done)


# ---- a server that asks for a user and a password -------------------------------------------------------------------


def assert_refused(sentences: str) -> None:
    (sentence,) = sentences.splitlines()
    assert "the server refused the user name or password" in sentence
    assert "the journal keeps everything, send it later with `xentlab sync --root" in sentence


def assert_unspoken(destination: tracking.Destination) -> None:
    """No password stands among the tags and params of the runs."""
    for run in runs(destination).values():
        for text in (*run.data.tags.values(), *run.data.params.values(), run.info.run_name):
            assert not any(password in text for password in (PASSWORD, ESCAPED, WRONG))


@needs_users
def test_who_knows_the_password_sends_everything(guarded: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = command(here, *SWEEP, f"tracking.uri={guarded}", "tracking.wait=120", **login(PASSWORD))
    assert (done.returncode, done.stderr) == (0, "")
    for name, value in login(PASSWORD).items():
        monkeypatch.setenv(name, value)
    destination = opened(guarded, here)
    assert_whole(destination)
    assert_unspoken(destination)
    assert_secret(here, done)


@needs_users
def test_a_password_that_is_refused_stops_no_training_and_loses_nothing(
    guarded: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = login(WRONG)
    trained = command(here, *SWEEP, f"tracking.uri={guarded}", "tracking.experiment=wrong", **known)
    assert trained.returncode == 0
    assert_refused(trained.stderr)
    assert trained.stdout.count("validation error") == 2
    sync = ("sync", "--uri", guarded, "--experiment", "wrong")
    refused = command(here, *sync, **known)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert_refused(refused.stderr)
    arrived = command(here, *sync, **login(PASSWORD))
    assert (arrived.returncode, arrived.stderr) == (0, "")
    assert "3 runs made, 3 runs completed" in arrived.stdout
    for name, value in login(PASSWORD).items():
        monkeypatch.setenv(name, value)
    destination = tracking.resolve_destination(guarded, "wrong", here / "xentlab-runs")
    assert_whole(destination)
    assert_unspoken(destination)
    assert_secret(here, trained, refused, arrived)


@needs_users
@pytest.mark.parametrize("password", [ESCAPED, WRONG], ids=["right", "wrong"])
def test_a_password_in_the_uri_is_written_nowhere(guarded: str, here: Path, password: str) -> None:
    uri = guarded.replace("//", f"//{USER}:{password}@")
    name = f"uri-{'right' if password == ESCAPED else 'wrong'}"
    done = command(here, *SWEEP, f"tracking.uri='{uri}'", f"tracking.experiment={name}", "tracking.wait=120")
    again = command(here, "sync", "--uri", uri, "--experiment", name)
    assert_secret(here, done, again)
    assert done.returncode == 0
    if password == WRONG:
        assert again.returncode == 2
        assert_refused(done.stderr)
        assert_refused(again.stderr)
        return
    assert done.stderr == ""
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.endswith(NOTHING)
    destination = tracking.resolve_destination(uri, name, here / "xentlab-runs")
    assert_whole(destination)
    assert_unspoken(destination)

"""Table by table: the same rows as MLflow's client writes, and never in a table of another shape."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tracking_lab import Lab, a_small_lab, assert_mirrors, history, runs

from xentlab import tracking
from xentlab.journal import MarkEvent, MemberEvent, Records
from xentlab.tracking import sqlite, store
from xentlab.tracking.backend import Change
from xentlab.tracking.client import Client
from xentlab.tracking.keys import all_keys
from xentlab.tracking.store import open_store

# mlflow's own queries use what its SQLAlchemy deprecates; a warning that xentlab causes names another module
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")
pytest_plugins = ("tracking_fixtures",)

# what two stores call differently: the runs, datasets and edges by their names in the journal, the places of artifacts
QUESTIONS = {
    "runs": """SELECT t.name, r.name, r.source_type, r.source_name, r.entry_point_name, r.user_id, r.status,
               r.start_time, r.end_time, r.source_version, r.lifecycle_stage, r.deleted_time IS NULL,
               replace(r.artifact_uri, r.run_uuid, '') FROM runs r JOIN names t USING (run_uuid)""",
    "tags": """SELECT t.name, g.key, coalesce((SELECT p.name FROM names p WHERE p.run_uuid = g.value), g.value)
               FROM tags g JOIN names t USING (run_uuid)""",
    "params": "SELECT t.name, key, value FROM params JOIN names t USING (run_uuid)",
    "metrics": "SELECT t.name, key, value, timestamp, step, is_nan FROM metrics JOIN names t USING (run_uuid)",
    "latest": "SELECT t.name, key, value, timestamp, step, is_nan FROM latest_metrics JOIN names t USING (run_uuid)",
    "inputs": """SELECT t.name, i.source_type, i.destination_type, d.name, d.digest, d.dataset_source_type,
                 d.dataset_source, d.dataset_schema, d.dataset_profile, g.name, g.value FROM inputs i
                 JOIN datasets d ON d.dataset_uuid = i.source_id JOIN names t ON t.run_uuid = i.destination_id
                 LEFT JOIN input_tags g USING (input_uuid)""",
}


def content_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """All that the store holds about the runs, by their names in the journal."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TEMP TABLE names AS SELECT run_uuid, group_concat(key || value) AS name FROM (SELECT * FROM tags"
            " WHERE key IN ('xentlab.trial', 'xentlab.group') ORDER BY key) GROUP BY run_uuid"
        )
        return {name: sorted(connection.execute(text), key=repr) for name, text in QUESTIONS.items()}


def changed_later(root: Path) -> None:
    """A second session goes on with a killed trial, and takes up another in a new group."""
    first = Lab(root)
    trial, other = first.trial(first.group()), first.trial()
    first.epochs([trial, other], 1, 3)
    first.end(other, status="failed", reason="out of memory")
    first.journal.close()
    second = Lab(root)
    second.trial(trial=trial)
    second.epochs([trial], 3, 6, value=float("1e-300"))
    second.epochs([trial], 7, 7, value=None)
    second.end(trial)
    group = second.group(kind="loss", name="ce")
    second.journal.append(MemberEvent(group, other))
    second.group_end(group)
    second.journal.append(MarkEvent(group, {"name": "renamed", "note": "a note"}), MarkEvent(other, {"place": "trash"}))
    second.journal.close()


@pytest.mark.parametrize(("passes", "way"), [(1, "tables"), (2, "tables"), (2, "client")])
def test_both_ways_write_the_same_rows(destination: tracking.Destination, passes: int, way: str) -> None:
    a_small_lab(destination.root)
    if passes == 2:
        tracking.sync(destination)
    changed_later(destination.root)
    with pytest.MonkeyPatch.context() as patch:
        if way == "client":
            patch.setattr(store, "open_tables", lambda *_: None)
        tracking.sync(destination)
    assert destination.database is not None
    by_tables = content_of(destination.database)
    assert all(by_tables.values())
    with closing(sqlite3.connect(destination.database)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for table in ("latest_metrics", "metrics", "params", "tags", "input_tags", "inputs", "datasets", "runs"):
            connection.execute(f"DELETE FROM {table}")
        connection.commit()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "open_tables", lambda *_: None)
        tracking.sync(destination)
    by_client = content_of(destination.database)
    assert by_tables == by_client


@pytest.mark.parametrize("way", ["tables", "client"])
def test_both_ways_take_a_run_away_and_bring_it_back(
    destination: tracking.Destination, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_small_lab(destination.root)
    tracking.sync(destination)
    if way == "client":
        monkeypatch.setattr(store, "open_tables", lambda *_: None)
    before = content_of(destination.database or Path())
    records = Records(destination.root)
    records.update()
    group = next(iter(records.groups))
    for attempt, (place, stage) in enumerate([("trash", "deleted"), ("trash", "deleted"), ("", "active")]):
        lab = Lab(destination.root)
        lab.journal.append(MarkEvent(group, {"place": place}, attempt))
        lab.journal.close()
        assert tracking.sync(destination).warnings == []
        found = content_of(destination.database or Path())
        assert any(row[10] == stage for row in found["runs"])
        assert ("true" if place else "false") in {row[2] for row in found["tags"] if row[1] == "xentlab.away"}
    # what its trial had of its own in the meantime is away again
    assert [row for row in found["runs"] if row[10] == "active"] == before["runs"]


def test_a_second_way_finds_what_the_first_has_written(destination: tracking.Destination) -> None:
    a_small_lab(destination.root)
    tracking.sync(destination)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "open_tables", lambda *_: None)
        again = tracking.sync(destination)
    assert (again.created, again.points, again.completed, again.warnings) == (0, 0, 0, [])


def test_a_store_that_is_there_is_fed_without_mlflow(destination: tracking.Destination) -> None:
    a_small_lab(destination.root)
    tracking.sync(destination)
    lab = Lab(destination.root)
    trial = lab.trial()
    lab.epochs([trial], 1, 3)
    lab.end(trial)
    lab.journal.close()
    code = (
        "import sys; from pathlib import Path; from xentlab import tracking;"
        "tracking.sync(tracking.resolve_destination(None, 'lab', Path(sys.argv[1])));"
        "assert not {'mlflow', 'sqlalchemy', 'requests'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(destination.root)], check=True)
    assert_mirrors(destination)


@pytest.mark.parametrize(
    "alteration",
    [
        # a column that must be filled, and nobody here knows with what
        ["DROP TABLE input_tags", "CREATE TABLE input_tags (input_uuid, name, value, weight NOT NULL)"],
        ["ALTER TABLE params RENAME COLUMN value TO text"],
        ["DROP TABLE latest_metrics", "CREATE TABLE latest_metrics (key, value, timestamp, step, is_nan, run_uuid)"],
        ["DROP TABLE input_tags"],
    ],
)  # fmt: skip
def test_tables_of_another_shape_are_left_to_mlflows_client(
    destination: tracking.Destination, alteration: list[str]
) -> None:
    a_small_lab(destination.root)
    tracking.sync(destination)
    assert isinstance(open_store(destination), sqlite.Tables)
    assert destination.database is not None
    with closing(sqlite3.connect(destination.database)) as connection:
        for statement in alteration:
            connection.execute(statement)
        connection.commit()
    assert isinstance(open_store(destination), Client)


def test_a_column_that_may_stay_empty_changes_nothing(destination: tracking.Destination) -> None:
    a_small_lab(destination.root)
    tracking.sync(destination)
    assert destination.database is not None
    with closing(sqlite3.connect(destination.database)) as connection:
        connection.execute("ALTER TABLE runs ADD COLUMN later VARCHAR")
        connection.execute("ALTER TABLE tags ADD COLUMN weight INTEGER NOT NULL DEFAULT 1")
        connection.commit()
    assert isinstance(open_store(destination), sqlite.Tables)
    lab = Lab(destination.root)
    lab.epochs([lab.trial()], 1, 2)
    lab.journal.close()
    tracking.sync(destination)
    assert_mirrors(destination)


def test_a_transaction_holds_only_so_many_points(
    destination: tracking.Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "ROWS", 50)
    lab = Lab(destination.root)
    trials = [lab.trial() for _ in range(5)]
    lab.epochs(trials[:4], 1, 20)
    lab.epochs(trials[4:], 1, 70)
    for trial in trials:
        lab.end(trial)
    lab.journal.close()
    assert tracking.sync(destination).points == 2 * (4 * 20 + 70) + 4 * 5
    assert_mirrors(destination)


def test_a_run_deleted_while_it_is_written_is_refused_and_the_others_are_not(
    destination: tracking.Destination,
) -> None:
    lab = Lab(destination.root)
    trials = [lab.trial(), lab.trial()]
    lab.epochs(trials, 1, 2)
    tracking.sync(destination)
    opened = open_store(destination)
    names = [runs(destination)[(trial, None)].info.run_id for trial in trials]
    opened.client().delete_run(names[0])
    landed: list[str] = []
    changes = [Change(name, points=[("late", 0.5, 1, 9)]) for name in names]
    refused = opened.write(changes, lambda run, points: landed.extend([run] * len(points)))
    assert (refused, landed) == ({names[0]: "the run was deleted"}, names[1:])
    records = Records(destination.root)
    records.update()
    assert set(runs(destination)) == {(trials[1], None)} <= set(all_keys(records))
    assert history(destination, runs(destination)[(trials[1], None)], "late") == [(9, 0.5, 1)]
    lab.journal.close()

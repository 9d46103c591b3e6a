"""A local sqlite store, written table by table: many runs in one transaction, and mlflow is not even imported.

Through MLflow's client a run with a hundred points costs some 50 ms, nearly all of it in the objects between the call
and the table; here it costs about one. The rows are those that MLflow's client would have written.

Only tables whose columns are known are written: every column named here must be there, and any other must be able to
stay empty. A database of any other shape goes through MLflow's client.
"""

from __future__ import annotations

import sqlite3
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from xentlab.errors import UserError
from xentlab.journal import now_ms
from xentlab.tracking.backend import Change, Found, Landed, New, Unreachable
from xentlab.tracking.content import MetricPoint

COLUMNS = {
    "experiments": (
        "experiment_id", "name", "artifact_location", "lifecycle_stage", "creation_time", "last_update_time",
    ),
    "runs": (
        "run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id", "status", "start_time",
        "end_time", "source_version", "lifecycle_stage", "artifact_uri", "experiment_id", "deleted_time",
    ),
    "tags": ("key", "value", "run_uuid"),
    "params": ("key", "value", "run_uuid"),
    "metrics": ("key", "value", "timestamp", "run_uuid", "step", "is_nan"),
    "latest_metrics": ("key", "value", "timestamp", "step", "is_nan", "run_uuid"),
    "datasets": (
        "dataset_uuid", "experiment_id", "name", "digest", "dataset_source_type", "dataset_source", "dataset_schema",
        "dataset_profile",
    ),
    "inputs": ("input_uuid", "source_type", "source_id", "destination_type", "destination_id"),
    "input_tags": ("input_uuid", "name", "value"),
}  # fmt: skip
KEYS = {
    "tags": {"key", "run_uuid"},
    "params": {"key", "run_uuid"},
    "metrics": {"key", "timestamp", "step", "run_uuid", "value", "is_nan"},
    "latest_metrics": {"key", "run_uuid"},
    "inputs": {"source_type", "source_id", "destination_type", "destination_id"},
}
OURS = (
    "xentlab.trial", "xentlab.group", "xentlab.session", "xentlab.attempt", "xentlab.state", "xentlab.complete",
    "xentlab.away",
)  # fmt: skip
NAME = 256  # characters of an experiment's, at most
PATIENCE_S = 20.0  # how long another writer is waited for
ROWS = 20_000  # points per transaction


def database_damage(path: Path | None) -> str | None:
    """What sqlite finds wrong with the file of a database; None where it is whole, busy, or not there."""
    if path is None or not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        return None
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter of a sentence that quotes what is damaged
        return str(error) if isinstance(error, sqlite3.Error) else "it is malformed"
    return None if found == "ok" else str(found).replace("\n", " ")


def open_tables(path: Path, experiment: str, location: str | None, client: Callable[[], Any]) -> Tables | None:
    """The experiment's tables, or None where MLflow's client is to be asked: another shape, a deleted experiment.

    Where there is no such experiment it is made, with its artifacts at `location`.
    """
    with reported(path), ExitStack() as until_known:
        # what collects a sender that is done, in whatever thread, closes it too
        opened = sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False)
        connection = until_known.enter_context(closing(opened))
        if not all(_known(connection, table) for table in COLUMNS):
            return None
        connection.execute("PRAGMA journal_mode=WAL")  # readers and writers do not wait for each other
        # a loss of power may cost the latest transactions, never their order: the journal sends them again
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        question = "SELECT experiment_id, artifact_location, lifecycle_stage FROM experiments WHERE name = ?"
        found = connection.execute(question, (experiment,)).fetchall()
        if not found and location is not None and 0 < len(experiment) <= NAME:
            facts = (None, experiment, location, "active", now_ms(), now_ms())
            connection.execute(_insert("experiments", ignore=True), facts)
            found = connection.execute(question, (experiment,)).fetchall()
        if len(found) != 1 or found[0][2] != "active" or not found[0][1] or "?" in found[0][1] or "#" in found[0][1]:
            return None
        until_known.pop_all()
    return Tables(path, connection, found[0][0], found[0][1], client)


def _known(connection: sqlite3.Connection, table: str) -> bool:
    rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
    columns = {name: (bool(required) and default is None) for _, name, _, required, default, _ in rows}
    key = {name for _, name, _, _, _, position in rows if position}
    free = {name for name, needed in columns.items() if not needed}
    return set(COLUMNS[table]) <= set(columns) <= set(COLUMNS[table]) | free and key == KEYS.get(table, key)


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn the errors of sqlite into Unreachable, or a UserError where the file is no database."""
    try:
        yield
    except (sqlite3.OperationalError, sqlite3.IntegrityError) as error:
        raise Unreachable(str(error)) from error
    except sqlite3.DatabaseError as error:
        raise UserError(f"tracking.uri must name a sqlite database, got {path}: {error}.") from error


class Tables:
    """An experiment of a local sqlite store."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, experiment: int, location: str, client: Callable[[], Any]
    ) -> None:
        self._path, self._connection, self._experiment, self._location = path, connection, experiment, location
        self.client = client
        weakref.finalize(self, connection.close)  # a sender keeps its store for as long as it lives

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with reported(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def search(self) -> Iterator[Found]:
        with reported(self._path):
            marks = ", ".join("?" * len(OURS))
            tags: dict[str, dict[str, str]] = {}
            question = f"SELECT run_uuid, key, value FROM tags WHERE key IN ({marks})"
            for run, key, value in self._connection.execute(question, OURS):
                tags.setdefault(run, {})[key] = value
            question = "SELECT run_uuid, status, lifecycle_stage, artifact_uri FROM runs WHERE experiment_id = ?"
            found = self._connection.execute(question, (self._experiment,)).fetchall()
        for run, status, stage, artifacts in found:
            yield Found(run, status, stage == "active", artifacts, tags.get(run, {}))

    def create(self, new: Sequence[New]) -> list[Found]:
        made = []
        runs: list[tuple[Any, ...]] = []
        tags: list[tuple[str, str, str]] = []
        for run in new:
            name = uuid.uuid4().hex
            artifacts = f"{self._location.rstrip('/')}/{name}/artifacts"
            user = run.tags.get("mlflow.user", "unknown")
            runs.append((name, run.name, "UNKNOWN", "", "", user, "RUNNING", run.start, None, "", "active", artifacts,
                         self._experiment, None))  # fmt: skip
            tags += [(key, value, name) for key, value in {**run.tags, "mlflow.runName": run.name}.items()]
            made.append(Found(name, "RUNNING", True, artifacts, run.tags))
        with self._transaction() as connection:
            connection.executemany(_insert("runs"), runs)
            connection.executemany(_insert("tags"), tags)
        return made

    def write(self, changes: Sequence[Change], landed: Landed) -> dict[str, str]:
        refused: dict[str, str] = {}
        waiting = list(changes)
        while waiting:
            part: list[Change] = []
            rows = 0
            while waiting and rows + len(waiting[0].points) <= ROWS:
                rows += len(waiting[0].points)
                part.append(waiting.pop(0))
            if not part:  # one run with more points than a transaction is to hold: its tags stay for the last part
                change = waiting[0]
                head, tail = change.points[:ROWS], change.points[ROWS:]
                part = [Change(change.run, change.status, change.end, change.dataset, change.params, head)]
                waiting[0] = Change(change.run, points=tail, tags=change.tags)
            with self._transaction() as connection:
                deleted = self._deleted(connection, {change.run for change in part})
                for change in part:
                    if change.run not in deleted:
                        self._write(connection, change)
            refused |= dict.fromkeys(deleted, "the run was deleted")
            for change in part:
                if change.run not in deleted:
                    landed(change.run, change.points)
        return refused

    def shelve(self, runs: Sequence[str], *, away: bool) -> None:
        stage, time = ("deleted", now_ms()) if away else ("active", None)
        question = "UPDATE runs SET lifecycle_stage = ?, deleted_time = ? WHERE run_uuid = ?"
        with self._transaction() as connection:
            connection.executemany(question, [(stage, time, run) for run in runs])
            connection.executemany(_UPSERT, [("xentlab.away", str(away).lower(), run) for run in runs])

    def _deleted(self, connection: sqlite3.Connection, runs: set[str]) -> set[str]:
        question = "SELECT lifecycle_stage FROM runs WHERE run_uuid = ?"
        return {run for run in runs if connection.execute(question, (run,)).fetchone() != ("active",)}

    def _write(self, connection: sqlite3.Connection, change: Change) -> None:
        run = change.run
        if change.status is not None:
            connection.execute("UPDATE runs SET status = ? WHERE run_uuid = ?", (change.status, run))
        if change.end is not None:
            connection.execute("UPDATE runs SET end_time = ? WHERE run_uuid = ?", (change.end, run))
        if change.dataset is not None:
            self._write_dataset(connection, run, change.dataset)
        rows = [(key, value, run) for key, value in change.params.items()]
        connection.executemany(_insert("params", ignore=True), rows)  # a param cannot change
        points = [(key, value, time, run, step, False) for key, value, time, step in change.points]
        connection.executemany(_insert("metrics", ignore=True), points)
        latest = [(key, value, time, step, False, run) for key, value, time, step in _latest(change.points)]
        connection.executemany(
            _insert("latest_metrics") + " ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value,"
            " timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan"
            " WHERE (excluded.step, excluded.timestamp, excluded.value)"
            " > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)",
            latest,
        )
        rows = [(key, value, run) for key, value in change.tags.items()]
        connection.executemany(_UPSERT, rows)
        connection.executemany("DELETE FROM tags WHERE key = ? AND run_uuid = ?", [(key, run) for key in change.gone])
        if "mlflow.runName" in change.tags:
            connection.execute("UPDATE runs SET name = ? WHERE run_uuid = ?", (change.tags["mlflow.runName"], run))

    def _write_dataset(self, connection: sqlite3.Connection, run: str, dataset: tuple[str, str, str]) -> None:
        name, digest, source = dataset
        question = "SELECT dataset_uuid FROM datasets WHERE experiment_id = ? AND name = ? AND digest = ?"
        found = connection.execute(question, (self._experiment, name, digest)).fetchone()
        identity = found[0] if found else uuid.uuid4().hex
        if not found:
            facts = (identity, self._experiment, name, digest, "local", source, None, None)
            connection.execute(_insert("datasets"), facts)
        edge = uuid.uuid4().hex
        if connection.execute(_insert("inputs", ignore=True), (edge, "DATASET", identity, "RUN", run)).rowcount:
            connection.execute(_insert("input_tags"), (edge, "mlflow.data.context", "training"))


def _insert(table: str, *, ignore: bool = False) -> str:
    columns = COLUMNS[table]
    word = "INSERT OR IGNORE" if ignore else "INSERT"
    return f"{word} INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


_UPSERT = _insert("tags") + " ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value"


def _latest(points: Sequence[MetricPoint]) -> list[MetricPoint]:
    """The latest point of each name: the greatest by step, then time, then value."""
    latest: dict[str, MetricPoint] = {}
    for point in points:
        known = latest.get(point[0])
        if known is None or (point[3], point[2], point[1]) > (known[3], known[2], known[1]):
            latest[point[0]] = point
    return list(latest.values())

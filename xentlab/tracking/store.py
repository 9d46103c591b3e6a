"""The MLflow store: made where there is none, and opened. `Unreachable` may work later, `Refused` never will.

What can only be mended by hand (a deleted experiment, a file that is no database) is a UserError.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xentlab.disk import cache, written_whole
from xentlab.errors import UserError
from xentlab.journal import now_ms
from xentlab.tracking.backend import Backend, Refused, Unreachable
from xentlab.tracking.client import Client, translated
from xentlab.tracking.files import locked
from xentlab.tracking.settings import DATABASES, Destination, escaped, mlflow_module, without_strays
from xentlab.tracking.sqlite import open_tables

LOCK = 0x78656E74  # a number that no other program is likely to lock


def open_store(destination: Destination) -> Backend:
    """The store with its experiment, both made if there are none.

    A sqlite store of a known shape is written table by table, and mlflow is not imported; any other store through
    MLflow's client.

    Raises:
        Unreachable: the store does not answer, or needs a migration first.
        UserError: the database file is none, or the experiment was deleted.
    """
    path = destination.database
    if path is None:
        return Client(destination, *_open_client(destination))
    _prepare_sqlite(destination, path)

    def client() -> Any:
        return _open_client(destination)[0]

    where = (path, destination.experiment, destination.artifact_location, client)
    opened = open_tables(*where)
    if opened is None:
        pair = _open_client(destination)  # may make the experiment
        opened = open_tables(*where)
    return Client(destination, *pair) if opened is None else opened


def _open_client(destination: Destination) -> tuple[Any, str]:
    """MLflow's client of the store, and the id of the experiment."""
    mlflow = mlflow_module()
    with translated():
        if destination.database is not None:
            mlflow_module("mlflow.store.tracking.sqlalchemy_store")  # it warns of itself where it is imported later
            _speed_up()
        with locked(destination.root / "mlflow.lock"), without_strays(destination.database):
            with _alone(destination):  # it makes the tables where there are none
                client = mlflow.MlflowClient(tracking_uri=destination.uri)
            found = client.get_experiment_by_name(destination.experiment)
            if found is None:
                try:
                    location = destination.artifact_location
                    return client, client.create_experiment(destination.experiment, artifact_location=location)
                except mlflow.exceptions.MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                    found = client.get_experiment_by_name(destination.experiment)  # another host was faster
    if found.lifecycle_stage != "active":
        raise UserError(
            f"tracking.experiment must not be a deleted experiment, got '{destination.experiment}': restore it with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}`, or choose another name."
        )
    return client, found.experiment_id


@contextmanager
def _alone(destination: Destination) -> Iterator[None]:
    """Connect to a database server, which says at once whether it answers, and hold PostgreSQL's lock meanwhile.

    Two processes that make the tables of one empty database fail, wherever they run: their lock is in the database.
    """
    if destination.scheme not in DATABASES or destination.database is not None:
        yield
        return
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(destination.uri, poolclass=sqlalchemy.NullPool)
    except ModuleNotFoundError as error:
        hint = " Install it with `pip install psycopg2-binary`." if destination.scheme == "postgresql" else ""
        raise UserError(
            f"tracking.uri must name a database whose driver is installed, got {destination.open_uri}: {error}.{hint}"
        ) from error
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if destination.scheme == "postgresql":
            connection.execute(sqlalchemy.text(f"SELECT pg_advisory_lock({LOCK})"))  # until the connection ends
        yield


def _prepare_sqlite(destination: Destination, path: Path) -> None:
    try:
        with locked(path.with_name(path.name + ".lock")):
            if not path.exists() or path.stat().st_size == 0:
                _create_sqlite(destination, path)
            with closing(sqlite3.connect(path, timeout=20)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # readers and writers do not wait for each other
    except (OSError, Refused) as error:
        raise Unreachable(f"{path} cannot be written: {error}") from error
    except sqlite3.OperationalError as error:
        raise Unreachable(str(error)) from error
    except sqlite3.DatabaseError as error:
        raise UserError(f"tracking.uri must name a sqlite database, got {path}: {error}.") from error


def _create_sqlite(destination: Destination, path: Path) -> None:
    """Migrate a new database beside its place and move it there: a kill in the middle leaves nothing half-made.

    That takes MLflow 4 s of CPU time, so an empty one of each version is kept in the user's cache, where that can be.
    """
    draft, number = path.with_name(path.name + ".new"), version("mlflow")
    kept = cache("mlflow") / f"{number}.db"
    if not _copied(kept, draft, destination):
        _migrate(destination, draft)
        if "dev" not in number:
            with contextlib.suppress(OSError):
                kept.parent.mkdir(parents=True, exist_ok=True)
                with written_whole(kept) as own:
                    shutil.copyfile(draft, own)
    with open(draft, "rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)


def _copied(kept: Path, draft: Path, destination: Destination) -> bool:
    """Copy an empty database that was made before, if it is sound, and give its only experiment its place."""
    at = f"{destination.artifact_location}/0"
    change = "UPDATE experiments SET artifact_location = ?, creation_time = ?, last_update_time = ?"
    try:
        shutil.copyfile(kept, draft)
        with closing(sqlite3.connect(draft)) as connection, connection:
            sound = connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            return sound and connection.execute(change, (at, now_ms(), now_ms())).rowcount == 1
    except (OSError, sqlite3.Error):  # none yet, or a damaged one, or none that may be read: it is made anew
        return False


def _migrate(destination: Destination, draft: Path) -> None:
    SqlAlchemyStore = mlflow_module("mlflow.store.tracking.sqlalchemy_store").SqlAlchemyStore
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    draft.unlink(missing_ok=True)
    event.listen(Engine, "connect", _without_sync)
    try:
        with translated(), without_strays(draft):
            SqlAlchemyStore("sqlite:///" + escaped(str(draft)), destination.artifact_location).engine.dispose()
    finally:
        event.remove(Engine, "connect", _without_sync)


def _without_sync(connection: Any, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA journal_mode=MEMORY")


def _speed_up() -> None:
    """From now on, this process syncs a sqlite store to disk at WAL's checkpoints only.

    A loss of power then costs the latest writes, never their order: a run whose mark of completeness survives has all
    that came before it, and the journal sends the others again.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "connect", _at_checkpoints):
        event.listen(Engine, "connect", _at_checkpoints)


def _at_checkpoints(connection: Any, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=NORMAL")

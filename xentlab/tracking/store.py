"""The MLflow store: made where there is none, opened, and its errors told apart. Two kinds reach the sender.

`Unreachable`: it does not answer now, and the same may work later. `Refused`: it will never take this run as it is.
What can only be mended by hand (a deleted experiment, a file that is no database) is a UserError.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

from xentlab.errors import UserError
from xentlab.tracking.settings import Destination, load

REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE")


class Unreachable(UserError):  # noqa: N818  it names the state of the store
    """The store does not answer now; sending again later may succeed."""


class Refused(Exception):  # noqa: N818  it names the answer of the store
    """The store will not take this run."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn the errors of mlflow, requests, SQLAlchemy and the file system into Unreachable or Refused."""
    load()
    import requests
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        kind = Refused if error.error_code in REFUSALS else Unreachable
        raise kind(_brief(error)) from error
    except requests.HTTPError as error:
        known = error.response is not None and error.response.status_code < 500
        raise (Refused if known else Unreachable)(_brief(error)) from error
    except (requests.RequestException, sqlalchemy.exc.SQLAlchemyError, sqlite3.OperationalError) as error:
        raise Unreachable(_brief(error)) from error
    except (OSError, sqlite3.IntegrityError) as error:
        raise Refused(_brief(error)) from error


# What an HTTP client wraps in a page of addresses and object names.
_PLAIN = ("Connection refused", "timed out", "Name or service not known", "Connection reset", "Connection aborted")


def _brief(error: Exception, limit: int = 160) -> str:
    text = " ".join(str(error).split())
    plain = next((words for words in _PLAIN if words in text), None)
    if plain is not None:
        return plain.lower()
    return (text if len(text) <= limit else text[:limit] + "...").rstrip(".")


@contextmanager
def locked(path: Path) -> Iterator[IO[str]]:
    """Hold the lock of this file, alone among all processes; yields it open for reading and writing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file


def open_store(destination: Destination) -> tuple[Any, str]:
    """The client of a store and the id of the experiment, both made if there are none.

    Raises:
        Unreachable: the store does not answer, or needs a migration first.
        UserError: the database file is none, or the experiment was deleted.
    """
    mlflow = load()
    with translated():
        if destination.database is not None:
            _prepare_sqlite(destination, destination.database)
        client = mlflow.MlflowClient(tracking_uri=destination.uri)
        with locked(destination.root / "mlflow.lock"):
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


def _prepare_sqlite(destination: Destination, path: Path) -> None:
    try:
        with locked(path.with_name(path.name + ".lock")):
            if not path.exists() or path.stat().st_size == 0:
                _create_sqlite(destination, path)
            _speed_up()
            with closing(sqlite3.connect(path, timeout=20)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # readers and writers do not wait for each other
    except OSError as error:
        raise Unreachable(f"{path} cannot be written: {error}") from error
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise UserError(f"tracking.uri must name a sqlite database, got {path}: {error}.") from error


def _create_sqlite(destination: Destination, path: Path) -> None:
    """Migrate a new database beside its place and move it there: a kill in the middle leaves nothing half-made."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    event.listen(Engine, "connect", _without_sync)
    try:
        SqlAlchemyStore(f"sqlite:///{draft}", destination.artifact_location).engine.dispose()
    finally:
        event.remove(Engine, "connect", _without_sync)
    with open(draft, "rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)


def _without_sync(connection: Any, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


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

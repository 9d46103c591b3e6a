"""The UI and the health of a store: what `xentlab ui` and `xentlab doctor` ask."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from xentlab.errors import UserError
from xentlab.tracking.backend import Refused, Unreachable
from xentlab.tracking.client import translated
from xentlab.tracking.settings import DATABASES, Destination, escaped, mlflow_environment, mlflow_module
from xentlab.tracking.sqlite import database_damage
from xentlab.tracking.tracker import last_line

HOST = "127.0.0.1"
START_S = 90.0  # a server takes about 10 s to start; a busy machine takes longer
PATIENCE_S = 5.0  # what it gets to end


def status(destination: Destination) -> dict[str, Any]:
    """How a store is, without making or changing anything.

    Returns:
        `uri` (without its password), `reachable`, `problem` (one phrase, or empty), `schema` (current, needs migration,
        newer, unknown, or none yet), and `experiments` and `runs` (counts, None if unknown).
    """
    facts: dict[str, Any] = {"uri": destination.open_uri, "reachable": False, "problem": "", "schema": "unknown"}
    facts |= {"experiments": None, "runs": None}
    path = destination.database
    if path is not None and not path.exists():
        return {**facts, "schema": "none yet", "problem": f"no database yet; the first run makes {path}"}
    if (damage := database_damage(path)) is not None:
        return {**facts, "problem": damage}
    try:
        with translated():
            if destination.scheme in DATABASES:
                return {**facts, **_database_status(destination)}
            return {**facts, **_server_status(destination)}
    except (Unreachable, Refused) as error:
        return {**facts, "problem": str(error)}


def _database_status(destination: Destination) -> dict[str, Any]:
    import sqlalchemy

    db = mlflow_module("mlflow.store.db.utils")
    engine = sqlalchemy.create_engine(destination.uri)
    try:
        tables = set(sqlalchemy.inspect(engine).get_table_names())
        if "runs" not in tables:
            return {"reachable": True, "schema": "none yet", "problem": "the database has no MLflow tables yet"}
        schema = _schema(db, db._get_schema_version(engine))
        active = "SELECT count(*) FROM {} WHERE lifecycle_stage = 'active'"
        with engine.connect() as connection:
            count = {
                name: connection.execute(sqlalchemy.text(active.format(name))).scalar_one()
                for name in ("experiments", "runs")
            }
    finally:
        engine.dispose()
    upgrade = f"run `mlflow db upgrade {destination.open_uri}` after a backup"
    problem = {"current": "", "needs migration": upgrade, "newer": "update mlflow"}[schema]
    return {"reachable": True, "schema": schema, "problem": problem, **count}


def _schema(db: Any, revision: str | None) -> str:
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    script = ScriptDirectory.from_config(db._get_alembic_config(""))
    if revision in script.get_heads():
        return "current"
    try:
        return "needs migration" if revision is None or script.get_revision(revision) else "newer"
    except CommandError:  # a revision that this mlflow has never heard of
        return "newer"


def _server_status(destination: Destination) -> dict[str, Any]:
    client = mlflow_module().MlflowClient(tracking_uri=destination.uri)
    experiments = [found.experiment_id for found in _pages(client.search_experiments)]
    runs = sum(1 for _ in _pages(client.search_runs, experiments)) if experiments else 0
    return {"reachable": True, "schema": "current", "experiments": len(experiments), "runs": runs}


def _pages(search: Any, *args: Any) -> Any:
    token = None
    while True:
        page = search(*args, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def serve(destination: Destination, port: int) -> subprocess.Popen[bytes]:
    """Start MLflow's UI over a database store and wait until it answers.

    Returns:
        The server's process; end it with `stop`.

    Raises:
        UserError: the store is a server already, has no database yet or one of another version, the port is taken, or
            the server does not start.
    """
    if destination.scheme not in DATABASES:
        raise UserError(f"tracking.uri is a server already: open {destination.open_uri} in a browser.")
    if destination.database is not None and not destination.database.exists():
        raise UserError(
            f"There are no runs to show yet: {destination.database} does not exist. Run `xentlab compare "
            f"comparison=quickstart`, or name another output directory with --root."
        )
    schema, problem = (status(destination)[key] for key in ("schema", "problem"))
    if schema in ("needs migration", "newer"):
        raise UserError(f"{destination.open_uri} was written by another version of MLflow: {problem}.")
    if not 1 <= port <= 65535:
        raise UserError(f"--port must be in [1, 65535], got {port}.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"--port must be free, got {port} on {HOST}: {error.strerror}; try --port {port + 1}."
            ) from error
    database = destination.database  # by its name alone: MLflow makes the folders that an escaped path seems to name
    where = destination.root if database is None else database.parent
    uri = destination.uri if database is None else "sqlite:///" + escaped(database.name)
    options = ["--backend-store-uri", uri, "--default-artifact-root", str(destination.artifact_location)]
    log = destination.root / "mlflow-server.log"
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *options, "--host", HOST, "--port", str(port), "--workers", "1"],
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=where, env=mlflow_environment(os.environ),
            start_new_session=True,  # it starts workers of its own: `stop` ends the whole group
        )  # fmt: skip
    until = time.monotonic() + START_S
    try:
        while not _answers(f"{base(port)}/health"):
            if process.poll() is not None:
                raise UserError(f"The MLflow server did not start: {last_line(log)} (all of it in {log}).")
            if time.monotonic() > until:
                raise UserError(f"The MLflow server did not answer within {START_S:.0f} s: see {log}.")
            time.sleep(0.1)
    except BaseException:
        stop(process)
        raise
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server that `serve` has started, with its workers; at once where the user asks again."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(PATIENCE_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue
    process.wait()


def base(port: int) -> str:
    """The address of a server on this machine."""
    return f"http://{HOST}:{port}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False

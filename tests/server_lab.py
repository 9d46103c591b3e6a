"""What the tests of tracking servers share: a PostgreSQL of their own, and `mlflow server` as its users start it."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tracking_lab import free_port

from xentlab import tracking
from xentlab.tracking.server import _answers
from xentlab.tracking.settings import mlflow_environment

USER = "ada"
PASSWORD = "s3cr3t:of w@rds"  # with all that a URI must escape
ESCAPED = "s3cr3t%3Aof%20w%40rds"
WRONG = "gu3ss3d"
START_S = 120.0


def postgres_program(name: str) -> str | None:
    """One of PostgreSQL's programs; some packages keep them off the path."""
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(beside[-1]) if beside else None)


def lacking(*modules: str, programs: tuple[str, ...] = ()) -> str:
    """Why a test that needs these cannot run here; empty where it can."""
    missing = [name for name in programs if postgres_program(name) is None]
    missing += [name for name in modules if importlib.util.find_spec(name) is None]
    return f"{', '.join(missing)} not installed here" if missing else ""


POSTGRES_LACKS = lacking("psycopg2", programs=("initdb", "postgres"))
USERS_LACK = lacking("flask_wtf")


@dataclass
class Postgres:
    """A cluster of databases on loopback. Whoever comes over the network must know the password."""

    port: int
    made: int = 0

    def uri(self, database: str, *, password: str = ESCAPED, driver: str = "") -> str:
        return f"postgresql{driver}://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        import psycopg2

        with_password = {"user": USER, "password": PASSWORD, "host": "127.0.0.1", "port": self.port}
        connection = psycopg2.connect(dbname=database, **with_password)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def create(self, *, like: str = "template1") -> str:
        """A new database, empty or a copy; returns its name."""
        self.made += 1
        name = f"lab{self.made}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {like}")
        return name


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Start PostgreSQL in a folder of its own, as another user where this one is root, which it refuses."""
    initdb, program = postgres_program("initdb"), postgres_program("postgres")
    assert initdb is not None
    assert program is not None
    folder, port = Path(tempfile.mkdtemp(prefix="xentlab-pg-")), free_port()
    (folder / "password").write_text(PASSWORD)
    who: dict[str, Any] = {"cwd": folder, "stdin": subprocess.DEVNULL}
    if os.geteuid() == 0:
        owner = next(user for user in pwd.getpwall() if user.pw_name in ("postgres", "nobody"))
        for path in (folder, folder / "password"):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        who |= {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    log = folder / "log"
    process: subprocess.Popen[bytes] | None = None
    try:
        with open(log, "wb") as stream:
            who |= {"stdout": stream, "stderr": stream}
            begun = [initdb, "-D", "data", "-U", USER, "-A", "scram-sha-256", "--pwfile=password", "-N", "-E", "UTF8"]
            assert subprocess.run(begun, check=False, **who).returncode == 0, log.read_text()
            options = ["-p", str(port), "-c", "unix_socket_directories=", "-c", "fsync=off", "-h", "127.0.0.1"]
            process = subprocess.Popen([program, "-D", "data", *options], **who)
        cluster, deadline = Postgres(port), time.monotonic() + START_S
        while not _takes(cluster):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield cluster
    finally:
        if process is not None:
            process.send_signal(signal.SIGQUIT)  # at once, whoever is still connected
            process.wait(30)
        shutil.rmtree(folder)


def _takes(cluster: Postgres) -> bool:
    import psycopg2

    try:
        cluster.execute("SELECT 1")
    except psycopg2.OperationalError:
        return False
    return True


@contextmanager
def mlflow_server(folder: Path, store: str, *options: str, **more: str) -> Iterator[str]:
    """`mlflow server` over a store, with the artifacts sent through it; yields its address."""
    port = free_port()
    address, log = tracking.base(port), folder / "server.log"
    where = ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *where, "--port", str(port), "--workers", "1", *options],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd=folder,
            env={**mlflow_environment(os.environ), **more},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_S
        while not _answers(f"{address}/health"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield address
    finally:
        tracking.stop(process)


@contextmanager
def server_with_users(folder: Path, store: str) -> Iterator[str]:
    """`mlflow server --app-name basic-auth`, which knows one user; yields its address."""
    users = folder / "users.ini"
    where = f"sqlite:///{folder / 'users.db'}"
    settings = ["default_permission = READ", f"database_uri = {where}", f"admin_username = {USER}"]
    # who has shown the password need not for a while: else each call costs the server a fifth of a second
    users.write_text("\n".join(["[mlflow]", *settings, "auth_cache_ttl_seconds = 60"]))
    known = {"MLFLOW_AUTH_CONFIG_PATH": str(users), "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD}
    with mlflow_server(
        folder, store, "--app-name", "basic-auth", MLFLOW_FLASK_SERVER_SECRET_KEY="not a secret here", **known
    ) as address:
        yield address


def command(here: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command line in a directory, with these variables and no user and password beside them."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_TRACKING_")}
    paths = os.pathsep.join(p for p in sys.path if p)
    return subprocess.run(
        [sys.executable, "-m", "xentlab", *arguments],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, **variables},
    )


def login(password: str) -> dict[str, str]:
    """The variables in which MLflow's clients look for a user."""
    return {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": password}


def assert_secret(here: Path, *done: subprocess.CompletedProcess[str]) -> None:
    """No command has printed a password, and no file that it left holds one."""
    files = [file for file in here.rglob("*") if file.is_file()]
    assert any(file.suffix == ".jsonl" for file in files), "a journal is among them"
    texts = {str(file): file.read_bytes() for file in files}
    texts |= {f"output {i}": (one.stdout + one.stderr).encode() for i, one in enumerate(done)}
    for name, text in texts.items():
        for password in (PASSWORD, ESCAPED, WRONG):
            assert password.encode() not in text, name


needs_postgres = pytest.mark.skipif(bool(POSTGRES_LACKS), reason=POSTGRES_LACKS)
needs_users = pytest.mark.skipif(bool(USERS_LACK), reason=USERS_LACK)

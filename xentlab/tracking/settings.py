"""Where the runs go, and the environment in which MLflow is imported. Nothing here imports mlflow."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import re
import shlex
import urllib.parse
import warnings
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from xentlab.errors import UserError
from xentlab.secrets import without_passwords

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SERVERS = ("http", "https", "databricks")

LIGHT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "PYTHONSAFEPATH": "1",  # of the server's own processes too: the directory that it runs in is no library
    "GIT_PYTHON_REFRESH": "quiet",
}
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}  # the sender tries again itself
USERNAME, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
DATABASE_PASSWORD = "PGPASSWORD"
TRACKING_URI, EXPERIMENT_NAME = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
FOREIGN = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_ACTIVE_MODEL_ID")


@dataclass(frozen=True)
class Destination:
    """An MLflow store and an experiment in it, fed from the journal under `root` (absolute)."""

    uri: str
    experiment: str
    root: Path

    @property
    def scheme(self) -> str:
        return self.uri.partition(":")[0].partition("+")[0]

    @property
    def database(self) -> Path | None:
        """The file of a sqlite store, None for any other store."""
        return Path(urllib.parse.unquote(_sqlite_path(self.uri))) if self.scheme == "sqlite" else None

    @property
    def artifact_location(self) -> str | None:
        """Where a new experiment keeps its artifacts; None where a server decides."""
        return (self.root / "mlflow-artifacts").as_uri() if self.scheme in DATABASES else None

    @property
    def open_uri(self) -> str:
        """The URI without its password."""
        return without_passwords(self.uri)

    @property
    def filed(self) -> list[str]:
        """What a session's opening says of it: the store, nothing for the root's own, and the experiment."""
        return ["" if self.uri == default_uri(self.root) else self.open_uri, self.experiment]

    @property
    def sync_command(self) -> str:
        """The command that sends what is missing."""
        words = ["xentlab", "sync", "--root", str(self.root), "--experiment", self.experiment]
        return shlex.join(words if self.uri == default_uri(self.root) else [*words, "--uri", self.open_uri])


def default_uri(root: Path) -> str:
    """The URI of the sqlite store of an output directory."""
    if "?" in str(root):  # it ends the path of a database URI
        raise UserError(f"output.root must not hold a '?', got {root}.")
    return "sqlite:///" + escaped(str(root.absolute() / "mlflow.db"))


def resolve_destination(uri: str | None, experiment: str | None, root: Path) -> Destination:
    """Check a tracking URI and make its paths absolute; whether the store answers is not asked.

    Args:
        uri: any MLflow tracking URI of a database or a server; None for MLFLOW_TRACKING_URI, or where that is not set
            the sqlite store under `root`.
        experiment: name of the experiment, not empty; None for MLFLOW_EXPERIMENT_NAME, or `xentlab`.

    Raises:
        UserError: the scheme is none that MLflow stores runs in, or the URI lacks its path or host.
    """
    if experiment is None:
        experiment = os.environ.get(EXPERIMENT_NAME) or "xentlab"
    if not experiment.strip():
        raise UserError("tracking.experiment must be a name, got an empty one.")
    root, knob = root.absolute(), "tracking.uri"
    if uri is None:
        if not os.environ.get(TRACKING_URI):
            return Destination(default_uri(root), experiment, root)
        (uri,), knob = hide_passwords([os.environ[TRACKING_URI]]), TRACKING_URI
    shown = without_passwords(uri)
    parts = urllib.parse.urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]
    if scheme == "sqlite":
        path = _sqlite_path(uri)
        if not uri.startswith("sqlite:///") or path in ("", ":memory:"):
            raise UserError(f"{knob} of a sqlite store must be sqlite:///PATH, got {shown}.")
        return Destination(uri.replace(path, str(Path(path).absolute()), 1), experiment, root)
    if scheme in ("http", "https") and not parts.hostname:
        raise UserError(f"{knob} must name a host, got {shown}.")
    if scheme not in (*DATABASES, *SERVERS) and uri != "databricks" and parts.scheme not in _plugin_schemes():
        example = f"sqlite:///{Path(shown.removeprefix('file://')).absolute() / 'mlflow.db'}"
        hint = f" For a folder use {example}." if scheme in ("", "file") else ""
        raise UserError(f"{knob} must start with one of {', '.join((*DATABASES, *SERVERS))}, got '{shown}'.{hint}")
    return Destination(_with_driver(uri), experiment, root)


def _with_driver(uri: str) -> str:
    """Name the driver of a PostgreSQL store: which one a URI without a name means depends on SQLAlchemy's version."""
    rest = uri.removeprefix("postgresql:")
    driver = next((name for name in ("psycopg2", "psycopg") if importlib.util.find_spec(name)), None)
    return uri if rest == uri or driver is None else f"postgresql+{driver}:{rest}"


_GIVEN = re.compile(
    r"(?P<key>\+{0,2}tracking\.uri=['\"]?|--uri=|)(?P<scheme>https?|postgresql(?:\+\w+)?)://"
    r"(?P<user>[^/@:]*):(?P<password>[^/?#]*|[^@]*)@(?P<rest>.*)",
    re.DOTALL,
)


def hide_passwords(arguments: Sequence[str], environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """Take the passwords out of tracking URIs, so that nobody writes them down, and put them where clients look.

    A server's user name and password go to MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, PostgreSQL's password
    to PGPASSWORD; this process and its children find them there. Other databases know no such place: theirs stay.

    Args:
        arguments: of a command line: `tracking.uri=URI`, `--uri=URI` or the URI alone; others are left as they are.
    """

    def hide(argument: str) -> str:
        found = _GIVEN.fullmatch(argument)
        if found is None:
            return argument
        key, scheme, user, rest = found["key"], found["scheme"], found["user"], found["rest"]
        password = urllib.parse.unquote(found["password"])
        if scheme.startswith("http"):
            environment[USERNAME], environment[PASSWORD] = urllib.parse.unquote(user), password
            return f"{key}{scheme}://{rest}"
        if password:  # an empty one leaves the environment's
            environment[DATABASE_PASSWORD] = password
        return f"{key}{scheme}://{user}@{rest}"

    return [hide(argument) for argument in arguments]


def escaped(path: str) -> str:
    """A path in a database's URI: whether `%20` is read as a blank there depends on SQLAlchemy's version."""
    if "%" not in path:
        return path
    from sqlalchemy.engine import make_url

    return path if make_url(f"sqlite:///{path}").database == path else path.replace("%", "%25")


@contextlib.contextmanager
def without_strays(database: Path | None) -> Iterator[None]:
    """Remove the empty folders that MLflow makes where it takes the escaped path of a database for its path."""
    made: list[Path] = []
    if database is not None and (stray := Path(escaped(str(database))).parent) != database.parent:
        made = [folder for folder in (stray, *stray.parents) if not folder.exists()]
    try:
        yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _sqlite_path(uri: str) -> str:
    return uri.removeprefix("sqlite:///").partition("?")[0]


def _plugin_schemes() -> set[str]:
    return {entry.name for entry in metadata.entry_points(group="mlflow.tracking_store")}


def mlflow_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that imports mlflow: quiet, light, and free of a run that someone else began."""
    kept = {key: value for key, value in inherited.items() if key.lstrip("_") not in FOREIGN}
    return {**PATIENCE, **kept, **LIGHT}


@cache
def mlflow_module(module: str = "mlflow") -> Any:
    """Import a module of mlflow, quietly, with the environment set before."""
    wanted = mlflow_environment(os.environ)
    for key in os.environ.keys() - wanted.keys():
        del os.environ[key]
    os.environ.update(wanted)
    with warnings.catch_warnings():
        # mlflow and its dependencies warn about each other on import; none of it is of concern to a user of xentlab
        warnings.simplefilter("ignore")
        loaded = importlib.import_module(module)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # it prints the traceback of whatever a database says; the sender says it in a sentence
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    return loaded

"""Any store, through MLflow's own client: few and large calls, and several runs at once where a server answers them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from xentlab.secrets import without_passwords
from xentlab.tracking.backend import Change, Found, Landed, New, Refused, Unreachable
from xentlab.tracking.content import MetricPoint, clipped
from xentlab.tracking.files import locked
from xentlab.tracking.settings import DATABASES, PASSWORD, USERNAME, Destination, mlflow_module

BATCH = 1000  # params, points and tags per call, MLflow's own limit
SMALL = 100  # params per call, and tags per call, MLflow's own limit
PAGE = 1000  # runs per search
AT_ONCE = 6  # calls that a server gets at the same time; a database gets one after the other
AGAIN = 4  # tries of a call, while another sender writes the same
TWICE = ("IntegrityError", "UniqueViolation")  # how databases say that a row is there already
NAME_LIMIT = 250  # characters of a run's name; sqlite takes more, other databases fail
REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE")


class Client:
    """An experiment of any store."""

    def __init__(self, destination: Destination, client: Any, experiment: str) -> None:
        self._destination, self._client, self._experiment = destination, client, experiment
        self._at_once = 1 if destination.scheme in DATABASES else AT_ONCE

    def client(self) -> Any:
        return self._client

    def search(self) -> Iterator[Found]:
        view = mlflow_module("mlflow.entities").ViewType.ALL
        token: str | None = None
        while True:
            with translated():
                page = self._client.search_runs(
                    [self._experiment], run_view_type=view, max_results=PAGE, page_token=token
                )
            yield from map(_as_found, page)
            token = page.token
            if not token:
                return

    def create(self, new: Sequence[New]) -> list[Found]:
        def make(run: New) -> Found:
            with translated():
                made = self._client.create_run(
                    self._experiment,
                    start_time=run.start,
                    tags=_storable(run.tags),
                    run_name=_storable({"": clipped(run.name, NAME_LIMIT)})[""],
                )
            return _as_found(made)

        mlflow_module("mlflow.entities")
        if self._at_once == 1 or len(new) == 1:
            return [make(run) for run in new]
        with ThreadPoolExecutor(self._at_once) as pool:
            return list(pool.map(make, new))

    def write(self, changes: Sequence[Change], landed: Landed) -> dict[str, str]:
        runs: dict[str, list[Change]] = {}
        for change in changes:
            runs.setdefault(change.run, []).append(change)
        lock = threading.Lock()

        def land(run: str, points: Sequence[MetricPoint]) -> None:
            with lock:
                landed(run, points)

        def bring(run: str) -> None:
            for change in runs[run]:
                self._write(change, land)

        return each({run: partial(bring, run) for run in runs}, self._at_once)

    def shelve(self, runs: Sequence[str], *, away: bool) -> None:
        with translated():
            for run in runs:
                if away:
                    self._client.set_tag(run, "xentlab.away", "true")
                    self._client.delete_run(run)
                else:
                    self._client.restore_run(run)
                    self._client.set_tag(run, "xentlab.away", "false")

    def _write(self, change: Change, landed: Landed) -> None:
        run, entities = change.run, mlflow_module("mlflow.entities")
        if change.status is not None and change.end is not None:
            self._client.set_terminated(run, change.status, change.end)
        elif change.status is not None:
            self._client.update_run(run, status=change.status)
        for name in set(change.gone) & set(self._client.get_run(run).data.tags) if change.gone else ():
            self._client.delete_tag(run, name)
        if change.dataset is not None:
            name, digest, source = change.dataset
            dataset = entities.Dataset(name, digest, source_type="local", source=source)
            context = entities.InputTag("mlflow.data.context", "training")
            # whether a dataset is there already is asked before it is written: no other sender may be in between
            with locked(self._destination.root / "mlflow.lock"):
                self._client.log_inputs(run, datasets=[entities.DatasetInput(dataset, [context])])
        params = [entities.Param(name, value) for name, value in _storable(change.params).items()]
        tags = [entities.RunTag(name, value) for name, value in _storable(change.tags).items()]
        points = list(change.points)
        if len(params) + len(points) + len(tags) <= BATCH and max(len(params), len(tags)) <= SMALL:
            # one call: MLflow's stores write the tags last
            metrics = [entities.Metric(*point) for point in points]
            self._log(run, metrics=metrics, params=params, tags=tags)
            landed(run, points)
            return
        if params:
            self._log(run, params=params)
        for first in range(0, len(points), BATCH):
            batch = points[first : first + BATCH]
            self._log(run, metrics=[entities.Metric(*point) for point in batch])
            landed(run, batch)
        if tags:
            self._log(run, tags=tags)

    def _log(self, run: str, **batch: Any) -> None:
        """Log a batch; again where another sender wrote some of it between MLflow's look and its write."""
        from mlflow.exceptions import MlflowException

        for left in reversed(range(AGAIN)):
            try:
                self._client.log_batch(run, **batch)
                return
            except MlflowException as error:
                if not left or not any(word in str(error) for word in TWICE):
                    raise


def each(work: Mapping[str, Callable[[], None]], at_once: int) -> dict[str, str]:
    """Do what is to be done for each run, so many at a time; returns why which runs were refused."""
    refused: dict[str, str] = {}

    def do(run: str) -> None:
        try:
            with translated():
                work[run]()
        except Refused as error:
            refused[run] = str(error)

    mlflow_module("mlflow.entities")
    if at_once == 1 or len(work) == 1:
        for run in work:
            do(run)
    else:
        with ThreadPoolExecutor(at_once) as pool:
            for _ in pool.map(do, work):
                pass
    return refused


def _storable(texts: Mapping[str, str]) -> dict[str, str]:
    """Texts as every database takes them: PostgreSQL knows no character 0."""
    return {name: text.replace("\0", "\\0") for name, text in texts.items()}


def _as_found(run: Any) -> Found:
    active = run.info.lifecycle_stage == "active"
    return Found(
        run.info.run_id, run.info.status, active, run.info.artifact_uri, run.data.tags, frozenset(run.data.params)
    )


@contextmanager
def translated() -> Iterator[None]:
    """Turn the errors of mlflow, requests, SQLAlchemy and the file system into Unreachable or Refused."""
    mlflow_module()
    import requests
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.get_http_status_code() == 401:
            raise Unreachable(STRANGER) from error
        kind = Refused if error.error_code in REFUSALS else Unreachable
        raise kind(brief(error)) from error
    except requests.HTTPError as error:
        code = 500 if error.response is None else error.response.status_code
        if code == 401:
            raise Unreachable(STRANGER) from error
        raise (Refused if code < 500 else Unreachable)(brief(error)) from error
    except (requests.RequestException, sqlalchemy.exc.SQLAlchemyError, sqlite3.OperationalError) as error:
        raise Unreachable(brief(error)) from error
    except (OSError, sqlite3.IntegrityError) as error:
        raise Refused(brief(error)) from error


STRANGER = f"the server refused the user name or password; they are read from {USERNAME} and {PASSWORD}"

# What an HTTP client wraps in a page of addresses and object names.
_PLAIN = (
    "password authentication failed",
    "no password supplied",
    "Connection refused",
    "timed out",
    "Name or service not known",
    "Connection reset",
    "Connection aborted",
    "database or disk is full",
    "database is locked",
    "attempt to write a readonly database",
    "too many 500 error responses",
    "Remote end closed connection",
)


def brief(error: Exception, limit: int = 160) -> str:
    """The error in one line: what it says, shortened, plain where a library wraps it up, and without passwords."""
    text = without_passwords(" ".join(str(error).partition("[SQL: ")[0].partition("(Background on")[0].split()))
    if "not in a valid JSON format" in text:
        return "what answers there is no MLflow server"
    plain = next((words for words in _PLAIN if words in text), None)
    if plain is not None:
        return plain.lower()
    return (text if len(text) <= limit else text[:limit] + "...").rstrip(".")

"""Artifacts on their way to MLflow while their trial loses its weights: real folders, and a server that takes files."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tracking_lab import Lab, artifacts, assert_mirrors, runs

from xentlab import tracking
from xentlab.run.artifacts import drop_weights
from xentlab.tracking.settings import mlflow_module

# mlflow's own queries use what its SQLAlchemy deprecates; a warning that xentlab causes names another module
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")
pytest_plugins = ("tracking_fixtures",)


@pytest.fixture
def folder(destination: tracking.Destination) -> Path:
    """The artifacts of a trial that has ended; its weights are as yet kept."""
    lab = Lab(destination.root)
    trial = lab.trial()
    folder = destination.root / "trials" / trial
    (folder / "masks").mkdir(parents=True)
    for name in ("best.pt", "config.yaml", "final.pt", "masks/0.txt"):
        (folder / name).write_text(name)
    lab.epochs([trial], 1, 2)
    lab.end(trial, artifacts=f"trials/{trial}")
    lab.journal.close()
    return folder


class Taker(BaseHTTPRequestHandler):
    """Takes files over HTTP; the trial loses its weights as the first one comes in."""

    folder: Path
    taken: dict[str, str]

    def do_PUT(self) -> None:
        drop_weights(self.folder)
        name = self.path.partition("/artifacts/")[2]
        self.taken[name] = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Without a word."""


@pytest.fixture
def server(folder: Path) -> Iterator[ThreadingHTTPServer]:
    handler = type("Here", (Taker,), {"folder": folder, "taken": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_weights_lost_while_they_are_copied_are_left_out(
    destination: tracking.Destination, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def too_late(source: str, target: str) -> None:
        drop_weights(folder)
        link(source, target)

    monkeypatch.setattr(os, "link", too_late)
    report = tracking.sync(destination)
    assert (report.warnings, report.completed) == ([], 1)
    (run,) = runs(destination).values()
    assert artifacts(destination, run) == {"config.yaml", "masks"}
    assert_mirrors(destination)


def test_weights_lost_while_they_are_sent_over_http_are_left_out(
    destination: tracking.Destination, folder: Path, server: ThreadingHTTPServer
) -> None:
    client = mlflow_module().MlflowClient(tracking_uri=destination.uri)
    address = f"http://127.0.0.1:{server.server_port}/somewhere"
    client.create_experiment(destination.experiment, artifact_location=address)
    report = tracking.sync(destination)
    assert (report.warnings, report.completed) == ([], 1)
    (run,) = runs(destination).values()
    assert run.info.artifact_uri.startswith(address)
    assert server.RequestHandlerClass.taken == {name: name for name in ("best.pt", "config.yaml", "masks/0.txt")}  # type: ignore[attr-defined]
    assert not (folder / "final.pt").exists()
    assert_mirrors(destination)

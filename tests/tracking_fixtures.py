"""Fixtures of the tests of tracking: a test module asks for them as a plugin."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from xentlab import tracking
from xentlab.tracking.settings import mlflow_module
from xentlab.tracking.store import _prepare_sqlite


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database, migrated once: each test works on a copy."""
    destination = tracking.resolve_destination(None, "template", tmp_path_factory.mktemp("template"))
    mlflow_module()
    assert destination.database is not None
    _prepare_sqlite(destination, destination.database)
    return destination.database


@pytest.fixture
def root(tmp_path: Path, migrated: Path) -> Path:
    """An output directory with a database of its own, in a path with spaces."""
    root = tmp_path / "my runs (1)"
    root.mkdir()
    shutil.copy(migrated, root / "mlflow.db")
    return root


@pytest.fixture
def destination(root: Path) -> tracking.Destination:
    return tracking.resolve_destination(None, "lab", root)

"""Fixtures of the tests of archives and reproductions: a test module asks for them as a plugin."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
from reproduce_lab import SMALL


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which one small comparison was run and exported to comparison.zip."""
    from xentlab.cli import main

    place = tmp_path_factory.mktemp("made")
    with contextlib.chdir(place):
        assert main(SMALL) == 0
        assert main(["export", "quickstart", "-o", "comparison.zip"]) == 0
    return place


@pytest.fixture
def copy(made: Path, here: Path) -> Path:
    """A copy of that directory's records in the working directory; returns its root."""
    shutil.copytree(made / "xentlab-runs", here / "xentlab-runs")
    return here / "xentlab-runs"

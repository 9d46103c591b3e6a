"""An empty directory to work in, the command line as a function, and one thread, so that workers stay fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

torch.set_num_threads(1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run the command line in an empty directory: `run("train", "loss=ce") -> (exit code, stdout, stderr)`."""
    from xentlab.cli import main

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    assert Path.cwd() == here
    yield call
    GlobalHydra.instance().clear()


@pytest.fixture
def registered(hydra_restore_singletons: None) -> Iterator[None]:  # noqa: ARG001
    """The launcher `stack` is known to Hydra, and nothing of it stays behind."""
    from xentlab.config.launcher import register_launcher

    register_launcher()
    yield
    GlobalHydra.instance().clear()

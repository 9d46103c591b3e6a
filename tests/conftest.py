"""An empty directory to work in, the command line as a function, and one thread, so that workers stay fast."""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

torch.set_num_threads(1)
gc.set_threshold(20_000, 25, 100)  # seldom: a look at all that torch and its friends hold takes a tenth of the tests


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    yield
    if "executor_lab" in sys.modules:
        sys.modules["executor_lab"].end_started()


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


_RECORDED: dict[tuple[str, ...], tuple[tuple[int, str, str], Path]] = {}


@pytest.fixture
def recorded(
    run: Callable[..., tuple[int, str, str]], here: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[int, str, str]]:
    """`run` of a command with which several tests begin: trained once, and what it left is copied to each of them."""

    def call(*arguments: str) -> tuple[int, str, str]:
        assert not list(here.iterdir())
        if arguments not in _RECORDED:
            _RECORDED[arguments] = run(*arguments), tmp_path_factory.mktemp("recorded")
            shutil.copytree(here, _RECORDED[arguments][1], dirs_exist_ok=True)
        else:
            shutil.copytree(_RECORDED[arguments][1], here, dirs_exist_ok=True)
        return _RECORDED[arguments][0]

    return call


@pytest.fixture
def registered(hydra_restore_singletons: None) -> Iterator[None]:  # noqa: ARG001
    """The launcher `stack` is known to Hydra, and nothing of it stays behind."""
    from xentlab.config.launcher import register_launcher

    register_launcher()
    yield
    GlobalHydra.instance().clear()

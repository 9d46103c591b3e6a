"""Hydra's own suites hold for the launcher `stack`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)
from launcher_lab import SUITE, Work, launch

from xentlab.config.compose import config_dir
from xentlab.config.launcher import register_launcher

pytestmark = pytest.mark.usefixtures("registered")


@pytest.mark.parametrize(("launcher_name", "overrides"), [("stack", SUITE)])
class TestStackLauncher(LauncherTestSuite):
    """Hydra's suite for launchers."""


@pytest.mark.parametrize(("launcher_name", "overrides"), [("stack", [*SUITE, "hydra.sweeper.max_batch_size=2"])])
class TestStackLauncherInBatches(BatchedSweeperTestSuite):
    """Hydra's suite for sweepers that launch several times."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [
        (
            {
                "defaults": [
                    {"override hydra/launcher": "stack"},
                    {"override hydra/hydra_logging": "hydra_debug"},
                    {"override hydra/job_logging": "disabled"},
                ]
            },
            ["-m", "--config-dir", str(config_dir())],
        )
    ],
)
class TestStackLauncherIntegration(IntegrationTestSuite):
    """Hydra's suite of programs; each registers the launcher before it begins, as `xentlab train` does."""

    def generate_custom_cmd(self) -> Callable[..., list[str]]:
        begin = (
            "import runpy, sys\nfrom xentlab.config.launcher import register_launcher\nregister_launcher()\n"
            "sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
        )
        return lambda command, _: [command[0], "-c", begin, *command[1:]]


def test_hydra_finds_it_once_however_often_it_is_registered() -> None:
    register_launcher()
    found = [c for c in Plugins.instance().discover(Launcher) if c.__name__ == "StackLauncher"]
    assert [f"{c.__module__}.{c.__name__}" for c in found] == [
        yaml.safe_load((config_dir() / "hydra" / "launcher" / "stack.yaml").read_text())["_target_"]
    ]


def test_plain_jobs_file_and_return_what_the_basic_launcher_does(tmp_path: Path) -> None:
    made = {}
    for name in ("basic", "stack"):
        folder = tmp_path / name
        returns = launch(lambda c: c.foo + c.a, folder, f"hydra/launcher={name}", jobs=(5, 6))
        files = sorted(str(f.relative_to(folder)) for f in folder.rglob("*"))
        texts = {f: (folder / f).read_text() for f in files if f.endswith(".yaml") and "hydra.yaml" not in f}
        made[name] = (
            files,
            texts,
            [(r.cfg, r.overrides, r.return_value, r.status, r.task_name) for r in returns],
            [r.hydra_cfg.hydra.job for r in returns],
        )
    assert made["basic"] == made["stack"]
    assert len(made["stack"][0]) > 8


def test_a_sweeper_in_batches_gets_values_and_a_batch_runs_once_per_launch(
    hydra_sweep_runner: Callable[..., Any], tmp_path: Path
) -> None:
    work = Work()
    sweep = hydra_sweep_runner(
        calling_file=None,
        calling_module="hydra.test_utils.a_module",
        task_function=lambda c: work.promise(c.a),
        config_path="configs",
        config_name="compose",
        overrides=["hydra/launcher=stack", "hydra.sweeper.max_batch_size=2", "+a=0,1,2", *SUITE],
        temp_dir=tmp_path / "sweep",
    )
    with sweep:
        assert sweep.returns is not None
        assert [r.return_value for r in itertools.chain(*sweep.returns)] == [0, 1, 4]
        numbers = [r.hydra_cfg.hydra.job.num for r in itertools.chain(*sweep.returns)]
    assert work.runs == [[0, 1], [2]]
    assert numbers == [0, 1, 2]

"""The launcher `stack`: Hydra's own suites, promises kept after the last job, and the command line with it."""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from xentlab.config.compose import config_dir, run_composed
from xentlab.config.launcher import register
from xentlab.config.loader import RememberingLoader
from xentlab.config.promise import Deferred, run_batches, settled, waiting
from xentlab.errors import UserError

Run = Callable[..., tuple[int, str, str]]

# The suites look into the job's directory as the working directory, which Hydra 1.3 leaves to the user.
SUITE = [f"hydra.searchpath=[file://{config_dir()}]", "hydra.job.chdir=true"]


@pytest.fixture(autouse=True)
def _registered(hydra_restore_singletons: None) -> Iterator[None]:  # noqa: ARG001
    register()
    yield
    GlobalHydra.instance().clear()


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
            "import runpy, sys\nfrom xentlab.config.launcher import register\nregister()\n"
            "sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
        )
        return lambda command, _: [command[0], "-c", begin, *command[1:]]


@dataclass
class Work:
    """A batch that squares the numbers left with it, and refuses some."""

    refused: tuple[int, ...] = ()
    broken: bool = False
    pending: list[int] = field(default_factory=list)
    runs: list[list[int]] = field(default_factory=list)
    squares: dict[int, int] = field(default_factory=dict)

    def defer(self, number: int) -> Deferred:
        self.pending.append(number)
        return Deferred(lambda: self.square(number), self)

    def square(self, number: int) -> int:
        if number in self.refused:
            raise ValueError(f"{number} is refused")
        return self.squares[number]

    def run(self) -> None:
        self.runs.append(self.pending)
        self.pending = []
        if self.broken:
            raise RuntimeError("out of order")
        self.squares.update({number: number**2 for number in self.runs[-1]})


def launcher(task: Callable[[DictConfig], Any], folder: Path, *overrides: str) -> Launcher:
    """The launcher as a sweeper gets it, on Hydra's own small config, with its sweep in `folder`."""
    GlobalHydra.instance().clear()
    hydra = Hydra.create_main_hydra_file_or_module(None, "hydra.test_utils.a_module", "configs", "a_module")
    config = hydra.compose_config(
        config_name="compose",
        overrides=["hydra/launcher=stack", *SUITE, f"hydra.sweep.dir={folder}", *overrides],
        run_mode=RunMode.MULTIRUN,
        with_log_configuration=False,
    )
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config))
    made = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
    assert isinstance(made, Launcher)
    return made


def launch(
    task: Callable[[DictConfig], Any], folder: Path, *overrides: str, jobs: Sequence[int] = range(4)
) -> Sequence[JobReturn]:
    return launcher(task, folder, *overrides).launch([[f"+a={a}"] for a in jobs], 0)


def ends(returns: Sequence[JobReturn]) -> list[Any]:
    """The value of each job, or the text of its exception."""
    return [
        r.return_value if r.status is JobStatus.COMPLETED else f"{r.status.name}: {r._return_value}" for r in returns
    ]


def test_hydra_finds_it_once_however_often_it_is_registered() -> None:
    register()
    found = [c for c in Plugins.instance().discover(Launcher) if c.__name__ == "StackLauncher"]
    assert [f"{c.__module__}.{c.__name__}" for c in found] == [
        yaml.safe_load((config_dir() / "hydra" / "launcher" / "stack.yaml").read_text())["_target_"]
    ]


def test_a_promise_needs_no_hydra() -> None:
    code = (
        "import sys, xentlab.config.promise\nprint(*[m for m in ('hydra', 'omegaconf', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_jobs_that_wait_are_run_together_after_the_last_was_called(tmp_path: Path) -> None:
    work, called = Work(), []

    def task(config: DictConfig) -> Deferred:
        called.append(config.a)
        assert not work.runs
        return work.defer(config.a)

    returns = launch(task, tmp_path)
    assert called == [0, 1, 2, 3]
    assert work.runs == [[0, 1, 2, 3]]
    assert ends(returns) == [0, 1, 4, 9]
    assert [r.overrides for r in returns] == [[f"+a={a}"] for a in range(4)]


def test_plain_results_and_promises_keep_the_order_of_the_jobs(tmp_path: Path) -> None:
    work = Work()
    returns = launch(lambda c: work.defer(c.a) if c.a % 2 else -c.a, tmp_path)
    assert ends(returns) == [0, 1, -2, 9]


def test_a_promise_without_a_batch_is_resolved_at_the_end(tmp_path: Path) -> None:
    called: list[int] = []

    def task(config: DictConfig) -> Deferred:
        called.append(config.a)
        return Deferred(lambda: (config.a, len(called)))

    assert ends(launch(task, tmp_path)) == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_a_job_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    work = Work(refused=(1,))

    def task(config: DictConfig) -> Deferred:
        if config.a == 2:
            raise ValueError("2 cannot begin")
        return work.defer(config.a)

    returns = launch(task, tmp_path)
    assert ends(returns) == [0, "FAILED: 1 is refused", "FAILED: 2 cannot begin", 9]
    assert [r.overrides for r in returns if r.status is JobStatus.FAILED] == [["+a=1"], ["+a=2"]]


def test_a_batch_that_fails_fails_its_own_jobs_only(tmp_path: Path) -> None:
    odd, even = Work(broken=True), Work()
    returns = launch(lambda c: (odd if c.a % 2 else even).defer(c.a), tmp_path)
    assert ends(returns) == [0, "FAILED: out of order", 4, "FAILED: out of order"]
    assert (odd.runs, even.runs) == ([[1, 3]], [[0, 2]])


def test_an_interrupt_ends_the_launch(tmp_path: Path) -> None:
    class Stopped:
        def run(self) -> None:
            raise KeyboardInterrupt

    here, outside = Path.cwd(), HydraConfig.instance().cfg
    with pytest.raises(KeyboardInterrupt):
        launch(lambda _: Deferred(lambda: 0, Stopped()), tmp_path)
    assert settled(Deferred(lambda: 7)) == 7, "no launcher collects promises any more"
    assert Path.cwd() == here
    assert HydraConfig.instance().cfg is outside


def test_a_promise_is_resolved_where_its_job_was_called(tmp_path: Path) -> None:
    here, outside = Path.cwd(), HydraConfig.instance().cfg

    def place() -> tuple[Any, ...]:
        job = HydraConfig.get()
        return Path.cwd().name, job.job.num, job.runtime.output_dir, list(job.overrides.task), os.environ["XENTLAB_A"]

    def task(_: DictConfig) -> Deferred:
        before = place()
        return Deferred(lambda: (before, place()))

    returns = launch(task, tmp_path, "+hydra.job.env_set.XENTLAB_A=${hydra.job.num}")
    wanted = [(str(a), a, str(tmp_path / str(a)), [f"+a={a}"], str(a)) for a in range(4)]
    assert ends(returns) == [(w, w) for w in wanted]
    assert "XENTLAB_A" not in os.environ
    assert Path.cwd() == here
    assert HydraConfig.instance().cfg is outside


def test_callbacks_and_logs_hear_of_the_end_with_the_result(tmp_path: Path) -> None:
    work = Work(refused=(1,))
    launch(
        lambda c: work.defer(c.a),
        tmp_path,
        "+hydra.callbacks.kept._target_=hydra.experimental.callbacks.PickleJobInfoCallback",
        "+hydra.callbacks.said._target_=hydra.experimental.callbacks.LogJobReturnCallback",
    )
    kept = [pickle.loads((tmp_path / str(a) / ".hydra" / "job_return.pickle").read_bytes()) for a in range(4)]
    assert ends(kept) == [0, "FAILED: 1 is refused", 4, 9]
    logs = [(tmp_path / str(a) / "a_module.log").read_text() for a in range(4)]
    assert "ValueError: 1 is refused" in logs[1]
    assert all(f"Succeeded with return value: {a**2}\n" in logs[a] for a in (0, 2, 3))
    assert all(log.count("LogJobReturnCallback") == 1 for log in logs)


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


JOBS = [
    ["loss=ce", "seed=0"],
    ["loss=mse", "seed=0"],
    ["loss=ce", "seed=1", "optimizer=adam", "optimizer.lr=0.3"],
    ["loss=ce", "seed=0"],
    ["loss=compound", "loss.terms={ce: {}}", "+own.key=1", "~trainer.max_stack"],
    ["~schedule", "loss=ce", "trainer.epochs=2"],
    ["loss=ce", "optimizer=adam", "output.root=${loss._target_}"],
]


def test_a_job_is_composed_as_by_hydras_own_loader(here: Path) -> None:  # noqa: ARG001
    """Down to the metadata: flags, types and the text of the whole config, Hydra's node with it."""
    hydra = Hydra.create_main_hydra_file_or_module(None, None, str(config_dir()), "train")
    overrides = ["hydra/launcher=stack", "hydra.sweep.dir=sweep"]
    master = hydra.compose_config("train", overrides, run_mode=RunMode.MULTIRUN, with_log_configuration=False)
    stock = hydra.config_loader
    assert isinstance(stock, ConfigLoaderImpl)
    quick = RememberingLoader(stock)

    def whole(config: DictConfig) -> tuple[Any, ...]:
        flags = [(OmegaConf.is_struct(n), OmegaConf.is_readonly(n), OmegaConf.get_type(n)) for n in nodes(config)]
        return OmegaConf.to_yaml(config), OmegaConf.to_yaml(config.optimizer, resolve=True), flags

    def nodes(config: DictConfig) -> list[DictConfig]:
        inner = [config._get_node(k) for k in config]
        return [config] + [m for n in inner if isinstance(n, DictConfig) and not n._is_none() for m in nodes(n)]

    made: list[DictConfig] = []
    for job in JOBS * 2:
        wanted = whole(stock.load_sweep_config(master, list(job)))
        assert whole(quick.for_job(master, list(job))) == wanted
        looked = quick.load_sweep_config(master, list(job))
        config = quick.for_job(master, list(job))
        assert config is looked
        assert whole(config) == wanted
        assert all(config is not other for other in made)
        made.append(config)
        config.seed, config.optimizer.lr, config.hydra.job.num = 99, 99.0, 99  # a job's own to change


@pytest.mark.parametrize("job", [["loss=cee"], ["optimizer.l=1"], ["loss=ce,mse"], ["loss"]])
def test_what_does_not_compose_is_refused_as_by_hydras_own_loader(here: Path, job: list[str]) -> None:  # noqa: ARG001
    hydra = Hydra.create_main_hydra_file_or_module(None, None, str(config_dir()), "train")
    master = hydra.compose_config("train", [], run_mode=RunMode.MULTIRUN, with_log_configuration=False)
    assert isinstance(hydra.config_loader, ConfigLoaderImpl)
    quick = RememberingLoader(hydra.config_loader)
    quick.for_job(master, ["loss=mse"])
    said = []
    for load in (hydra.config_loader.load_sweep_config, quick.load_sweep_config, quick.for_job):
        with pytest.raises(HydraException) as error:
            load(master, list(job))
        said.append((type(error.value), str(error.value)))
    assert said[0] == said[1] == said[2]


def test_a_sweeper_in_batches_gets_values_and_a_batch_runs_once_per_launch(
    hydra_sweep_runner: Callable[..., Any], tmp_path: Path
) -> None:
    work = Work()
    sweep = hydra_sweep_runner(
        calling_file=None,
        calling_module="hydra.test_utils.a_module",
        task_function=lambda c: work.defer(c.a),
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


def test_without_a_launcher_that_waits_a_promise_is_kept_at_once() -> None:
    work = Work(refused=(3,))
    assert settled("a plain result") == "a plain result"
    assert settled(Deferred(lambda: 5)) == 5
    assert settled(work.defer(2)) == 4
    with pytest.raises(ValueError, match="3 is refused"):
        settled(work.defer(3))
    with waiting():
        promise = work.defer(4)
        assert settled(promise) is promise
    assert work.runs == [[2], [3]]
    assert run_batches([promise, promise, Deferred(lambda: 0)]) == {}
    assert work.runs == [[2], [3], [4]]


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        (["seed=3"], [[3]]),
        (["-m", "hydra/launcher=basic", "seed=1,2"], [[1], [2]]),
        (["-m", "hydra/launcher=stack", "seed=1,2"], [[1, 2]]),
    ],
)
def test_a_job_of_a_command_may_defer_under_any_launcher(
    here: Path, arguments: list[str], runs: list[list[int]]
) -> None:
    work = Work()
    run_composed("train", arguments, lambda config, _: work.defer(config["seed"]))
    assert work.runs == runs
    assert not work.pending
    assert (here / "xentlab-runs" / "sweeps").exists() == ("-m" in arguments)


@pytest.mark.parametrize("name", ["basic", "stack"])
def test_a_jobs_failure_reaches_the_command_after_all_jobs(here: Path, name: str) -> None:  # noqa: ARG001
    called, work = [], Work()

    def job(config: dict[str, Any], _: list[str]) -> Deferred:
        called.append(config["seed"])
        if config["seed"] == 1:
            raise UserError("seed 1 is refused.")
        return work.defer(config["seed"])

    with pytest.raises(UserError, match=r"seed 1 is refused\."):
        run_composed("train", ["-m", f"hydra/launcher={name}", "seed=1,2,3"], job)
    assert called == [1, 2, 3]
    assert sorted(work.squares) == [2, 3]


def test_the_command_line_takes_both_launchers_and_names_them(run: Run, here: Path) -> None:
    words = ("loss=ce,mse", "trainer.epochs=1", "tracking=off")
    ends = {}
    for name in ("basic", "stack"):
        code, out, err = run("train", "-m", f"hydra/launcher={name}", f"output.root={name}", *words)
        assert (code, err) == (0, "")
        ends[name] = [line.partition("test error ")[2].partition(",")[0] for line in out.splitlines()]
        (sweep,) = (here / name / "sweeps").iterdir()
        assert sorted(p.name for p in sweep.iterdir()) == ["0", "1", "multirun.yaml"]
    assert len(ends["basic"]) == 2
    assert all(ends["basic"])
    assert ends["basic"] == ends["stack"]
    code, _, err = run("train", "-m", "hydra/launcher=stac", *words)
    assert (code, err) == (
        2,
        "xentlab: Unknown hydra/launcher 'stac'. Did you mean 'stack'? Available: basic, stack.\n",
    )

"""Sweeps from the command line: each job composed as Hydra composes it, under either launcher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from launcher_lab import Run, Work
from omegaconf import DictConfig, OmegaConf

from xentlab.config.compose import composed, config_dir, run_composed
from xentlab.config.loader import RememberingLoader, one_file
from xentlab.config.promise import Promise
from xentlab.errors import UserError
from xentlab.train import COMPONENTS

pytestmark = pytest.mark.usefixtures("registered")


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
    composed = [whole(stock.load_sweep_config(master, list(job))) for job in JOBS]
    for job, wanted in zip(JOBS * 2, composed * 2, strict=True):
        assert whole(quick.for_job(master, list(job))) == wanted
        looked = quick.load_sweep_config(master, list(job))
        config = quick.for_job(master, list(job))
        assert config is looked
        assert whole(config) == wanted
        assert all(config is not other for other in made)
        made.append(config)
        config.seed, config.optimizer.lr, config.hydra.job.num = 99, 99.0, 99  # a job's own to change


GROUPS = ("augment", "dataset", "model", "regularizer", "optimizer", "schedule", "executor", "tracking")
CHOICES = [[f"{g}={file.stem}"] for g in GROUPS for file in sorted((config_dir() / g).glob("*.yaml"))]
CHOICES += [["loss=custom_ce"], ["loss=ce", "+own=1"], ["~schedule"], ["model.hidden=[3,4]"], ["loss={_target_: a.b}"]]
VALUES = (["seed=1", "optimizer.lr=0.1"], ["seed=null", "optimizer.lr='1e-2'"])
# What hangs on another value or on Hydra is left to Hydra.
LEFT_TO_HYDRA = [
    ["output.root=${dataset.name}"], ["+hydra.job.env_set.A=1"], ["hydra.job.chdir=true"],
    ["output.root=${oc.env:HOME}"], ["hydra/job_logging=default"],
]  # fmt: skip


@pytest.mark.slow
def test_a_plain_job_is_what_hydra_composes(here: Path) -> None:  # noqa: ARG001
    hydra = Hydra.create_main_hydra_file_or_module(None, None, str(config_dir()), "train")
    master = hydra.compose_config(
        "train", ["hydra/launcher=stack"], run_mode=RunMode.MULTIRUN, with_log_configuration=False
    )
    stock = hydra.config_loader
    assert isinstance(stock, ConfigLoaderImpl)
    quick = RememberingLoader(stock, plain=True)
    for choice in CHOICES[::3]:
        for values in VALUES:
            quick.load_sweep_config(master, choice + values)
        for values in VALUES:
            job = quick.plain_job(choice + values)
            config = stock.load_sweep_config(master, choice + values)
            if job is None:
                assert "???" in OmegaConf.to_yaml(config)
                continue
            assert job.overrides == list(config.hydra.overrides.task)
            assert job.choices == OmegaConf.to_container(config.hydra.runtime.choices)
            wanted = OmegaConf.to_container(config)
            assert isinstance(wanted, dict)
            del wanted["hydra"]
            assert job.config == wanted
            job.config["seed"] = 99  # a job's own to change
    for left in LEFT_TO_HYDRA:
        quick.load_sweep_config(master, ["loss=ce", *left])
        assert quick.plain_job(["loss=ce", *left]) is None, left


def test_a_file_alone_is_what_hydra_composes() -> None:
    files = (file for group in COMPONENTS for file in sorted((config_dir() / group).glob("*.yaml"))[:2])
    paths = [f"{file.parent.name}/{file.stem}" for file in files]
    assert {"model/convnet", "loss/asl"} <= set(paths)
    with composed("train", []):
        loader = GlobalHydra.instance().config_loader()
        for path in paths:
            assert OmegaConf.to_container(one_file(loader, path)) == OmegaConf.to_container(compose(path)), path
        with pytest.raises(MissingConfigException):
            one_file(loader, "loss/cee")


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
    run_composed("train", arguments, lambda config, _: work.promise(config["seed"]))
    assert work.runs == runs
    assert not work.pending
    assert (here / "xentlab-runs" / "sweeps").exists() == ("-m" in arguments)


@pytest.mark.parametrize("name", ["basic", "stack"])
def test_a_jobs_failure_reaches_the_command_after_all_jobs(here: Path, name: str) -> None:  # noqa: ARG001
    called, work = [], Work()

    def job(config: dict[str, Any], _: list[str]) -> Promise:
        called.append(config["seed"])
        if config["seed"] == 1:
            raise UserError("seed 1 is refused.")
        return work.promise(config["seed"])

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
        ends[name] = [
            line.partition("validation error ")[2].partition(",")[0]
            for line in out.splitlines()
            if "validation error " in line
        ]
        (sweep,) = (here / name / "sweeps").iterdir()
        folders = ["0", "1"] if name == "basic" else []  # jobs that differ in values alone need none
        assert sorted(p.name for p in sweep.iterdir()) == [*folders, "multirun.yaml"]
    assert len(ends["basic"]) == 2
    assert all(ends["basic"])
    assert ends["basic"] == ends["stack"]
    code, _, err = run("train", "-m", "hydra/launcher=stac", *words)
    assert (code, err) == (
        2,
        "xentlab: Unknown hydra/launcher 'stac'. Did you mean 'stack'? Available: basic, stack.\n",
    )

"""What the tests of the launcher share: a batch that squares numbers, and the launcher as a sweeper gets it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from xentlab.config.compose import config_dir
from xentlab.config.promise import Promise

Run = Callable[..., tuple[int, str, str]]


# The suites look into the job's directory as the working directory, which Hydra 1.3 leaves to the user.
SUITE = [f"hydra.searchpath=[file://{config_dir()}]", "hydra.job.chdir=true"]


@dataclass
class Work:
    """A batch that squares the numbers left with it, and refuses some."""

    refused: tuple[int, ...] = ()
    broken: bool = False
    pending: list[int] = field(default_factory=list)
    runs: list[list[int]] = field(default_factory=list)
    squares: dict[int, int] = field(default_factory=dict)

    def promise(self, number: int) -> Promise:
        self.pending.append(number)
        return Promise(lambda: self.square(number), self)

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

"""The class by which Hydra knows the launcher `stack`; what it does stands in `xentlab.config.launcher`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from xentlab.config.launcher import launch
from xentlab.config.loader import RememberingLoader


class StackLauncher(Launcher):
    """Call every job of a sweep, then bring in the results of those that wait for each other."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's first call: what the jobs are."""
        # The sweeper holds the same context: what it composes to check the jobs is remembered for running them.
        loader = RememberingLoader(hydra_context.config_loader, plain=hasattr(task_function, "plain"))
        hydra_context.config_loader = loader
        self._launch = partial(launch, loader, hydra_context.callbacks, task_function, config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Hydra's second call, once per batch of its sweeper: run one job for each list of overrides."""
        return self._launch(job_overrides, initial_job_idx)

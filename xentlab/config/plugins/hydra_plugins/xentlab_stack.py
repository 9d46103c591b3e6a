"""The class by which Hydra knows the launcher `stack`; what it does stands in `xentlab.config.launcher`."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from xentlab.config.launcher import launch
from xentlab.config.loader import RememberingLoader


class StackLauncher(Launcher):
    """Call every job of a sweep, then bring in the results of those that wait for each other."""

    def __init__(self) -> None:
        self.hydra_context: HydraContext | None = None
        self.loader: RememberingLoader | None = None
        self.task_function: TaskFunction | None = None
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's first call: what the jobs are."""
        # The sweeper holds the same context: what it composes to check the jobs is remembered for running them.
        plain = hasattr(task_function, "plain")
        hydra_context.config_loader = self.loader = RememberingLoader(hydra_context.config_loader, plain=plain)
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Hydra's second call, once per batch of its sweeper: run one job for each list of overrides."""
        assert self.hydra_context is not None
        assert self.loader is not None
        assert self.task_function is not None
        assert self.config is not None
        callbacks = self.hydra_context.callbacks
        return launch(self.loader, callbacks, self.task_function, self.config, job_overrides, initial_job_idx)

"""Hydra's loader of configs with a memory, for sweeps of many jobs.

Hydra composes each job of a sweep twice, to check it and to run it, and each time reads and merges every file of the
defaults list. But the files stay as they are while a sweep runs, and most jobs choose the same ones. So the files are
read once, and merged once for each choice of files, and what a sweeper composed to check a job is kept for running it.
Parsing, overriding and checking remain Hydra's own. A test holds the configs equal to those of Hydra's loader.
"""

from __future__ import annotations

import copy
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig


class RememberingLoader(ConfigLoaderImpl):
    """The loader `of`, with a memory of files and of what they merge to, for as long as it lives."""

    def __init__(self, of: ConfigLoaderImpl) -> None:
        super().__init__(of.config_search_path)
        self.repository = of.repository
        self._files: dict[tuple[str | None, tuple[str, ...]], CachingConfigRepository] = {}
        self._merged: dict[tuple[Any, ...], DictConfig] = {}
        self._checked: dict[tuple[str, ...], DictConfig] = {}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """A sweeper's look at a job before it launches it: kept for `for_job`."""
        config = super().load_sweep_config(master_config, sweep_overrides)
        self._checked[tuple(sweep_overrides)] = config
        return config

    def for_job(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The config of a job, the caller's own: what a sweeper has looked at, or composed now."""
        checked = self._checked.pop(tuple(sweep_overrides), None)
        return super().load_sweep_config(master_config, sweep_overrides) if checked is None else checked

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Any], CachingConfigRepository]:
        # Where Hydra looks for files depends on these alone.
        key = (config_name, tuple(o for o in overrides if "hydra.searchpath" in o))
        if key in self._files:
            return OverridesParser.create().parse_overrides(overrides=overrides), self._files[key]
        parsed, files = super()._parse_overrides_and_create_caching_repo(config_name, overrides)
        self._files[key] = files
        return parsed, files

    def _compose_config_from_defaults_list(self, defaults: list[Any], repo: CachingConfigRepository) -> DictConfig:
        key = (id(repo), *((d.config_path, d.parent, d.package, d.is_self, d.primary) for d in defaults))
        if key not in self._merged:
            # Merging takes the files' nodes into the result, so it needs nodes of its own.
            fresh = CachingConfigRepository(repo.delegate)
            self._merged[key] = super()._compose_config_from_defaults_list(defaults, fresh)
        return copy.deepcopy(self._merged[key])

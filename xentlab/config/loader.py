"""Hydra's loader of configs with a memory, for sweeps of many jobs.

Hydra composes each job of a sweep twice, to check it and to run it, and each time reads and merges every file. Here the
files are read once, and merged once for each choice of files, and what was composed to check a job is kept for running
it. Parsing, overriding and checking remain Hydra's own; a test holds the configs equal to those of Hydra's loader.

A job that differs in values alone from one that was composed is that one's config as plain data, with its own values.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from omegaconf import DictConfig, OmegaConf

_KEY = re.compile(r"\w+(\.\w+)*")


@dataclass(frozen=True)
class PlainJob:
    """A job that asks nothing of Hydra any more: its resolved config, its overrides, and the file of each group."""

    config: dict[str, Any]
    overrides: list[str]
    choices: Mapping[str, str]


class RememberingLoader(ConfigLoaderImpl):
    """The loader `of`, with a memory of files and of what they merge to, for as long as it lives.

    With `plain`, a sweeper that looks at a job like one before sees that one, and `plain_job` gives the job itself.
    """

    def __init__(self, of: ConfigLoaderImpl, *, plain: bool = False) -> None:
        super().__init__(of.config_search_path)
        known = of if isinstance(of, RememberingLoader) else None
        self.repository, self._plain = of.repository, plain
        self._files: dict[tuple[str | None, tuple[str, ...]], CachingConfigRepository] = known._files if known else {}
        self._merged: dict[tuple[Any, ...], DictConfig] = known._merged if known else {}
        self._checked: dict[tuple[str, ...], DictConfig] = {}
        self._values: dict[str, tuple[str, Any] | None] = {}
        self._patterns: dict[tuple[str, ...], _Pattern | None] = {}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """A sweeper's look at a job before it launches it: kept for `for_job`."""
        kind, values = self._apart(sweep_overrides) if self._plain else ((), {})
        pattern = self._patterns.get(kind)
        if pattern is not None:
            return pattern[0]
        config = super().load_sweep_config(master_config, sweep_overrides)
        if self._plain and kind not in self._patterns:
            self._patterns[kind] = _pattern(config, values)
        if self._patterns.get(kind) is None:
            self._checked[tuple(sweep_overrides)] = config
        return config

    def for_job(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The config of a job, the caller's own: what a sweeper has looked at, or composed now."""
        checked = self._checked.pop(tuple(sweep_overrides), None)
        return super().load_sweep_config(master_config, sweep_overrides) if checked is None else checked

    def plain_job(self, sweep_overrides: list[str]) -> PlainJob | None:
        """A job that a sweeper has looked at, where nothing but its values sets it apart from one that was composed."""
        kind, values = self._apart(sweep_overrides) if self._plain else ((), {})
        pattern = self._patterns.get(kind)
        if pattern is None:
            return None
        config = copy.deepcopy(pattern[1].config)
        for key, value in values.items():
            node, name = _place(config, key)
            node[name] = value
        return PlainJob(config, [o for o in sweep_overrides if not _is_hydras(o)], pattern[1].choices)

    def _apart(self, overrides: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
        """What jobs of one pattern share: keys and whole choices, in their order; and the values by key."""
        kind, values = [], {}
        for text in overrides:
            if text not in self._values:
                self._values[text] = self._value(text)
            given = self._values[text]
            if given is None:
                kind.append(text)
            else:
                kind.append(given[0])
                values[given[0]] = given[1]
        return tuple(kind), values

    def _value(self, text: str) -> tuple[str, Any] | None:
        """The key and value of an override that gives a key a plain value; None where it does anything else."""
        override = OverridesParser.create().parse_override(text)
        key, value = override.key_or_group, override.value()
        changes = override.type is OverrideType.CHANGE and override.package is None
        if not changes or not _KEY.fullmatch(key) or _is_hydras(key) or not _is_plain(value):
            return None
        return None if self.repository.group_exists(key) else (key, value)

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
            self._merged[key] = super()._compose_config_from_defaults_list(defaults, copy.deepcopy(repo))
        return copy.deepcopy(self._merged[key])


def one_file(loader: ConfigLoaderImpl, path: str) -> DictConfig:
    """A file with its own defaults as `hydra.compose` gives it, in a tenth of the time: Hydra's part is left out."""
    files = CachingConfigRepository(loader.repository)
    found = create_defaults_list(files, path, [], prepend_hydra=False, skip_missing=False)
    return ConfigLoaderImpl._compose_config_from_defaults_list(loader, found.defaults, files)


_Pattern = tuple[DictConfig, PlainJob]
"""A job as it was composed, and as plain data to copy others from."""


def _pattern(config: DictConfig, values: Mapping[str, Any]) -> _Pattern | None:
    """A composed job to copy others from; None where a value of it may hang on another, or on Hydra."""
    hydra = config.hydra
    choices = OmegaConf.to_container(hydra.runtime.choices)
    asks = (hydra.job.chdir, hydra.output_subdir is not None, hydra.job.env_set, hydra.get("callbacks"), hydra.verbose)
    if any(asks) or choices.get("hydra/job_logging") != "none":
        return None
    task = {key: node for key, node in OmegaConf.to_container(config).items() if key != "hydra"}
    if not _is_plain(task) or any(_place(task, key) is None for key in values):
        return None
    return config, PlainJob(task, [], choices)


def _place(config: dict[str, Any], key: str) -> Any:
    """The mapping in which a dotted key stands, and its last part; None where it leads through something else."""
    *way, name = key.split(".")
    node: Any = config
    for part in way:
        node = node.get(part)
        if not isinstance(node, dict):
            return None
    return (node, name) if name in node else None


def _is_hydras(key: str) -> bool:
    return key.lstrip("+~").startswith(("hydra.", "hydra/"))


def _is_plain(value: Any) -> bool:
    """Whether this is data as it stands: no interpolation in it, nothing missing."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, str):
        return "${" not in value and value != "???"
    return value is None or isinstance(value, (bool, int, float))

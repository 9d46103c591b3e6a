"""Hydra's door: run a command on a composed config, and turn what Hydra says of a mistake into one sentence."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xentlab.errors import UserError, unknown


def config_dir() -> Path:
    """The directory of the configs: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def run_composed(config_name: str, overrides: Sequence[str], job: Callable[[dict[str, Any], list[str]], Any]) -> None:
    """Compose `config_name` with Hydra's command line and call `job(config, overrides)` for each job of it.

    What `job` returns is what a sweeper sees; it may be a promise, `xentlab.config.promise.Promise`.

    Raises:
        UserError: Hydra could not make sense of the command line.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from xentlab.config.launcher import register
    from xentlab.config.promise import settled

    def task(config: DictConfig) -> Any:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        assert isinstance(plain, dict)
        try:
            return settled(job({str(k): v for k, v in plain.items()}, list(HydraConfig.get().overrides.task)))
        except Exception as error:  # Hydra would print its own line about it: raised again below
            failed.append(error)
            return None

    failed: list[Exception] = []
    # Hydra prints its errors and ends the process unless it is told to raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = ["xentlab", *overrides]
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a user's own loss lives beside where the command is called
    register()
    try:
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)(task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise _sentence(error) from error
    if failed:
        raise failed[0]


def compose_group(group: str, name: str) -> dict[str, Any]:
    """One file of a config group, composed; only inside a job of `run_composed`."""
    from hydra import compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    try:
        config = compose("train", [f"{group}={name}"])
    except HydraException as error:
        raise _sentence(error) from error
    node = OmegaConf.to_container(config[group], resolve=True)
    assert isinstance(node, dict)
    return {str(k): v for k, v in node.items()}


def _sentence(error: Exception) -> UserError:
    """What Hydra found wrong, in one sentence with the name, the value and what exists instead."""
    text = str(error)
    missing = re.search(r"Could not find '([^']+)/([^']+)'", text)
    if missing:
        available = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        return unknown(missing[1], missing[2], available or ["none"])
    override = re.search(r"Could not override '([^']+)'", text)
    if override and "No match in the defaults list" in text:
        return UserError(f"'{override[1]}' cannot be chosen here; this command's groups stand in its --help.")
    if override:
        return _unknown_key(error, override[1])
    grammar = text.partition("See https://hydra.cc")[0]
    return UserError(" ".join(grammar.split()).rstrip(".") + ".")


def _unknown_key(error: BaseException, key: str) -> UserError:
    """Name the keys that stand where `key` does not exist, as the user would write them."""
    cause: BaseException | None = error
    while cause is not None and getattr(cause, "parent_node", None) is None:
        cause = cause.__cause__
    node: Any = getattr(cause, "parent_node", None) or {}
    where = str(node._get_full_key(None)) if node else key.rpartition(".")[0]
    names = [f"{where}.{k}" if where else str(k) for k in node if not str(k).startswith("_")]
    if names:
        return unknown("config key", key, names)
    return UserError(f"Unknown config key '{key}': the chosen {where} has no knobs.")

"""Hydra's door: run a command on a composed config, and turn what Hydra says of a mistake into one sentence."""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from xentlab.config.mistakes import check_flags, check_override, hydra_mistake
from xentlab.config.words import config_dir as config_dir
from xentlab.disk import disk_refuses
from xentlab.dotted import see_working_directory
from xentlab.errors import UserError
from xentlab.train import COMPONENTS


def run_composed(config_name: str, overrides: Sequence[str], job: Callable[[dict[str, Any], list[str]], Any]) -> None:
    """Compose `config_name` with Hydra's command line and call `job(config, overrides)` for each job of it.

    What `job` returns is what a sweeper sees; it may be a promise, `xentlab.config.promise.Promise`.

    Raises:
        UserError: Hydra could not make sense of the command line.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    from xentlab.config.launcher import register_launcher
    from xentlab.config.loader import PlainJob
    from xentlab.config.promise import settled

    def call(one: PlainJob) -> Any:
        try:
            return settled(job(_settled(config_name, one.config, one.overrides, one.choices), one.overrides))
        except Exception as error:  # Hydra would print its own line about it: raised again below
            failed.append(error)
            return None

    def task(config: DictConfig) -> Any:
        try:
            whole = HydraConfig.get()
            one = PlainJob(_plain(config), list(whole.overrides.task), whole.runtime.choices)
        except Exception as error:
            failed.append(error)
            return None
        return call(one)

    task.plain = call  # type: ignore[attr-defined]

    failed: list[Exception] = []
    # Hydra prints its errors and ends the process unless it is told to raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    check_flags(config_name, overrides)
    sys.argv = ["xentlab", *_written(overrides)]
    see_working_directory()
    register_launcher()
    try:
        with _remembering(overrides):
            hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)(task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise hydra_mistake(error) from error
    except OSError as error:  # those of the job are in `failed`
        if disk_refuses(error):
            raise
        raise UserError(f"hydra.run.dir must be a folder that can be made, got {error.filename}.") from error
    if failed:
        raise hydra_mistake(failed[0]) if isinstance(failed[0], OmegaConfBaseException) else failed[0]


@contextlib.contextmanager
def _remembering(overrides: Sequence[str]) -> Iterator[None]:
    """Hydra composes all of it once more to see whether a config asks for a sweep: here only a command line does.

    In place of this look it takes a loader with a memory.
    """
    from hydra._internal.hydra import Hydra

    from xentlab.config.loader import RememberingLoader

    def take_loader(hydra: Hydra, **_: Any) -> None:
        hydra.config_loader = RememberingLoader(hydra.config_loader)

    looks = Hydra.get_mode
    if not any("hydra.mode" in override for override in overrides):
        Hydra.get_mode = take_loader
    try:
        yield
    finally:
        Hydra.get_mode = looks


@contextlib.contextmanager
def composed(config_name: str, overrides: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The config under these overrides, without a command line; errors as of `run_composed`."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from xentlab.config.launcher import register_launcher

    register_launcher()
    GlobalHydra.instance().clear()
    words = _written(overrides)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        try:
            found, chosen = _composition(config_name, words)
        except (HydraException, OmegaConfBaseException) as error:
            raise hydra_mistake(error) from error
        yield _settled(config_name, found, words, chosen)


def _settled(config_name: str, found: dict[str, Any], given: list[str], chosen: Mapping[str, str]) -> dict[str, Any]:
    """The config with a comparison of its data's task, without what was meant for other choices; both are said."""

    from xentlab.config.choices import of_its_task, settle
    from xentlab.config.opening import say

    ready = [file.stem for file in (config_dir() / "comparison").glob("*.yaml")] if "comparison" in found else []
    another = of_its_task(found, given, ready)
    if another is not None:
        say(f"The data are of {another}: comparison={another} says which losses, model and grid.")
        given = [*given, f"comparison={another}"]
        found, chosen = _composition(config_name, given)
    for dropped in settle(found, given, chosen, functools.partial(_choices, config_name), compose_group):
        say(dropped)
    return found


def _written(overrides: Sequence[str]) -> list[str]:
    """Overrides as Hydra takes them; those of a component that is chosen by its path may name any key."""
    chosen = {override.lstrip("+").partition("._target_=")[0] for override in overrides if "._target_=" in override}
    own = tuple(f"{group}." for group in COMPONENTS if group in chosen)
    free = [f"++{o.lstrip('+')}" if o.lstrip("+").startswith(own) else o for o in overrides] if own else overrides
    return [*map(_quoted, free)]


def _quoted(override: str) -> str:
    """An override as Hydra takes it: a value that its grammar cannot read, such as a path with `=`, stands in quotes.

    A mapping where any key may stand adds its keys.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = override.partition("=")
    if override.startswith("-") or not equals:
        return override
    try:
        parsed = OverridesParser.create().parse_override(override)
        if value[0:1] == " " and isinstance(parsed.value(), str):
            return f"{key}='{value}'"
    except HydraException:
        items = re.findall(r"""\s*('[^']*'|"[^"]*"|[^,]+)""", value[1:-1]) if re.fullmatch(r"\[.*\]", value) else []
        listed = ",".join(item if item[0] in "'\"" else f"'{_escaped(item)}'" for item in items)
        quoted = f"{key}=[{listed}]" if listed else f"{key}='{_escaped(value)}'"
        try:
            OverridesParser.create().parse_override(quoted)
        except HydraException:
            return override
        return quoted
    check_override(parsed)
    return f"++{override}" if value.startswith("{") and key in (*COMPONENTS, *_FREE) else override


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


_FREE = ("comparison.axes", "comparison.tune")


def _plain(config: Any) -> dict[str, Any]:
    """The config as plain data; what stands for an environment variable is read as if it were written there."""
    from omegaconf import OmegaConf

    written = OmegaConf.to_container(config, resolve=False)
    resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    return {str(key): _read_anew(written[key], value) for key, value in resolved.items()}


def _read_anew(written: Any, value: Any) -> Any:
    """`value`, where the text of an environment variable that is a number (or true, null ...) is that."""
    if isinstance(value, dict) and isinstance(written, dict):
        return {key: _read_anew(written[key], inner) for key, inner in value.items()}
    if isinstance(value, list) and isinstance(written, list):
        return [_read_anew(*pair) for pair in zip(written, value, strict=True)]
    if isinstance(value, str) and isinstance(written, str) and written.startswith("${oc.env:"):
        import yaml

        read = yaml.safe_load(value)
        return read if isinstance(read, (bool, int, float)) or read is None else value
    return value


def compose_group(group: str, name: str) -> dict[str, Any]:
    """One file of a config group, composed; only inside a job of `run_composed` or within `composed`."""
    from hydra.core.global_hydra import GlobalHydra

    return copy.deepcopy(_composed_group(group, name, str(GlobalHydra.instance().config_loader().get_search_path())))


@functools.cache
def _composed_group(group: str, name: str, _: str) -> dict[str, Any]:
    """It is the same wherever the same folders are searched."""
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf import OmegaConf

    from xentlab.config.loader import one_file

    try:
        try:
            config = one_file(GlobalHydra.instance().config_loader(), f"{group}/{name}")
        except MissingConfigException:
            config = compose("train", [f"{group}={name}"])  # says what there is
    except HydraException as error:
        raise hydra_mistake(error) from error
    node = OmegaConf.to_container(config[group], resolve=True)
    assert isinstance(node, dict)
    return {str(k): v for k, v in node.items()}


def _composition(config_name: str, overrides: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """What these overrides compose, as plain data, and the file of each group."""
    from hydra import compose
    from omegaconf import open_dict

    whole = compose(config_name, overrides, return_hydra_config=True)
    chosen = dict(whole.hydra.runtime.choices)
    with open_dict(whole):
        del whole["hydra"]
    return _plain(whole), chosen


def _choices(config_name: str, overrides: list[str]) -> dict[str, str]:
    """The files that these overrides choose, by their groups."""
    from hydra import compose

    return dict(compose(config_name, overrides, return_hydra_config=True).hydra.runtime.choices)

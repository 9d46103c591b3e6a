"""What can stand on a command line, read from the config files alone: a name that is mistyped is answered at once.

Nothing slow is imported here; what only a composed config can tell is left to `compose`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xentlab.config import elsewhere
from xentlab.errors import UserError, unknown

_ELSEWHERE = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "hydra.searchpath", "+hydra")

KINDS = {  # as `xentlab list` calls the groups
    "losses": "loss",
    "datasets": "dataset",
    "models": "model",
    "optimizers": "optimizer",
    "schedules": "schedule",
    "regularizers": "regularizer",
    "augmentations": "augment",
    "executors": "executor",
    "comparisons": "comparison",
}


def config_dir() -> Path:
    """The directory of the configs: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def choices_by_group() -> dict[str, list[str]]:
    """What can be chosen: the names of each group."""
    folders = [folder for folder in config_dir().iterdir() if folder.is_dir() and folder.name != "sampling"]
    return {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in sorted(folders)}


def check_words(command: str, overrides: Sequence[str]) -> None:
    """Refuse, as composing would, a name or key that is not there, where nothing given adds files or keys."""
    if any(override.startswith(_ELSEWHERE) for override in overrides):
        return
    known = choices_by_group()
    tops = {*known, "hydra", *_keys(config_dir() / "train.yaml")} - {"start"}
    tops -= set() if command == "compare" else {"comparison"}
    given = [override.partition("=") for override in overrides]
    for _, _, name in (one for one in given if one[0] == "comparison"):  # a published experiment has keys of its own
        tops |= _keys(config_dir() / "comparison" / f"{name}.yaml")
    for key, equals, value in given:
        if not equals or not re.fullmatch(r"\w+(\.\w+)*", key):
            continue
        if key in known and re.fullmatch(r"[A-Za-z][\w.-]*(,[A-Za-z][\w.-]*)*", value):
            for name in set(value.split(",")) - {*known[key], "null"}:
                told = elsewhere.of_a_choice(key, name, known[key])
                raise UserError(told) if told else unknown(key, name, known[key])
        elif key.partition(".")[0] not in tops:
            told = elsewhere.of_a_key(key)
            raise UserError(told) if told else unknown("config key", key, tops)
    _check_knobs(command, [key for key, equals, _ in given if equals], dict(one[::2] for one in given))


def _check_knobs(command: str, keys: Sequence[str], chosen: Mapping[str, str]) -> None:
    """Refuse a second key of what the command's own files spell out, and in `train` of what a group's file does."""
    files = [config_dir() / "train.yaml"]
    if command == "compare":
        if "/" in (name := chosen.get("comparison", "quickstart")):
            return  # a published experiment has keys of its own
        files += [config_dir() / "compare.yaml", config_dir() / "comparison" / f"{name}.yaml"]
    groups, own = choices_by_group(), dict[str, set[str]]()
    for top, node in ((top, node) for file in files for top, node in _read(file).items()):
        if isinstance(node, dict) and top not in groups.keys() - {"comparison"} and top != "hydra":
            own.setdefault(top, set()).update(node)
    defaults = {k: v for entry in _read(files[0])["defaults"] if isinstance(entry, dict) for k, v in entry.items()}
    for group in defaults.keys() & groups.keys() if command == "train" else ():
        file = config_dir() / group / f"{chosen.get(group, defaults[group])}.yaml"
        if file.is_file() and f"{group}._target_" not in {key.lstrip("+") for key in keys}:
            own[group] = {name for name in _keys(file) if name[0] != "_"}
    for key in keys:
        top, dot, rest = key.partition(".")
        if dot and top in own and re.fullmatch(r"[A-Za-z]\w*", rest) and rest not in own[top]:
            if told := elsewhere.of_a_key(key):
                raise UserError(told)
            if not own[top]:
                raise UserError(f"Unknown config key '{key}': the chosen {top} has no knobs.")
            raise unknown("config key", key, [f"{top}.{name}" for name in own[top]])


def keys_of(command: str, chosen: Sequence[str]) -> list[str]:
    """The keys that overrides may name: groups, and the knobs of what `chosen`, or else the default, chooses."""
    roots = ["train.yaml"] + (["compare.yaml"] if command == "compare" else [])
    found = {f"{top}.{key}" for root in roots for top, node in _read(config_dir() / root).items()
             if isinstance(node, dict) and top != "hydra" for key in node} | {"seed"}  # fmt: skip
    defaults = {k: v for entry in _read(config_dir() / "train.yaml")["defaults"] if isinstance(entry, dict)
                for k, v in entry.items() if not k.startswith("override")}  # fmt: skip
    defaults |= {k: v for k, _, v in (word.partition("=") for word in chosen) if k in choices_by_group()}
    for group, name in defaults.items():
        found |= {group, *(f"{group}.{key}" for key in _keys(config_dir() / group / f"{name}.yaml") if key[0] != "_")}
    return sorted(found | ({"comparison"} if command == "compare" else set()))


def _keys(file: Path) -> set[str]:
    """The keys of a file, with those of its defaults that are laid into it."""
    node = _read(file)
    laid = [e for e in node.pop("defaults", []) if isinstance(e, dict)]
    folded = [f"{k.partition('@')[0].strip('/')}/{v}.yaml" for e in laid for k, v in e.items() if "@_here_" in k]
    return {*node, *(key for place in folded for key in _keys(config_dir() / place))}


@functools.cache
def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _read(file: Path) -> dict[str, Any]:
    import yaml

    return dict(yaml.load(_text(file), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {})

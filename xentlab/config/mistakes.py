"""What Hydra and OmegaConf find wrong with a command line, in one sentence: name, rule, value, and what exists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from xentlab.config import elsewhere
from xentlab.errors import UserError, unknown
from xentlab.train import COMPONENTS

_GROUPS = (*COMPONENTS, "comparison", "executor", "tracking")


# What Hydra and OmegaConf say, and how it is said here.
_SENTENCES = (
    (r"Could not override '([^']+)'[\s\S]*No match in the defaults list", "'{0}' cannot be chosen here; this command's "
     "groups stand in its --help."),
    (r"Interpolation key '([^']*)' not found", "{key} refers to ${{{0}}}, which is not in the config."),
    (r"Environment variable '([^']*)' not found", "{key} refers to the environment variable {0}, which is not set."),
    (r"does not support sweep type", "A sweep takes lists and ranges, such as optimizer.lr=0.03,0.1 or seed=range(5): "
     "values between two bounds are drawn by `xentlab compare comparison.search=sobol comparison.trials=16`."),
    (r"Ambiguous value for argument '([^=]+)=(.*)'", "{0}={1} holds a comma: in quotes it is one value, "
     "\"{0}='{1}'\"; in brackets a list; with `train -m` a sweep over both."),
    (r"Could not delete from config\. '([^']+)'", "There is no '{0}' to take away."),
    (r"Could not append to config\. An item is already at '([^']+)'", "{0} is in the config already: without +."),
    (r"Unsupported interpolation type (\S+)", "{key} must not hold ${{{0}:...}}: oc.env, oc.select, oc.create and "
     "oc.decode can stand there."),
    (r"Recursive interpolation", "{key} refers to itself."),
    (r"Error merging override (.+)", "{0} cannot be read: a ${{ must be closed."),
    (r"Cannot find primary config '([^']+)'", "There is no config '{0}' in configs/."),
    (r"Error parsing override '([^']+)'\s+missing EQUAL", "'{0}' must be written KEY=VALUE."),
    (r"LexerNoViableAltException: (\S+)", "'{0}' must be written KEY=VALUE."),
)  # fmt: skip


def check_flags(command: str, arguments: Sequence[str]) -> None:
    """Refuse an option that Hydra does not have."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> None:
        raise UserError(f"{message[0].upper()}{message[1:]}; `xentlab {command} --help` says what there is.")

    parser = get_args_parser()
    parser.error = refuse
    if (given := parser.parse_args(list(arguments))).resolve and not given.cfg:
        refuse("argument --resolve: stands beside --cfg job")


def check_override(override: Any) -> None:
    """Refuse an override, as Hydra's parser reads it, that Hydra would take and that cannot be meant."""
    if override.is_delete() or override.is_sweep_override():
        return
    key, value = override.key_or_group, override.value()
    if key in _GROUPS and not (value and isinstance(value, (str, dict))):
        raise UserError(
            f"{key} must be chosen by its name, got {override.get_value_string() or 'nothing'}: {key}=NAME."
        )
    if value == {}:
        raise UserError(f"{key}={{}} changes nothing, since it is laid over what is there: ~{key} takes that away.")


def hydra_mistake(error: Exception) -> UserError:
    """What Hydra found wrong, in one sentence with the name, the value and what exists instead."""
    text = str(error)
    if missing := re.search(r"Could not find '([^']+)/([^']+)'", text):
        available = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        known = elsewhere.of_a_choice(missing[1], missing[2], available)
        return UserError(known) if known else unknown(missing[1], missing[2], available)
    override = re.search(r"Could not override '([^']+)'", text)
    if override and "No match in the defaults list" not in text:
        return _unknown_key(error, override[1])
    key = str(getattr(error, "full_key", None) or "")
    if "Missing mandatory value" in text:
        return UserError(f"{key or 'A value'} must be given: {key or 'KEY'}=VALUE.")
    for pattern, sentence in _SENTENCES:
        if found := re.search(pattern, text):
            return UserError(sentence.format(*found.groups(), key=key or "A value"))
    grammar = text.partition("See https://hydra.cc")[0].partition(" full_key:")[0].partition("\n    full_key:")[0]
    return UserError(" ".join(grammar.split()).rstrip(".") + ".")


def _unknown_key(error: BaseException, key: str) -> UserError:
    """Name the keys that stand where `key` does not exist, as the user would write them."""
    if known := elsewhere.of_a_key(key):
        return UserError(known)
    cause: BaseException | None = error
    while cause is not None and getattr(cause, "parent_node", None) is None:
        cause = cause.__cause__
    node: Any = getattr(cause, "parent_node", None) or {}
    where = str(node._get_full_key(None)) if node else key.rpartition(".")[0]
    names = [f"{where}.{k}" if where else str(k) for k in node if not str(k).startswith("_")]
    if names:
        return unknown("config key", key, names)
    return UserError(f"Unknown config key '{key}'{f': the chosen {where} has no knobs' if where else ''}.")

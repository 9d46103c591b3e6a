"""What Hydra and OmegaConf find wrong with a command line, in one sentence: name, rule, value, and what exists."""

from __future__ import annotations

import re
from typing import Any

from xentlab.config import elsewhere
from xentlab.errors import UserError, unknown


def sentence(error: Exception) -> UserError:
    """What Hydra found wrong, in one sentence with the name, the value and what exists instead."""
    text = str(error)
    missing = re.search(r"Could not find '([^']+)/([^']+)'", text)
    if missing:
        available = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        known = elsewhere.of_a_choice(missing[1], missing[2], available)
        return UserError(known) if known else unknown(missing[1], missing[2], available)
    override = re.search(r"Could not override '([^']+)'", text)
    if override and "No match in the defaults list" in text:
        return UserError(f"'{override[1]}' cannot be chosen here; this command's groups stand in its --help.")
    if override:
        return _unknown_key(error, override[1])
    key = str(getattr(error, "full_key", None) or "")
    if "Missing mandatory value" in text:
        return UserError(f"{key or 'A value'} must be given: {key or 'KEY'}=VALUE.")
    interpolated = re.search(r"Interpolation key '([^']*)' not found", text)
    if interpolated:
        return UserError(f"{key} refers to ${{{interpolated[1]}}}, which is not in the config.")
    variable = re.search(r"Environment variable '([^']*)' not found", text)
    if variable:
        return UserError(f"{key} refers to the environment variable {variable[1]}, which is not set.")
    if "does not support sweep type" in text:
        return UserError(
            "A sweep takes lists and ranges, such as optimizer.lr=0.03,0.1 or seed=range(5): values between two bounds "
            "are drawn by `xentlab compare comparison.search=sobol comparison.trials=16`."
        )
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
    return UserError(f"Unknown config key '{key}': the chosen {where} has no knobs.")

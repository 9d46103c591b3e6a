"""Objects that Python hands over, as attributes of this module, so that a config can name them by a dotted path.

What can be imported is named by its own path. All else lives as long as this process: its record can be run again from
Python only.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def path_of(value: Callable[..., Any]) -> str:
    """The dotted path by which `value` is found."""
    module, name = str(getattr(value, "__module__", "")), str(getattr(value, "__qualname__", ""))
    if module not in ("", "__main__") and "<" not in name:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is value:
            return f"{module}.{name}"
    word = str(getattr(value, "__name__", type(value).__name__)).strip("<>")
    word, number = word if word.isidentifier() else "mine", 1
    while globals().get(word, value) is not value:
        number += 1
        word = f"{word.rstrip('0123456789')}{number}"
    globals()[word] = value
    return f"{__name__}.{word}"


def named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function under another name."""
    function.__name__ = function.__qualname__ = name
    return function

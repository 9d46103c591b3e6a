"""xentlab: which loss should I train with, and does it matter here?"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing needs enum, which where `python -m xentlab` is called may be a file of the user's
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_DOORS = ("Comparison", "Run", "compare", "load", "runs")


def __getattr__(name: str) -> Any:
    """What `xentlab.api` holds, imported when it is asked for."""
    if name == "train":  # a room that can be called, since a room of that name there is
        return importlib.import_module("xentlab.train")
    if name in _DOORS:
        return getattr(importlib.import_module("xentlab.api"), name)
    raise AttributeError(f"module 'xentlab' has no attribute '{name}'")

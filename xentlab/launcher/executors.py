"""Which executor the config names; a worker's module and its libraries are imported only when it is chosen.

To add one: a class with the methods of `xentlab.run.Executor` whose knobs are keyword-only, and its file in
`configs/executor`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xentlab.errors import UserError
from xentlab.schema import build

if TYPE_CHECKING:
    from xentlab.run import Executor


def executor_of(config: Mapping[str, Any]) -> Executor | None:
    """The executor that a composed config names under `executor`; None where the lab trains in its own process.

    Args:
        config: holds `executor`, a mapping with `_target_` and knobs.

    Returns:
        An executor that has started nothing yet and is to be closed, or None.

    Raises:
        UserError: a target or a knob that makes no sense, or a library that is not installed.
    """
    executor: Executor | None = build("executor", config["executor"])()
    return executor


def inline() -> None:
    """Train in the command's own process, one stack after another."""


def need(library: str, extra: str) -> None:
    """Refuse an executor whose library is missing.

    Raises:
        UserError: it is not installed.
    """
    if importlib.util.find_spec(library) is None:
        raise UserError(f"executor={extra} needs {library}, which is not installed: pip install 'xentlab[{extra}]'.")

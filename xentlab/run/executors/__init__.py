"""Who trains the stacks of a command: which executor the config names, one module each.

An executor takes orders and brings them to their end. Its module and the libraries that it needs are imported only when
it is chosen. To add one: a class with the methods of `xentlab.run.order.Executor` whose knobs are keyword-only, and its
file in `configs/executor`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xentlab import held
from xentlab.errors import UserError
from xentlab.schema import build

if TYPE_CHECKING:
    from xentlab.run.order import Executor

# What records made by earlier versions call an executor.
_FORMER = {
    "xentlab.launcher.executors.inline": "xentlab.run.executors.inline",
    **{
        f"xentlab.launcher.{name}": f"xentlab.run.executors.{name}"
        for name in ("auto.Auto", "processes.Processes", "ray_cluster.RayCluster", "slurm.Slurm")
    },
}


def present_name(target: str) -> str:
    """The dotted path by which an executor is known now, of whatever version the name is."""
    return _FORMER.get(target, target)


def executor_of(config: Mapping[str, Any]) -> Executor | None:
    """The executor that a composed config names under `executor`; None where the session trains in its own process.

    Returns:
        An executor that has started nothing yet and is to be closed, or None.

    Raises:
        UserError: a target or a knob that makes no sense, a library that is not installed, or a component that lives in
            this process alone.
    """
    here = next(held.held_names(config), None)
    chosen = present_name(str((config.get("executor") or {}).get("_target_")))
    if here is not None and chosen.endswith(".auto.Auto"):
        return None
    if here is not None and not chosen.endswith(".inline"):
        raise UserError(
            f"'{here}' is an object of this Python process, and {chosen.rpartition('.')[2]} trains in others: put it "
            f"into a module that can be imported, or use executor=inline."
        )
    executor: Executor | None = build("executor", config.get("executor"))()
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

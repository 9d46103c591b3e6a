"""What a command is, and the arguments that several share."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Argument:
    """One argument, as `argparse` takes it."""

    def __init__(self, *flags: str, **options: Any) -> None:
        self.flags, self.options = flags, options


@dataclass(frozen=True)
class Command:
    """One command: its name, what it does in a few words, and examples.

    Attributes:
        run: module of this package and function in it.
        arguments: what it takes; None where it takes Hydra's overrides.
        subcommands: of which it is a group; called without one, it is the first.
    """

    name: str
    summary: str
    examples: tuple[str, ...]
    run: str
    arguments: tuple[Argument, ...] | None = ()
    subcommands: tuple[Command, ...] = ()

    def function(self) -> Callable[..., int]:
        """What runs it; where `main` has turned the collector off, it begins here, and all that was imported stays."""
        module, _, name = self.run.partition(".")
        found: Callable[..., int] = getattr(importlib.import_module(f"xentlab.cli.{module}"), name)
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
        return found


ROOT = Argument("--root", default="xentlab-runs", help="the output directory (default: %(default)s)")
STORE = (
    ROOT,
    Argument("--uri", help="MLflow tracking URI (default: MLFLOW_TRACKING_URI, else the sqlite database in the root)"),
    Argument("--experiment", help="MLflow experiment (default: MLFLOW_EXPERIMENT_NAME, else xentlab)"),
)

"""Progress on a terminal and in a notebook; silence elsewhere."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from xentlab.plain import visible
from xentlab.run.training import EpochCallback
from xentlab.train import Epoch, Trial


@contextlib.contextmanager
def progress_bar(title: str, total_epochs: int) -> Iterator[EpochCallback]:
    """A bar over `total_epochs` trial-epochs that shows the metrics that matter; nothing where nobody would see one."""
    console = Console(stderr=True)
    shown = console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)
    if not shown:
        yield lambda trials, epoch: None  # noqa: ARG005
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[now]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(visible(title), total=total_epochs, now="")

        def on_epoch(trials: Sequence[Trial], epoch: Epoch) -> None:
            bar.update(task, advance=len(trials), now=_now(trials, epoch))

        yield on_epoch


def _now(trials: Sequence[Trial], epoch: Epoch) -> str:
    """One trial's metrics, or the range of a stack's monitored metric."""
    key = f"val/{trials[0].monitor}"
    values = [v for v in epoch.metrics[key] if v is not None]
    if not values:
        return "diverged"
    if len(trials) == 1:
        loss = epoch.metrics["train/objective"][0]
        return f"objective {loss:.4g} · {key} {values[0]:.4f}" if loss is not None else "diverged"
    return f"{len(trials)} trials · {key} {min(values):.4f} to {max(values):.4f}"

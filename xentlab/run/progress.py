"""Progress on a terminal and in a notebook; elsewhere a line now and then."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from xentlab.plain import visible
from xentlab.run.training import EpochCallback
from xentlab.train import Epoch, Trial

# Seconds without a word.
_QUIET = 60


@contextlib.contextmanager
def progress_bar(title: str, total_epochs: int) -> Iterator[EpochCallback]:
    """A bar over `total_epochs` trial-epochs that shows the metrics that matter; else a line at times."""
    console = Console(stderr=True)
    if not (console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)):
        yield _lines(visible(title), total_epochs)
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


def _lines(title: str, total: int) -> EpochCallback:
    """What writes how far it is, on stderr, whenever a minute has passed."""
    began = said = time.monotonic()
    done = 0

    def on_epoch(trials: Sequence[Trial], epoch: Epoch) -> None:
        nonlocal done, said
        done += len(trials)
        if (now := time.monotonic()) - said >= _QUIET:
            said = now
            told = f"{title}: {done} of {total} trial-epochs in {now - began:.0f} s · {_now(trials, epoch)}"
            print(told, file=sys.stderr, flush=True)

    return on_epoch


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

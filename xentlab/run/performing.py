"""What a process does that is handed an order: check that it means the same here, train it, say how it ended."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xentlab import environment
from xentlab.errors import UserError
from xentlab.journal import Journal
from xentlab.run.datasets import Datasets
from xentlab.run.order import Failure, Order
from xentlab.run.training import EpochCallback, train_order
from xentlab.train import prepare


def perform(
    order: Order,
    *,
    again: int = 0,
    on_epoch: EpochCallback = lambda trials, epoch: None,  # noqa: ARG005
) -> Failure | None:
    """Train an order in this process, under a journal segment of this process; returns why it failed, or None.

    The segment and the data that was read stay for the next order of the same driver.

    Args:
        again: how many workers were lost over it before: if any, it goes on from its checkpoint, as a later attempt.
    """
    if again:
        trials = tuple({**entry, "attempt": entry.get("attempt", 0) + again} for entry in order.trials)
        order = replace(order, resumable=True, trials=trials)
        _segment.cache_clear()
    try:
        os.umask(os.umask(0o077) | 0o077)  # this process writes nothing but what is the user's alone
        journal, facts, datasets = _segment(order.root, order.driver)
        stack = [prepare(t["config"], test=t["test"], name=t["name"]) for t in order.trials]
        for trial, wanted in zip(stack, order.signatures, strict=True):
            if datasets.signature(trial) != wanted:
                raise UserError(
                    f"A worker on {facts['host']} has other code or data than the command that sent it "
                    f"'{trial.label}': both must run the same version on the same files."
                )
        train_order(order, stack, datasets.of(stack[0]), journal, facts, on_epoch)
    except Exception as error:
        return Failure.of(error)
    return None


@functools.lru_cache(maxsize=1)
def _segment(root: str, driver: str) -> tuple[Journal, Mapping[str, Any], Datasets]:
    """Where this process writes for one driver, what it runs on, and what it has read."""
    environment.keep_freed_memory()
    facts = environment.describe()
    return Journal(Path(root), facts, "worker", driver=driver), facts, Datasets()

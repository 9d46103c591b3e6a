"""A job's result that comes when all jobs of the sweep are known.

A job that had better not run alone returns a `Promise` and leaves its work with a batch that it shares with the other
jobs. A launcher that understands (`hydra/launcher=stack`) calls every job first, then `batch.run()` once, then each
job's `resolve()`. Under any other launcher, and in a single run, `settled` does the same for the one job at once, so
that a job need not know which launcher it has.

A batch is any object with a `run()`. The contract: `run()` does the work that was left with it since it last ran (a
sweeper may launch several times), and keeps what went wrong with one job for that job's `resolve()` to raise. What
`run()` itself raises is the failure of every job that waits on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

_WAITING: ContextVar[bool] = ContextVar("xentlab_jobs_wait", default=False)


class Batch(Protocol):
    """Work that several jobs share."""

    def run(self) -> None:
        """Do the work that was left here since the last call."""


@dataclass(frozen=True)
class Promise:
    """A promise of a job's result.

    Args:
        resolve: gives the job's result, or raises what went wrong with it; called once, after the batch has run.
        batch: what must run before; jobs with the same object are run together. None where nothing is shared.
    """

    resolve: Callable[[], Any]
    batch: Batch | None = None


@contextmanager
def waiting() -> Iterator[None]:
    """Inside, a launcher collects promises: `settled` leaves them as they are."""
    token = _WAITING.set(True)
    try:
        yield
    finally:
        _WAITING.reset(token)


def settled(result: Any) -> Any:
    """A job's result: a promise that no launcher is collecting is resolved here and now.

    Returns:
        `result` itself, or what its `resolve()` gives.

    Raises:
        Exception: what its batch or its `resolve()` raised.
    """
    if not isinstance(result, Promise) or _WAITING.get():
        return result
    if result.batch is not None:
        result.batch.run()
    return result.resolve()


def run_batches(promises: Iterable[Promise]) -> dict[int, Exception]:
    """Run each distinct batch of `promises` once, in the order of its first promise.

    A batch that fails does not stop the others.

    Returns:
        What a batch raised, by the batch's `id`; empty where all went well.
    """
    batches = {id(p.batch): p.batch for p in promises if p.batch is not None}
    failures: dict[int, Exception] = {}
    for key, batch in batches.items():
        try:
            batch.run()
        except Exception as error:  # it becomes the failure of the jobs that wait on it
            failures[key] = error
    return failures

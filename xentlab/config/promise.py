"""A job's result that comes when all jobs of the sweep are known. Nothing here knows of Hydra.

A job that had better not run alone leaves its work with a batch that it shares with others, and returns a `Promise`.
`hydra/launcher=stack` calls every job first, then each `batch.run()`, then each `resolve()`; under any other launcher,
and in a single run, `settled` does so for the one job at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

_WAITING: ContextVar[bool] = ContextVar("xentlab_jobs_wait", default=False)


class Batch(Protocol):
    """Work that several jobs share."""

    def run(self) -> None:
        """Do the work that was left here since the last call: a sweeper may launch several times.

        What goes wrong with one job is kept for its `resolve()`; what is raised here fails every job that waits on it.
        """


@dataclass(frozen=True)
class Promise:
    """`resolve` gives a job's result, or raises what went wrong with it; called once, after `batch` has run."""

    resolve: Callable[[], Any]
    batch: Batch


@contextmanager
def waiting() -> Iterator[None]:
    """Inside, a launcher collects promises: `settled` leaves them as they are."""
    token = _WAITING.set(True)
    try:
        yield
    finally:
        _WAITING.reset(token)


def settled(result: Any) -> Any:
    """A job's result; a promise that no launcher is collecting is resolved here and now."""
    if not isinstance(result, Promise) or _WAITING.get():
        return result
    result.batch.run()
    return result.resolve()

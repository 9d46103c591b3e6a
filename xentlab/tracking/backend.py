"""What the sender asks of a store, and what it hands over: plain data, nothing of mlflow.

Two kinds exist: `client.Client` speaks to any store through MLflow's own client, `sqlite.Tables` writes the tables of a
local sqlite store. To add one, give it the methods of `Backend` and choose it in `store.open_store`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from xentlab.errors import UserError
from xentlab.tracking.content import MetricPoint


class Unreachable(UserError):  # noqa: N818  it names the state of the store
    """The store does not answer now; sending again later may succeed."""


class Refused(Exception):  # noqa: N818  it names the answer of the store
    """The store will not take this run."""


@dataclass(frozen=True)
class Found:
    """A run as the store has it. `tags` holds at least those that begin with `xentlab.`; `params` may be incomplete."""

    id: str
    status: str
    active: bool
    artifacts: str
    tags: Mapping[str, str]
    params: frozenset[str] = frozenset()


@dataclass(frozen=True)
class New:
    """A run to make: its name, its start in milliseconds since the epoch, and its first tags."""

    name: str
    start: int
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Change:
    """What one run is to get: first its status, then dataset, params and points, and its tags at the very end.

    Tags that are `gone` are taken away.

    `status` comes with `end` in milliseconds since the epoch; an `end` of None leaves the recorded one.
    `dataset` is name, digest and source.
    """

    run: str
    status: str | None = None
    end: int | None = None
    dataset: tuple[str, str, str] | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    points: Sequence[MetricPoint] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    gone: Sequence[str] = ()


Landed = Callable[[str, Sequence[MetricPoint]], None]
"""Called with a run and the points of it that have arrived, in their order."""


class Backend(Protocol):
    """A store with one experiment. Every method may raise `Unreachable`."""

    def search(self) -> Iterator[Found]:
        """Every run of the experiment, deleted ones too."""

    def create(self, new: Sequence[New]) -> list[Found]:
        """Make these runs, in their order."""

    def write(self, changes: Sequence[Change], landed: Landed) -> dict[str, str]:
        """Apply the changes, those of one run in their order; returns why which runs were refused.

        Applied again, a change leaves everything as it is.
        """

    def shelve(self, runs: Sequence[str], *, away: bool) -> None:
        """Delete these runs as MLflow does, which keeps them, with the tag `xentlab.away`; or bring them back."""

    def client(self) -> Any:
        """MLflow's client of this store, for what the other methods do not do."""

"""The events of a journal. Their shapes stand here and nowhere else.

An event is one JSON object a line: `event` (its kind), `time` (milliseconds since the epoch), and the fields of its
class. What we wrote ourselves is read as it is; what comes from elsewhere is checked by `load_event` field by field.

Times are for people: clocks go back, and two hosts' differ. What came first is told by `attempt`. Of a trial it counts
how often its signature was begun before, of a group how often it was taken up again; 0 in journals of before.

To add an event: its class here, its line in `EVENTS`, and what it does in `records`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from xentlab.errors import UserError
from xentlab.outcome import OnTest, Outcome
from xentlab.schema import Pattern, Range
from xentlab.typed import from_json

ID = Pattern("[0-9a-f]{8,40}", "an identifier of 8 to 40 hexadecimal digits")
Id = Annotated[str, ID]
"""It may name a file."""
EPOCHS = Range(1, 10_000_000)
Count = Annotated[int, Range(0, 10_000_000)]
Ended = Literal["finished", "failed", "interrupted"]


@dataclass(frozen=True)
class SessionEvent:
    """A process begins to write. `driver` is the session whose units it performs.

    `imported` is the sha256 of the archive that it is from, `source` that archive's file name.
    `filed` is the store and the experiment that its runs go to, empty where they go to none; None says nothing of it.
    """

    session: Id
    host: str
    pid: Count
    command: str
    environment: dict[str, Any]
    driver: Id | None = None
    imported: str | None = None
    filed: list[str] | None = None
    source: str | None = None


@dataclass(frozen=True)
class GroupEvent:
    """A group begins, or is taken up again. `kind`: sweep, comparison, cell or loss; `parent`: the group it lies in."""

    group: Id
    kind: str
    name: str
    parent: Id | None
    params: dict[str, Any]
    tags: dict[str, str]
    attempt: Count = 0


@dataclass(frozen=True)
class TrialEvent:
    """A trial begins, or is taken up again: `resumed` epochs are done already."""

    trial: Id
    signature: str
    label: str
    config: dict[str, Any]
    tags: dict[str, str]
    resumed: Count
    attempt: Count = 0


@dataclass(frozen=True)
class MemberEvent:
    """Files a trial under a group; a reused trial may be in many."""

    group: Id
    trial: Id


@dataclass(frozen=True)
class EpochEvent:
    """One epoch (from 1) of the R trials of a stack: every metric has R values, None where not finite."""

    trials: list[Id]
    epoch: Annotated[int, EPOCHS]
    metrics: dict[str, list[float | None]]


@dataclass(frozen=True)
class EndEvent:
    """A trial ends; `finished` includes trials that diverged, for divergence is a result.

    `summary` is the `Outcome` of a finished one, as its `to_json` says it, else empty; `artifacts` a folder relative to
    the root.
    """

    trial: Id
    status: Ended
    reason: str
    summary: dict[str, Any]
    artifacts: str | None


@dataclass(frozen=True)
class OnTestEvent:
    """A finished trial that was chosen on validation meets its test set; `summary` is what `OnTest.to_json` says.

    `tags` replace those of its beginning: a candidate becomes a chosen one.
    """

    trial: Id
    summary: dict[str, Any]
    tags: dict[str, str]


@dataclass(frozen=True)
class GroupEndEvent:
    """A group ends. `metrics` and `curves` (name -> [[step, value] ...]) are said of all its trials together."""

    group: Id
    status: Ended
    tags: dict[str, str]
    metrics: dict[str, float]
    artifacts: str | None
    curves: dict[str, list[list[float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class MarkEvent:
    """What a person says of a trial or a group; of two that say the same kind of thing the higher attempt counts.

    `marks`: its `name`, a `note`, or its `place`: here where that is empty, in the `trash`, or `gone` for ever.
    """

    about: Id
    marks: dict[str, str]
    attempt: Count = 0


Event = (
    SessionEvent
    | GroupEvent
    | TrialEvent
    | MemberEvent
    | EpochEvent
    | EndEvent
    | OnTestEvent
    | GroupEndEvent
    | MarkEvent
)

EVENTS: dict[str, type[Event]] = {
    "session": SessionEvent,
    "group": GroupEvent,
    "trial": TrialEvent,
    "member": MemberEvent,
    "epoch": EpochEvent,
    "end": EndEvent,
    "test": OnTestEvent,
    "group_end": GroupEndEvent,
    "mark": MarkEvent,
}
# Milliseconds: until the year 5138, which a database and a calendar can hold.
_TIMES = Range(0, 100_000_000_000_000)
_KINDS = {kind: name for name, kind in EVENTS.items()}


# Left out of a line where there is nothing to say.
_SPARSE = ("imported", "source", "curves", "attempt")


def line_from_event(event: Event, time: int) -> dict[str, Any]:
    """The event as its line has it."""
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    given = {name: value for name, value in fields.items() if value or name not in _SPARSE}
    return {"event": _KINDS[type(event)], "time": time, **given}


def event_from_line(line: dict[str, Any]) -> tuple[Event, int]:
    """The event of a line that we wrote ourselves, and its time; nothing is checked, since there may be millions."""
    kind, time = line.pop("event"), line.pop("time")
    if kind not in EVENTS:
        raise UserError(f"The journal holds an event '{kind}' that this version does not know.")
    return EVENTS[kind](**line), time


def load_event(line: Any, where: str) -> Event:
    """The event of a line from elsewhere, every field checked.

    Raises:
        UserError: this version does not know it, or a field is missing, unknown or of another shape.
    """
    kind = line.get("event") if isinstance(line, dict) else None
    if not isinstance(kind, str) or kind not in EVENTS:
        raise UserError(f"{where} must be an event of {', '.join(EVENTS)}.")
    fields = {name: value for name, value in line.items() if name != "event"}
    from_json(Annotated[int, _TIMES], fields.pop("time", None), f"{where}: time")
    event: Event = from_json(EVENTS[kind], fields, f"{where}: {kind}")
    if isinstance(event, EpochEvent):
        for name, values in event.metrics.items():
            if len(values) != len(event.trials):
                raise UserError(f"{where} must hold one number or null for each trial in {name:.80}.")
    if isinstance(event, GroupEndEvent) and not all(len(p) == 2 for c in event.curves.values() for p in c):
        raise UserError(f"{where} must hold curves of [step, number].")
    if isinstance(event, EndEvent) and event.status == "finished":
        Outcome.from_json(event.summary, f"{where}: summary", strange=True)
    if isinstance(event, OnTestEvent):
        OnTest.from_json(event.summary, f"{where}: summary", strange=True)
    return event

"""The journal: an append-only record of every trial on the local disk. It is the truth; MLflow is fed from it.

One process writes one segment, a file of JSON lines under `<root>/journal`, holds its lock for as long as it lives, and
syncs it to disk with every event. A reader merges all segments. A torn last line is what a kill leaves behind and is
passed over; a segment whose lock is free has no writer, so its unfinished trials were killed.

- `events`: the events, and their only description
- `writer`: one segment, written
- `records`: all segments of a root, read and merged
"""

from xentlab.journal.events import (
    EndEvent,
    EpochEvent,
    Event,
    GroupEndEvent,
    GroupEvent,
    MemberEvent,
    OnTestEvent,
    SessionEvent,
    TrialEvent,
)
from xentlab.journal.records import GroupRecord, Records, TrialRecord
from xentlab.journal.writer import Journal, new_id, now_ms, writer_lives

__all__ = [
    "EndEvent",
    "EpochEvent",
    "Event",
    "GroupEndEvent",
    "GroupEvent",
    "GroupRecord",
    "Journal",
    "MemberEvent",
    "OnTestEvent",
    "Records",
    "SessionEvent",
    "TrialEvent",
    "TrialRecord",
    "new_id",
    "now_ms",
    "writer_lives",
]

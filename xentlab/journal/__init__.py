"""The journal: an append-only record of every trial on the local disk. It is the truth; MLflow is fed from it.

One process writes one segment, a file of JSON lines under `<root>/journal`, holds its lock for as long as it lives, and
syncs it to disk with every event. A reader merges all segments, in whatever order it meets them. A torn last line is
what a kill leaves behind and is passed over, a damaged one costs what it said and nothing else; a segment whose lock is
free has no writer, so its unfinished trials were killed.

- `events`: the events, and their only description
- `lines`: one line and its checksum
- `writer`: one segment, written
- `entries`: one trial, one group
- `names`: how comparisons and sweeps are called
- `records`: all segments of a root, read and merged
"""

from xentlab.journal.entries import GroupRecord, TrialRecord
from xentlab.journal.events import (
    EndEvent,
    EpochEvent,
    Event,
    GroupEndEvent,
    GroupEvent,
    MarkEvent,
    MemberEvent,
    OnTestEvent,
    SessionEvent,
    TrialEvent,
)
from xentlab.journal.lines import Damage, read_lines
from xentlab.journal.names import alone, fresh_name, names_of
from xentlab.journal.records import Records
from xentlab.journal.writer import Journal, new_id, now_ms, writer_lives

"""The journal: an append-only record of every trial on the local disk. It is the truth; MLflow is fed from it.

One process writes one segment, a file of JSON lines under `<root>/journal`, holds its lock for as long as it lives, and
syncs it to disk with every event. A reader merges all segments. A torn last line is what a kill leaves behind and is
passed over; a segment whose lock is free has no writer, so its unfinished trials were killed.

Events, one JSON object a line, each with `event` and `time` (milliseconds since the epoch):

    session   session, host, pid, command, environment, driver (the session whose units it performs, or null)
    group     group, kind (sweep | comparison | loss), name, parent (group or null), params, tags
    trial     trial, signature, label, config, tags, resumed (epochs already done; 0 for a new one)
    member    group, trial: files the trial under the group; a reused trial may be in many
    epoch     trials [R], epoch (from 1), metrics {name: [R values, null where not finite]}
    end       trial, status (finished | failed | interrupted), reason, summary {name: value},
              artifacts (a folder relative to the root, or null)
    group_end group, status, tags, metrics, artifacts, and where there are any curves {name: [[step, value] ...]}

`status` `finished` includes trials that diverged: divergence is a result, and stands in `summary`.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from xentlab.errors import UserError


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """A fresh identifier: sortable by time, unique without asking anyone."""
    return f"{now_ms():011x}{secrets.token_hex(4)}"


@dataclass
class TrialRecord:
    """One trial as the journal knows it.

    `curves` holds (epoch, milliseconds, value or None) by metric name, epochs ascending without gap or double.
    `status` is running, finished, failed, interrupted or killed.
    """

    id: str
    signature: str
    label: str
    config: dict[str, Any]
    tags: dict[str, str]
    session: str
    start: int
    status: str = "running"
    reason: str = ""
    end: int | None = None
    curves: dict[str, list[tuple[int, int, float | None]]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: str | None = None
    epochs: int = 0


@dataclass
class GroupRecord:
    """A sweep, a comparison, or one loss of a comparison: what its trials are filed under.

    `curves` holds (step, value) by metric name: what is said of all its trials together.
    """

    id: str
    kind: str
    name: str
    parent: str | None
    params: dict[str, Any]
    tags: dict[str, str]
    session: str
    start: int
    status: str = "running"
    end: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    artifacts: str | None = None
    members: list[str] = field(default_factory=list)


class Journal:
    """The writer of one segment. Opens the file with its first event, so that a refused command leaves nothing.

    `on_open` is called once, when the segment is there to be read. `tags` says what to put on each trial and group that
    opens, from the event's own fields.
    """

    def __init__(self, root: Path, environment: Mapping[str, Any], command: str, *, driver: str | None = None) -> None:
        self.root = root
        self.session = new_id()
        self._opening = {"command": command, "environment": dict(environment), "driver": driver}
        self._file: IO[str] | None = None
        self.on_open: Callable[[], None] = lambda: None
        self.tags: Callable[[Mapping[str, Any]], dict[str, str]] = lambda fields: {}  # noqa: ARG005

    @property
    def path(self) -> Path:
        return self.root / "journal" / f"{self.session}.jsonl"

    def append(self, event: str, **fields: Any) -> None:
        """Write one event and sync it to disk.

        Raises:
            UserError: the output directory cannot be written.
        """
        self.extend([(event, fields)])

    def extend(self, events: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Write several events and sync them to disk at once."""
        self.open()
        for event, fields in events:
            self._write(event, fields)
        self._sync()

    def open(self) -> None:
        """Begin the segment, if it has not begun."""
        if self._file is not None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115  it stays open as long as the process
        except OSError as error:
            message = f"output.root must be a directory that can be written, got {self.root}: {error.strerror}."
            raise UserError(message) from error
        fcntl.flock(self._file, fcntl.LOCK_EX)
        writer = {"session": self.session, "host": os.uname().nodename, "pid": os.getpid()}
        self._write("session", writer | self._opening)
        self._sync()
        self.on_open()

    def _write(self, event: str, fields: Mapping[str, Any]) -> None:
        assert self._file is not None
        if event in ("trial", "group"):
            fields = {**fields, "tags": {**fields["tags"], **self.tags(fields)}}
        self._file.write(json.dumps({"event": event, "time": now_ms(), **fields}, allow_nan=False) + "\n")

    def _sync(self) -> None:
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Release the segment; a trial that has not ended by now counts as killed."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Records:
    """Every trial and group of a root, merged over its segments; `update` reads what was appended since."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trials: dict[str, TrialRecord] = {}
        self.groups: dict[str, GroupRecord] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self._offsets: dict[Path, int] = {}
        self._orphans: list[tuple[str, str]] = []
        self._by_signature: dict[str, list[TrialRecord]] = {}
        self._filed: set[tuple[str, str]] = set()

    def update(self) -> set[str]:
        """Read new events; returns the ids of trials and groups that changed."""
        changed: set[str] = set()
        for path in sorted((self.root / "journal").glob("*.jsonl")):
            for event in self._new_events(path):
                changed |= self._apply(event, path.stem)
        changed |= self._adopt()
        return changed

    def mark_killed(self) -> set[str]:
        """Give unfinished trials and groups of segments without a living writer the status `killed`."""
        sessions = {record.session for record in self._everything()}
        dead = {s for s in sessions if not writer_lives(self.root / "journal" / f"{s}.jsonl")}
        changed = self.update()  # a writer may have written its last lines just before it ended
        for record in self._everything():
            if record.status == "running" and record.session in dead:
                record.status, record.end = "killed", _last_time(record)
                changed.add(record.id)
        return changed

    def _everything(self) -> list[TrialRecord | GroupRecord]:
        return [*self.trials.values(), *self.groups.values()]

    def finished(self, signature: str) -> TrialRecord | None:
        """The latest finished trial of this signature."""
        found = [t for t in self._by_signature.get(signature, ()) if t.status == "finished"]
        return max(found, key=lambda t: t.start, default=None)

    def _new_events(self, path: Path) -> Iterator[dict[str, Any]]:
        with open(path, "rb") as file:
            file.seek(self._offsets.get(path, 0))
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written, or torn by a kill
                self._offsets[path] = self._offsets.get(path, 0) + len(line)
                yield json.loads(line)

    def _apply(self, e: dict[str, Any], session: str) -> set[str]:
        match e["event"]:
            case "session":
                self.sessions[session] = e
                return set()
            case "group":
                if e["group"] in self.groups:  # taken up again by a later session
                    group = self.groups[e["group"]]
                    group.session, group.status, group.end = session, "running", None
                    return {group.id}
                self.groups[e["group"]] = GroupRecord(
                    e["group"], e["kind"], e["name"], e["parent"], e["params"], e["tags"], session, e["time"]
                )
                return {e["group"]}
            case "trial":
                known = self.trials.get(e["trial"])
                if known is not None:  # taken up again by a later session
                    known.session, known.status, known.end, known.reason = session, "running", None, ""
                    return {known.id}
                new = TrialRecord(e["trial"], e["signature"], e["label"], e["config"], e["tags"], session, e["time"])
                self.trials[new.id] = new
                self._by_signature.setdefault(new.signature, []).append(new)
                return {e["trial"]}
            case "member":
                self._orphans.append((e["group"], e["trial"]))
                return set()
            case "epoch":
                return self._apply_epoch(e)
            case "end":
                trial = self.trials[e["trial"]]
                trial.status, trial.reason, trial.end = e["status"], e["reason"], e["time"]
                trial.summary, trial.artifacts = e["summary"], e["artifacts"]
                return {trial.id}
            case "group_end":
                group = self.groups[e["group"]]
                group.status, group.end = e["status"], e["time"]
                group.tags |= e["tags"]
                group.metrics, group.artifacts = e["metrics"], e["artifacts"]
                group.curves = {k: [(step, value) for step, value in v] for k, v in e.get("curves", {}).items()}
                return {group.id}
            case other:
                raise UserError(f"The journal of {self.root} holds an event '{other}' that this version does not know.")

    def _apply_epoch(self, e: dict[str, Any]) -> set[str]:
        changed = set()
        for row, name in enumerate(e["trials"]):
            trial = self.trials[name]
            if e["epoch"] <= trial.epochs:
                continue  # trained again after a resume: the first record stands
            trial.epochs = e["epoch"]
            for metric, values in e["metrics"].items():
                trial.curves.setdefault(metric, []).append((e["epoch"], e["time"], values[row]))
            changed.add(name)
        return changed

    def _adopt(self) -> set[str]:
        """File members under their groups once both are known; a reused trial may stand in a later segment."""
        waiting, changed = [], set()
        for group, trial in self._orphans:
            if group in self.groups and trial in self.trials:
                if (group, trial) not in self._filed:
                    self._filed.add((group, trial))
                    self.groups[group].members.append(trial)
                    changed |= {group, trial}
            else:
                waiting.append((group, trial))
        self._orphans = waiting
        return changed


def writer_lives(path: Path) -> bool:
    """Whether the process that writes this segment is alive: it holds the lock until it ends, however it ends."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _last_time(record: TrialRecord | GroupRecord) -> int:
    if isinstance(record, GroupRecord):
        return record.start
    return max((points[-1][1] for points in record.curves.values() if points), default=record.start)

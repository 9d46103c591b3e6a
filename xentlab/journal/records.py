"""Every trial and group of a root, merged over the segments of its journal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    from_json,
)
from xentlab.journal.writer import writer_lives
from xentlab.outcome import OnTest, Outcome


@dataclass
class TrialRecord:
    """One trial as the journal knows it.

    `curves` holds (epoch, milliseconds, value or None) by metric name, epochs ascending without gap or double.
    `status` is running, finished, failed, interrupted or killed; `ended` is how a finished one ended.
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
    ended: Outcome | None = None
    artifacts: str | None = None
    epochs: int = 0

    @property
    def outcome(self) -> Outcome:
        """How it ended; only a finished trial has one."""
        assert self.ended is not None, f"trial {self.id} is {self.status}"
        return self.ended


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


class Records:
    """Every trial and group of a root, merged over its segments; `update` reads what was appended since."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trials: dict[str, TrialRecord] = {}
        self.groups: dict[str, GroupRecord] = {}
        self.sessions: dict[str, SessionEvent] = {}
        self._offsets: dict[Path, int] = {}
        self._orphans: list[tuple[str, str]] = []
        self._untested: list[tuple[OnTestEvent, int]] = []
        self._by_signature: dict[str, list[TrialRecord]] = {}
        self._filed: set[tuple[str, str]] = set()

    def update(self) -> set[str]:
        """Read new events; returns the ids of trials and groups that changed."""
        changed: set[str] = set()
        for path in sorted((self.root / "journal").glob("*.jsonl")):
            for event, time in self._new_events(path):
                changed |= self._apply(event, time, path.stem)
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

    def _new_events(self, path: Path) -> Iterator[tuple[Event, int]]:
        with open(path, "rb") as file:
            file.seek(self._offsets.get(path, 0))
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written, or torn by a kill
                self._offsets[path] = self._offsets.get(path, 0) + len(line)
                yield from_json(json.loads(line))

    def _apply(self, event: Event, time: int, session: str) -> set[str]:
        match event:
            case SessionEvent():
                self.sessions[session] = event
                return set()
            case GroupEvent(name):
                known = self.groups.get(name)
                if known is not None:  # taken up again by a later session
                    known.session, known.status, known.end = session, "running", None
                    return {name}
                self.groups[name] = GroupRecord(
                    name, event.kind, event.name, event.parent, event.params, event.tags, session, time
                )
                return {name}
            case TrialEvent(name):
                before = self.trials.get(name)
                if before is not None:  # taken up again by a later session
                    before.session, before.status, before.end, before.reason = session, "running", None, ""
                    return {name}
                new = TrialRecord(name, event.signature, event.label, event.config, event.tags, session, time)
                self.trials[name] = new
                self._by_signature.setdefault(new.signature, []).append(new)
                return {name}
            case MemberEvent(group, trial):
                self._orphans.append((group, trial))
                return set()
            case EpochEvent():
                return self._apply_epoch(event, time)
            case EndEvent(name):
                ending = self.trials[name]
                ending.status, ending.reason, ending.end = event.status, event.reason, time
                ending.ended = Outcome.from_json(event.summary) if event.status == "finished" else None
                ending.artifacts = event.artifacts
                return {name}
            case OnTestEvent():
                self._untested.append((event, time))
                return set()
            case GroupEndEvent(name):
                group_ending = self.groups[name]
                group_ending.status, group_ending.end = event.status, time
                group_ending.tags |= event.tags
                group_ending.metrics, group_ending.artifacts = event.metrics, event.artifacts
                group_ending.curves = {k: [(int(at), value) for at, value in v] for k, v in event.curves.items()}
                return {name}

    def _apply_epoch(self, event: EpochEvent, time: int) -> set[str]:
        changed = set()
        for row, name in enumerate(event.trials):
            trial = self.trials[name]
            if event.epoch <= trial.epochs:
                continue  # trained again after a resume: the first record stands
            trial.epochs = event.epoch
            for metric, values in event.metrics.items():
                trial.curves.setdefault(metric, []).append((event.epoch, time, values[row]))
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
        return changed | self._tested()

    def _tested(self) -> set[str]:
        """Give trials what the test set said of them once they have ended: their end may stand in a later segment."""
        waiting, changed = [], set()
        for event, time in self._untested:
            trial = self.trials.get(event.trial)
            if trial is None or trial.ended is None:
                waiting.append((event, time))
                continue
            trial.ended = trial.ended.with_test(OnTest.from_json(event.summary))
            trial.tags, trial.end = {**trial.tags, **event.tags}, time
            changed.add(trial.id)
        self._untested = waiting
        return changed


def _last_time(record: TrialRecord | GroupRecord) -> int:
    if isinstance(record, GroupRecord):
        return record.start
    return max((points[-1][1] for points in record.curves.values() if points), default=record.start)

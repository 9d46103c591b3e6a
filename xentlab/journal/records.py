"""Every trial and group of a root, merged over the segments of its journal.

What came first is told by content, never by a clock or by the order of reading: of two attempts the higher counts, and
what is finished stays so. An epoch that two attempts have trained stands as the lower one wrote it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from pathlib import Path

from xentlab.journal import events
from xentlab.journal.entries import GroupRecord, TrialRecord, last_time
from xentlab.journal.lines import Damage, DamagedError, segments, unseal, whole_lines
from xentlab.journal.writer import writer_lives
from xentlab.outcome import OnTest, Outcome


class Records:
    """Every trial and group of a root, merged over its segments; `update` reads what was appended since.

    `damage` lists the lines that cannot be used. Events of the kinds `without` are passed over unread: of a list of
    trials, their epochs are nearly all of the work.
    """

    def __init__(self, root: Path, without: Collection[str] = ()) -> None:
        self.root = root
        self._without = tuple(f'{{"event": "{kind}"'.encode() for kind in without)
        self.trials: dict[str, TrialRecord] = {}
        self.groups: dict[str, GroupRecord] = {}
        self.sessions: dict[str, events.SessionEvent] = {}
        self.damage: list[Damage] = []
        self._read: dict[Path, tuple[int, int]] = {}  # bytes, lines
        self._orphans: list[tuple[str, str]] = []
        self._untested: list[tuple[events.OnTestEvent, int]] = []
        self._by_signature: dict[str, list[TrialRecord]] = {}
        self._filed: set[tuple[str, str]] = set()
        self._waiting: dict[str, list[tuple[events.Event, int, str]]] = {}
        # Of what was begun again: which attempt a segment wrote, and which one an epoch is from.
        self._attempts: dict[tuple[str, str], int] = {}
        self._again: dict[tuple[str, int], int] = {}
        self._marked: dict[str, dict[str, tuple[int, str]]] = {}

    @property
    def lost(self) -> set[str]:
        """Trials and groups of which lines speak while the line that opened them is gone."""
        return set(self._waiting)

    @property
    def unknown_groups(self) -> set[str]:
        """Groups under which trials are filed while nothing opened them."""
        return {group for group, _ in self._orphans if group not in self.groups}

    def loss(self) -> str | None:
        """One sentence on what is damaged and what that costs; None where nothing is."""
        if not self.damage:
            return None
        more = f" and {len(self.damage) - 1} more" if len(self.damage) > 1 else ""
        lost = f"; {len(self.lost)} trials or groups have lost the line that opened them" if self.lost else ""
        return (
            f"The journal is damaged in {self.damage[0]}{more}: what such a line said is passed over, all else "
            f"stands{lost}. `xentlab doctor` lists them."
        )

    def update(self) -> set[str]:
        """Read new events; returns the ids of trials and groups that changed."""
        changed: set[str] = set()
        for path in segments(self.root):
            changed |= self._update_from(path)
        changed |= self._adopt()
        return changed

    def mark_killed(self) -> set[str]:
        """Give unfinished trials and groups of segments without a living writer the status `killed`."""
        sessions = {record.session for record in self.everything()}
        dead = {s for s in sessions if not writer_lives(self.root / "journal" / f"{s}.jsonl")}
        changed = self.update()  # a writer may have written its last lines just before it ended
        for record in self.everything():
            if record.status == "running" and record.session in dead:
                record.status, record.end = "killed", last_time(record)
                changed.add(record.id)
        return changed

    def everything(self) -> list[TrialRecord | GroupRecord]:
        """All trials and groups."""
        return [*self.trials.values(), *self.groups.values()]

    def finished(self, signature: str, *, own: bool = False) -> TrialRecord | None:
        """The latest finished trial of this signature; where it must be `own`, none that was imported."""
        found = [t for t in self._by_signature.get(signature, ()) if t.status == "finished" and not t.removed]
        found = [t for t in found if not own or self.imported(t) is None]
        return max(found, key=lambda t: (t.attempt, t.start), default=None)

    def begun(self, signature: str) -> TrialRecord | None:
        """The latest trial of this signature that was begun under this root and did not finish."""
        begun = [t for t in self._by_signature.get(signature, ()) if t.status != "finished" and not t.removed]
        here = [t for t in begun if not self.imported(t)]
        return max(here, key=lambda t: (t.attempt, t.start), default=None)

    def imported(self, trial: TrialRecord) -> str | None:
        """The archive that a trial came from; None where it was trained under this root."""
        session = self.sessions.get(trial.session)
        return None if session is None or session.imported is None else session.source or session.imported

    def next_attempt(self, signature: str) -> int:
        """The attempt with which a trial of this signature is to begin."""
        return max((t.attempt + 1 for t in self._by_signature.get(signature, ())), default=0)

    def next_mark(self, about: str) -> int:
        """The attempt of what is to be said next of a trial or group."""
        return max((attempt + 1 for attempt, _ in self._marked.get(about, {}).values()), default=0)

    def _update_from(self, path: Path) -> set[str]:
        changed: set[str] = set()
        at, number = self._read.get(path, (0, 0))
        try:
            for line in whole_lines(path, at):
                at, number = at + len(line), number + 1
                if self._without and line.startswith(self._without):
                    continue
                try:
                    event, time = events.event_from_line(unseal(line))
                    changed |= self._apply(event, time, path.stem)
                except (DamagedError, KeyError, TypeError, IndexError, AttributeError) as error:
                    reason = str(error) if isinstance(error, DamagedError) else "it has not the shape of its event"
                    self.damage.append(Damage(path, number, reason))
        except OSError as error:
            if path not in self._read:
                self.damage.append(Damage(path, 0, str(error.strerror).lower()))
        self._read[path] = at, number
        return changed

    def _apply(self, event: events.Event, time: int, session: str) -> set[str]:
        match event:
            case events.SessionEvent():
                self.sessions[session] = event
                return set()
            case events.GroupEvent(name):
                self._note(name, event.attempt, session)
                group = self.groups.get(name)
                if group is None:
                    self.groups[name] = GroupRecord(
                        name, event.kind, event.name, event.parent, event.params, event.tags, session, time,
                        attempt=event.attempt,
                    )  # fmt: skip
                elif self._counts(group, session):
                    group.status, group.end = "running", None
                return self._come(name)
            case events.TrialEvent(name):
                self._note(name, event.attempt, session)
                known = self.trials.get(name)
                if known is None:
                    facts = (event.signature, event.label, event.config, event.tags, session, time)
                    known = self.trials[name] = TrialRecord(name, *facts, attempt=event.attempt)
                    self._by_signature.setdefault(event.signature, []).append(known)
                elif self._counts(known, session):
                    known.status, known.end, known.reason = "running", None, ""
                return self._come(name)
            case events.MemberEvent(group_id, trial):
                self._orphans.append((group_id, trial))
                return set()
            case events.EpochEvent():
                return self._apply_epoch(event, time, session)
            case events.EndEvent(name):
                ending = self.trials.get(name)
                if ending is None:
                    return self._wait(name, event, time, session)
                if not self._counts(ending, session, over=event.status == "finished"):
                    return set()
                ending.ended = Outcome.from_json(event.summary) if event.status == "finished" else None
                ending.status, ending.reason, ending.end = event.status, event.reason, time
                ending.artifacts = event.artifacts
                return {name}
            case events.MarkEvent():
                return self._mark(event, time, session)
            case events.OnTestEvent():
                self._untested.append((event, time))
                return set()
            case events.GroupEndEvent(name):
                over = self.groups.get(name)
                if over is None:
                    return self._wait(name, event, time, session)
                if not self._counts(over, session, over=event.status == "finished"):
                    return set()
                over.status, over.end = event.status, time
                over.tags |= event.tags
                over.metrics, over.artifacts = event.metrics, event.artifacts
                over.curves = {k: [(int(at), value) for at, value in v] for k, v in event.curves.items()}
                return {name}

    def _mark(self, event: events.MarkEvent, time: int, session: str) -> set[str]:
        of: TrialRecord | GroupRecord | None = self.trials.get(event.about) or self.groups.get(event.about)
        if of is None:
            return self._wait(event.about, event, time, session)
        known = self._marked.setdefault(event.about, {})
        for kind, text in event.marks.items():
            if known.get(kind, (-1, "")) <= (event.attempt, session):
                known[kind], of.marks[kind] = (event.attempt, session), text
        return {event.about}

    def _note(self, name: str, attempt: int, session: str) -> None:
        if attempt:
            self._attempts[session, name] = attempt

    def _wait(self, name: str, event: events.Event, time: int, session: str) -> set[str]:
        """Keep an event for the opening of what it speaks of: that line is damaged, and another may do."""
        self._waiting.setdefault(name, []).append((event, time, session))
        return set()

    def _come(self, name: str) -> set[str]:
        for waiting in self._waiting.pop(name, ()):
            self._apply(*waiting)
        return {name}

    def _counts(self, record: TrialRecord | GroupRecord, session: str, *, over: bool = False) -> bool:
        """Whether what this segment says of a record counts more than what is known; if so it is the record's now."""
        new = (over, self._attempts.get((session, record.id), 0), session)
        if new < (record.status == "finished", record.attempt, record.session):
            return False
        record.attempt, record.session = new[1:]
        return True

    def _apply_epoch(self, event: events.EpochEvent, time: int, session: str) -> set[str]:
        changed = set()
        for row, name in enumerate(event.trials):
            trial = self.trials.get(name)
            if trial is None:
                self._wait(name, event, time, session)
                continue
            attempt = self._attempts.get((session, name), 0)
            if event.epoch <= trial.epochs:
                first = next(iter(trial.curves.values()), [])
                at = bisect_left(first, (event.epoch,))
                there = at < len(first) and first[at][0] == event.epoch
                if there and self._again.get((name, event.epoch), 0) <= attempt:
                    continue  # trained again after a resume: the first record stands
            if attempt:
                self._again[name, event.epoch] = attempt
            else:
                self._again.pop((name, event.epoch), None)
            for metric, values in event.metrics.items():
                curve, point = trial.curves.setdefault(metric, []), (event.epoch, time, values[row])
                if event.epoch > trial.epochs:
                    curve.append(point)
                else:
                    curve[at : at + there] = [point]
            trial.epochs = max(trial.epochs, event.epoch)
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

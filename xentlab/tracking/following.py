"""One pass over the journal (`sync`) and the loop that follows a session to its end (`follow`)."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from xentlab.errors import UserError
from xentlab.journal import Records, writer_lives
from xentlab.tracking.backend import Unreachable
from xentlab.tracking.files import locked
from xentlab.tracking.keys import Key, all_keys, drivers, filed_for
from xentlab.tracking.sender import Render, Sender, SendReport
from xentlab.tracking.settings import Destination

Tell = Callable[[dict[str, Any]], None]
POLL_S = 0.1  # how soon the end of the session is noticed
LONGEST_PAUSE_S = 30.0


def refresh(records: Records) -> None:
    """Read what is new and mark what was killed."""
    records.update()
    records.mark_killed()


def sync(
    destination: Destination,
    *,
    everything: bool = False,
    render: Render | None = None,
    records: Records | None = None,
) -> SendReport:
    """Bring MLflow to what the journal says; running it again changes nothing.

    Args:
        everything: send also what was filed for another store or experiment, or for none.
        render: called with each finished trial and its artifact folder before the folder is sent, to add pictures.
        records: the journal's records if they were read already; read and marked here if not given.

    Returns:
        What was sent, made, completed, passed over, and left alone as it was filed elsewhere.

    Raises:
        UserError: the store does not answer (`Unreachable`), or cannot be used as it is.
    """
    if records is None:
        records = Records(destination.root)
        refresh(records)
    sender = Sender(destination, render=render)
    keys = list(all_keys(records))
    wanted = [key for key in keys if everything or filed_for(records, key, destination.filed)]
    sender.report.elsewhere = len(keys) - len(wanted)
    try:
        for _ in sender.send(records, wanted):
            pass
    except Unreachable as error:
        raise Unreachable(_unreachable(destination, error)) from error
    return sender.report


def follow(
    destination: Destination,
    session: str,
    *,
    say: Tell,
    render: Render | None = None,
    interval_s: float = 1.0,
    grace_s: float = 30.0,
) -> bool:
    """Send a session's events to MLflow as they are written, until the session ends and all is sent.

    The session's segment must exist. It ends when its lock is free, however its process ended, and the locks of the
    sessions that it drives (their `driver`): their runs are sent as its own. The first and the last pass also send what
    earlier sessions left, and give their killed runs their status.

    Args:
        say: gets {"sent": points, "pending": points, "reachable": bool} about once a second, {"warning": sentence} for
            each trouble, once, and {"done": bool} at the end.
        interval_s: seconds between passes, > 0. It grows with what a pass takes, of CPU time where the store is a
            local file, so that passes take half of that at most.
        grace_s: seconds to go on trying after the session's end while the store does not answer, >= 0.

    Returns:
        Whether everything has arrived.
    """
    records, sender = Records(destination.root), Sender(destination, render=render)
    scope = Scope(records, session, destination.filed)
    lacking: dict[Key, None] = {}
    warned, told, failures = False, 0, 0
    first, deadline = True, float("inf")
    clock = time.monotonic if destination.database is None else time.process_time
    while True:
        over = not scope.lives()
        if over and deadline == float("inf"):
            deadline = time.monotonic() + grace_s
        if over or first:
            refresh(records)
            lacking = dict.fromkeys(scope.everything())
        else:
            lacking |= dict.fromkeys(scope.touched(records.update()))
        began = clock()
        try:
            last = time.monotonic()
            for _ in sender.send(records, lacking):
                if time.monotonic() - last >= interval_s:
                    last = time.monotonic()
                    pending = sender.pending(records, lacking)
                    say({"sent": sender.report.points, "pending": pending, "reachable": True})
            failures, first, lacking = 0, False, {}
        except Unreachable as error:
            failures += 1
            sender.forget()
            if not warned:
                say({"warning": _unreachable(destination, error)})
                warned = True
        except UserError as error:
            say({"warning": f"{error} Send the journal later with `{destination.sync_command}`."})
            say({"done": False})
            return False
        pending = sender.pending(records, lacking)
        say({"sent": sender.report.points, "pending": pending, "reachable": failures == 0})
        for warning in sender.report.warnings[told:]:
            say({"warning": warning})
        told = len(sender.report.warnings)
        if over and (failures == 0 or time.monotonic() >= deadline):
            say({"done": failures == 0})
            return failures == 0
        pause = max(interval_s, clock() - began)
        if failures:
            pause = min(interval_s * 2 ** min(failures, 10), LONGEST_PAUSE_S)
        _pause(min(pause, max(deadline - time.monotonic(), 0.0)), None if over else scope)


class Scope:
    """Which runs the follower of a session looks after: its own, and those filed for its store that no one else does.

    Its own are those of the session and of the sessions that it drives. A pass costs in proportion to what has changed:
    `everything` is asked for at the beginning and at the end only.
    """

    def __init__(self, records: Records, session: str, filed: Sequence[str]) -> None:
        self.records, self.session, self.filed = records, session, filed
        self._orphaned: dict[str, bool] = {}
        self._filed: dict[str, int] = {}
        self._groups: dict[str, list[str]] = {}

    def lives(self) -> bool:
        """Whether the session, or one that it drives, is still writing."""
        driven = (name for name in self.records.sessions if name != self.session and self._own(name))
        return any(writer_lives(self._segment(name)) for name in (self.session, *driven))

    def everything(self) -> list[Key]:
        """All runs to look after, parents first; which sessions live is looked up anew."""
        self._orphaned.clear()
        self._file(self.records.groups)
        return [key for key in all_keys(self.records) if self._owned(key)]

    def touched(self, changed: Iterable[str]) -> list[Key]:
        """The runs to look after among those of the trials and groups that changed."""
        groups = sorted(name for name in changed if name in self.records.groups)
        self._file(groups)
        found: list[Key] = [(None, name) for name in groups]
        for name in sorted(name for name in changed if name in self.records.trials):
            trial = self.records.trials[name]
            if name in self._groups:
                found += [(name, group) for group in self._groups[name]]
            elif trial.epochs > 0 or trial.status != "running":  # as in `all_keys`
                found.append((name, None))
        return [key for key in found if self._owned(key)]

    def _file(self, groups: Iterable[str]) -> None:
        for group in groups:
            members = self.records.groups[group].members
            for trial in members[self._filed.get(group, 0) :]:
                self._groups.setdefault(trial, []).append(group)
            self._filed[group] = len(members)

    def _owned(self, key: Key) -> bool:
        trial, group = key
        owner = self.records.trials[trial].session if trial is not None else self.records.groups[group or ""].session
        if not filed_for(self.records, key, self.filed):
            return False
        if self._own(owner):
            return True
        if owner not in self._orphaned:
            held = (self._segment(owner), _claim(self.records.root, owner))
            self._orphaned[owner] = not any(map(writer_lives, held))
        return self._orphaned[owner]

    def _own(self, owner: str) -> bool:
        return self.session in drivers(self.records, owner)

    def _segment(self, session: str) -> Path:
        return self.records.root / "journal" / f"{session}.jsonl"


def _pause(seconds: float, scope: Scope | None) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and (scope is None or scope.lives()):
        time.sleep(min(POLL_S, left))


def _unreachable(destination: Destination, error: Exception) -> str:
    return (
        f"MLflow at {destination.open_uri} does not take the runs now ({error}): the journal keeps everything, "
        f"send it later with `{destination.sync_command}`."
    )


def serve_follower(destination: Destination, session: str, stream: TextIO, *, render: Render | None = None) -> int:
    """What the child process of a Tracker runs: `follow` at low priority, speaking JSON lines; returns an exit code."""
    os.nice(10)

    def say(message: dict[str, Any]) -> None:
        # a training that listened no more is gone; its journal is still to be sent
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(message), file=stream, flush=True)

    # a killed session's follower lives on: whoever follows the next session leaves those runs to it
    claim = _claim(destination.root, session)
    with locked(claim):
        arrived = follow(destination, session, say=say, render=render)
        claim.unlink(missing_ok=True)
    return 0 if arrived else 3


def _claim(root: Path, session: str) -> Path:
    """The file that a session's follower holds locked."""
    return root / "journal" / f"{session}.followed"

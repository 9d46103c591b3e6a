"""One pass over the journal (`sync`) and the loop that follows a session to its end (`follow`)."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from xentlab.errors import UserError
from xentlab.journal import Records, writer_lives
from xentlab.tracking import content
from xentlab.tracking.content import Key
from xentlab.tracking.sender import Render, Report, Sender
from xentlab.tracking.settings import Destination
from xentlab.tracking.store import Unreachable

Say = Callable[[dict[str, Any]], None]
POLL_S = 0.1  # how soon the end of the session is noticed
LONGEST_PAUSE_S = 30.0


def refresh(records: Records) -> None:
    """Read what is new and mark what was killed."""
    records.update()
    records.mark_killed()


def sync(destination: Destination, *, render: Render | None = None, records: Records | None = None) -> Report:
    """Bring MLflow to what the journal says; running it again changes nothing.

    Args:
        destination: the store, the experiment, and the output directory whose journal is sent.
        render: called with each finished trial and its artifact folder before the folder is sent, to add pictures.
        records: the journal's records if they were read already; read and marked here if not given.

    Returns:
        What was sent, made, completed and passed over.

    Raises:
        UserError: the store does not answer (`Unreachable`), or cannot be used as it is.
    """
    if records is None:
        records = Records(destination.root)
        refresh(records)
    sender = Sender(destination, render=render)
    try:
        for _ in sender.send(records, content.keys(records)):
            pass
    except Unreachable as error:
        raise Unreachable(_unreachable(destination, error)) from error
    return sender.report


def follow(
    destination: Destination,
    session: str,
    *,
    say: Say,
    render: Render | None = None,
    interval_s: float = 1.0,
    grace_s: float = 30.0,
) -> bool:
    """Send a session's events to MLflow as they are written, until the session ends and all is sent.

    The session's segment must exist. It ends when its lock is free, however its process ended. The first and the last
    pass also send what earlier sessions left, and give their killed runs their status.

    Args:
        session: the session to follow.
        say: gets {"sent": points, "pending": points, "reachable": bool} about once a second, {"warning": sentence} for
            each trouble, once, and {"done": bool} at the end.
        render: as in `sync`.
        interval_s: seconds between passes, > 0. It grows with what a pass costs, so that passes take at most a third.
        grace_s: seconds to go on trying after the session's end while the store does not answer, >= 0.

    Returns:
        Whether everything has arrived.
    """
    records, sender = Records(destination.root), Sender(destination, render=render)
    segment = destination.root / "journal" / f"{session}.jsonl"
    scope = _Scope(records, session)
    warned, told, failures = False, 0, 0
    first, deadline = True, float("inf")
    while True:
        over = not writer_lives(segment)
        if over and deadline == float("inf"):
            deadline = time.monotonic() + grace_s
        if over or first:
            refresh(records)
            scope.look_again()
            sender.forget()
        else:
            records.update()
        began = time.monotonic()
        keys = scope.keys()
        try:
            last = began
            for _ in sender.send(records, keys):
                if time.monotonic() - last >= interval_s:
                    last = time.monotonic()
                    say({"sent": sender.report.points, "pending": sender.pending(records, keys), "reachable": True})
            failures, first = 0, False
        except Unreachable as error:
            failures += 1
            if not warned:
                say({"warning": _unreachable(destination, error)})
                warned = True
        except UserError as error:
            say({"warning": f"{error} Send the journal later with `{destination.sync_command}`."})
            say({"done": False})
            return False
        pending = sender.pending(records, keys)
        say({"sent": sender.report.points, "pending": pending, "reachable": failures == 0})
        for warning in sender.report.warnings[told:]:
            say({"warning": warning})
        told = len(sender.report.warnings)
        if over and (failures == 0 or time.monotonic() >= deadline):
            say({"done": failures == 0})
            return failures == 0
        pause = max(interval_s, 2 * (time.monotonic() - began))
        if failures:
            pause = min(interval_s * 2 ** min(failures, 10), LONGEST_PAUSE_S)
        _pause(min(pause, max(deadline - time.monotonic(), 0.0)), None if over else segment)


class _Scope:
    """Which runs the follower of a session looks after: its own, and those that no living session looks after."""

    def __init__(self, records: Records, session: str) -> None:
        self.records, self.session = records, session
        self._orphaned: dict[str, bool] = {}

    def look_again(self) -> None:
        self._orphaned.clear()

    def keys(self) -> list[Key]:
        return [key for key in content.keys(self.records) if self._mine(key)]

    def _mine(self, key: Key) -> bool:
        trial, group = key
        owner = self.records.trials[trial].session if trial is not None else self.records.groups[group or ""].session
        if owner not in self._orphaned:
            path = self.records.root / "journal" / f"{owner}.jsonl"
            self._orphaned[owner] = owner != self.session and not writer_lives(path)
        return owner == self.session or self._orphaned[owner]


def _pause(seconds: float, segment: Path | None) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not (segment is not None and not writer_lives(segment)):
        time.sleep(min(POLL_S, left))


def _unreachable(destination: Destination, error: Exception) -> str:
    return (
        f"MLflow at {destination.shown} does not take the runs now ({error}): the journal keeps everything, "
        f"send it later with `{destination.sync_command}`."
    )


def serve_follower(destination: Destination, session: str, stream: TextIO, *, render: Render | None = None) -> int:
    """What the child process of a Tracker runs: `follow` at low priority, speaking JSON lines; returns an exit code."""
    os.nice(10)

    def say(message: dict[str, Any]) -> None:
        # a training that listened no more is gone; its journal is still to be sent
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(message), file=stream, flush=True)

    return 0 if follow(destination, session, say=say, render=render) else 3

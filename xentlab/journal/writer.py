"""The writer of one segment of a journal."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xentlab.disk import cannot_begin, cannot_go_on, sync_folder
from xentlab.journal.events import EpochEvent, Event, GroupEvent, SessionEvent, TrialEvent, line_from_event
from xentlab.journal.lines import seal
from xentlab.secrets import redacted


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """A fresh identifier: sortable by time, unique without asking anyone."""
    return f"{now_ms():011x}{secrets.token_hex(4)}"


class Journal:
    """The writer of one segment. Opens the file with its first event, so that a refused command leaves nothing.

    `on_open` is called once, when the segment is there to be read. `filed` says where its runs go, see `SessionEvent`.
    `tags` says what to put on each trial and group that opens.
    """

    def __init__(self, root: Path, environment: Mapping[str, Any], command: str, *, driver: str | None = None) -> None:
        self.root = root
        self.session = new_id()
        self._opening = SessionEvent(self.session, os.uname().nodename, os.getpid(), command, dict(environment), driver)
        self._file: int | None = None
        self._writing = threading.RLock()
        self.filed: list[str] | None = None
        self.on_open: Callable[[], None] = lambda: None
        self.tags: Callable[[TrialEvent | GroupEvent], dict[str, str]] = lambda event: {}  # noqa: ARG005

    @property
    def path(self) -> Path:
        return self.root / "journal" / f"{self.session}.jsonl"

    def append(self, *events: Event) -> None:
        """Write events and sync them to disk at once.

        Raises:
            UserError: the output directory cannot be written.
            StoppedError: it cannot be written any more, since it was; all that was written before is safe.
        """
        with self._writing:
            self.open()
            self._write(events)

    def open(self) -> None:
        """Begin the segment, if it has not begun."""
        if self._file is not None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise cannot_begin(self.root, error) from error
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._write([dataclasses.replace(self._opening, filed=self.filed)])
        sync_folder(self.path.parent)
        self.on_open()

    def _write(self, events: Sequence[Event]) -> None:
        """All of these events, or none: a line that the disk has no place for is taken back."""
        assert self._file is not None
        lines = memoryview(self.lines(events))
        size = os.fstat(self._file).st_size
        try:
            while lines:
                lines = lines[os.write(self._file, lines) :]
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, size)
            raise cannot_go_on(self.root, error) from error

    def lines(self, events: Sequence[Event]) -> bytes:
        """What `append` writes of these events."""
        return b"".join(seal(self._line(event)) for event in events)

    def _line(self, event: Event) -> dict[str, Any]:
        if isinstance(event, EpochEvent):  # numbers, and many
            return line_from_event(event, now_ms())
        if isinstance(event, (TrialEvent, GroupEvent)):
            event = dataclasses.replace(event, tags={**event.tags, **self.tags(event)})
        line: dict[str, Any] = redacted(line_from_event(event, now_ms()))
        return line

    def close(self) -> None:
        """Release the segment; a trial that has not ended by now counts as killed."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


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

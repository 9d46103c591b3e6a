"""Which trials a living session is training, so that another over the same root does not train them too.

A session that trains holds one locked file, `<root>/claims/SESSION.json`: its host, its pid and the signatures it
claims, touched every `BEAT_S` seconds. Its claims end with it: on this host when neither it nor a worker of its own
holds a lock any more, and anywhere when the file is not touched for `SILENCE_S` seconds of the watcher's own monotonic
clock, whatever the time of day is there. The folder's lock lets one session at a time look and take.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xentlab.disk import cannot_begin, cannot_go_on
from xentlab.journal import Records, writer_lives

BEAT_S = 2.0  # between two touches
SILENCE_S = 90.0  # a job of Slurm outlives its command by 60 s at most
LOOK_S = 0.5  # between two looks at a claim that is waited for


@dataclass(frozen=True)
class Holder:
    """Who claims a trial."""

    session: str
    host: str
    pid: int

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}"


class Claims:
    """What one session claims, and what all others do; `say` tells the user that a silent session's claims are over."""

    def __init__(self, root: Path, session: str, records: Records, say: Callable[[str], None]) -> None:
        self._root, self._folder, self._records, self._say = root, root / "claims", records, say
        self._new, self._entered = not root.exists(), False
        self._path = self._folder / f"{session}.json"
        self._mine: set[str] = set()
        self._file: int | None = None
        self._touched: dict[str, tuple[int, float]] = {}
        self._over = threading.Event()

    def take(self, stacks: Sequence[Sequence[str]], most: int | None = None) -> tuple[list[int], dict[str, Holder]]:
        """Claim stacks of signatures of which nobody else claims any.

        Args:
            stacks: the signatures of each.
            most: so many stacks, the first free ones; None: all that are free.

        Returns:
            The places of the stacks that are this session's now, and who claims what of the others.
        """
        with self._locked():
            others = self._others()
            held = {key: others[key] for stack in stacks for key in stack if key in others}
            free = [i for i, stack in enumerate(stacks) if held.keys().isdisjoint(stack)][:most]
            self._write(self._mine.union(*(stacks[i] for i in free)))
        return free, held

    def release(self, signatures: Collection[str]) -> None:
        """Give claims back, of which some may be no more."""
        if not self._mine.isdisjoint(signatures):
            with self._locked():
                self._write(self._mine.difference(signatures))

    @contextlib.contextmanager
    def held(self, signatures: Sequence[str]) -> Iterator[None]:
        """Wait until these are this session's, and give them back in the end."""
        while not self.take([signatures])[0]:
            time.sleep(LOOK_S)
            self._records.update()
        with self.giving_back(signatures):
            yield

    @contextlib.contextmanager
    def giving_back(self, signatures: Collection[str]) -> Iterator[None]:
        """Give these back in the end, whatever happens."""
        try:
            yield
        finally:
            self.release(signatures)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone in the folder, which is there only as long as somebody claims something."""
        try:
            lock = self._lock()
            self._entered = True
            try:
                yield
                if not any(self._folder.glob("*.json")):
                    (self._folder / "lock").unlink()
                    for folder in (self._folder, *([self._root] if self._new else [])):
                        with contextlib.suppress(OSError):  # something is in it
                            folder.rmdir()
            finally:
                os.close(lock)
        except OSError as error:
            raise (cannot_go_on if self._entered else cannot_begin)(self._root, error) from error

    def _lock(self) -> int:
        while True:
            with contextlib.suppress(FileNotFoundError):  # the last holder has just removed it
                self._folder.mkdir(parents=True, exist_ok=True)
                lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                fcntl.flock(lock, fcntl.LOCK_EX)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(lock), os.stat(self._folder / "lock")):
                        return lock
                os.close(lock)

    def _write(self, mine: set[str]) -> None:
        if mine == self._mine:
            return
        self._mine = mine
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._over = threading.Event()
            threading.Thread(target=self._touch, args=(self._over,), name="claims", daemon=True).start()
        if mine:
            line = {"host": os.uname().nodename, "pid": os.getpid(), "signatures": sorted(mine)}
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps(line).encode(), 0)
        else:
            self._over.set()
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None

    def _touch(self, over: threading.Event) -> None:
        while not over.wait(BEAT_S):
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def _others(self) -> dict[str, Holder]:
        """Who else claims what; files of sessions that are gone are removed."""
        found: dict[str, Holder] = {}
        for path in self._folder.glob("*.json"):
            if path != self._path:
                with contextlib.suppress(ValueError, KeyError, TypeError):  # torn by a kill, it claims nothing
                    said = json.loads(path.read_text())
                    holder = Holder(path.stem, said["host"], said["pid"])
                    if self._lives(holder, path):
                        found |= dict.fromkeys(said["signatures"], holder)
                        continue
                path.unlink(missing_ok=True)
        return found

    def _lives(self, holder: Holder, path: Path) -> bool:
        if holder.host == os.uname().nodename and not writer_lives(path):
            workers = [name for name, session in self._records.sessions.items() if session.driver == holder.session]
            if not any(writer_lives(self._root / "journal" / f"{name}.jsonl") for name in workers):
                return False
        now, stamp = time.monotonic(), path.stat().st_mtime_ns
        if self._touched.get(holder.session, (None, 0.0))[0] != stamp:
            self._touched[holder.session] = stamp, now
        if now - self._touched[holder.session][1] < SILENCE_S:
            return True
        self._say(f"The command that trains the same ({holder}) is silent for {SILENCE_S:g} s: its trials are free.")
        return False
